"""Expected calibration error and reliability, with what they rest on."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from label_configs.codebook import Kind
from ml_backend.calibration import calibration_error as without_interval
from ml_backend.probabilities import probabilities_of
from tests.unit.trainer.evaluation import studies
from trainer.evaluation.blocks import Lines, Table
from trainer.evaluation.calibration_plot import calibration_error, calibration_section, pairs_of, reliability
from trainer.evaluation.judged import basis_of, judged_sources
from trainer.evaluation.options import ReportOptions

OPTIONS = ReportOptions(samples=300)


@pytest.mark.parametrize("kind", list(Kind))
def test_the_error_is_that_of_the_gate_and_the_table_of_sources(kind: Kind) -> None:
    study = studies.study(kind)
    for one in judged_sources(study, basis_of(study).documents):
        held, said = pairs_of(one, study.codebook)
        found = calibration_error(said, held, OPTIONS)
        expected = without_interval(probabilities_of(one.proposals, study.codebook), one.truth, study.codebook)
        assert found.value == pytest.approx(expected, abs=1e-12)
        assert found.n == len(one.documents)
        assert found.low is not None
        assert found.high is not None
        assert found.low < found.high


def test_reliability_by_hand() -> None:
    said = np.repeat([0.1, 0.5, 0.9], 20)[:, None]
    held = np.concatenate([np.arange(20) < k for k in (1, 12, 20)])[:, None]
    line = reliability("s", said, held, OPTIONS)
    assert line.x == pytest.approx((0.1, 0.5, 0.9))
    assert line.y == pytest.approx((0.05, 0.6, 1.0))
    low, high = line.low[1], line.high[1]
    assert low is not None
    assert high is not None
    assert 0.3 < low < 0.6 < high < 0.85


def test_bins_hold_as_many_pairs_each() -> None:
    said = np.random.default_rng(0).beta(5, 1, size=1000)[:, None]
    line = reliability("s", said, said > 2, replace(OPTIONS, samples=0))
    edges = np.quantile(said, np.linspace(0, 1, 11))
    inside = [said[(said > low) & (said <= high)].mean() for low, high in pairwise(edges[1:])]
    assert line.x[1:] == pytest.approx(inside)
    assert len(line.x) == 10
    assert set(line.y) == {0.0}


def test_the_section_has_a_line_for_each_source_and_the_temperature_that_helps() -> None:
    section = calibration_section(studies.study(Kind.EXCLUSIVE, 600), OPTIONS)
    table, plot = section.blocks
    assert isinstance(table, Table)
    assert isinstance(plot, Lines)
    assert plot.diagonal
    assert [series.name for series in plot.series] == ["adapter", "adapter adapter/0", "prompt", "similarity"]
    assert any("on top of its own would help" in one.text for one in section.findings)


def test_a_label_that_the_codebook_has_not_is_no_exception() -> None:
    study = studies.exclusive()
    renamed = replace(study, codebook=replace(study.codebook, codes=study.codebook.codes[:4]))
    section = calibration_section(renamed, ReportOptions(samples=10))
    assert isinstance(section.blocks[0], Table)
