"""Raw agreement by hand; CROWDLAB as cleanlab gives it, and a poor coder at its end."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from cleanlab.multiannotator import get_label_quality_multiannotator

from label_configs.codebook import Kind
from label_configs.records import Decision
from tests.unit.trainer.evaluation import studies
from trainer.evaluation.coder_quality import Votes, crowdlab, raw_agreement, votes_of
from trainer.evaluation.figure import undefined
from trainer.evaluation.out_of_sample import beliefs


def test_raw_agreement_by_hand() -> None:
    votes: Votes = {
        "d1": {"1": ("a",), "2": ("a",), "3": ("b",)},  # coder 1: one of two others
        "d2": {"1": ("a", "b"), "2": ("a",)},  # sets are the same or not
        "d3": {"1": ("a",), "2": ("a",)},
        "d4": {"1": ("c",)},
        "d5": {"2": ("c",), "3": ("c",)},
    }
    found = raw_agreement(votes, "1")
    assert (found.value, found.n) == (2 / 4, 3)
    assert found.low is not None
    assert found.high is not None
    assert found.low < 2 / 4 < found.high
    assert raw_agreement(votes, "3", samples=0).value == 1 / 3
    alone: Votes = {"d": {"1": ("a",)}}
    assert raw_agreement(alone, "1") == undefined("no document in common with another coder")


def test_the_last_decision_of_a_coder_votes_and_what_cannot_be_used_does_not() -> None:
    made = replace(studies.exclusive(), decisions=[
        Decision("d", 1, 1, "1", "keep", kept=("earn",)),
        Decision("d", 1, 2, "1", "keep", kept=("acq",)),
        Decision("d", 1, 3, "2", "keep", kept=("earn",), unsure=True),
        Decision("d", 1, 4, "3", "keep", kept=("earn",), ground_truth=True),
        Decision("d", 1, 5, "4", "keep", kept=("earn",), repeat=1),
        Decision("d", 1, 6, "5", "keep", kept=("gone",)),
        Decision("d", 1, 7, "6", "keep", kept=("earn", "acq")),
    ])  # fmt: skip
    assert votes_of(made) == {"d": {"1": ("acq",)}}


def test_crowdlab_is_that_of_cleanlab() -> None:
    made = studies.exclusive()
    votes = votes_of(made)
    quality = crowdlab(made, votes, None)
    found = beliefs(made, votes, {one.document_id: one.labels for one in made.examples}, None)
    number = {label: float(n) for n, label in enumerate(made.codebook.label_keys)}
    given = [
        [number[votes[document][coder][0]] if coder in votes[document] else np.nan for coder in "123"]
        for document in found.documents
    ]
    table = pd.DataFrame(given, columns=list("123"))
    stats = get_label_quality_multiannotator(table, found.probabilities, verbose=False)["annotator_stats"]
    for coder in "123":
        assert quality.of(coder).value == pytest.approx(stats.loc[coder, "annotator_quality"], abs=1e-9)
        assert quality.of(coder).n == stats.loc[coder, "num_examples_labeled"]
    assert any(note.startswith("Source adapter learns, and counts on the holdout alone") for note in quality.notes)


def test_of_several_codes_quality_is_the_mean_of_cleanlabs_over_the_codes() -> None:
    made = studies.multilabel()
    votes = votes_of(made)
    found = beliefs(made, votes, {one.document_id: one.labels for one in made.examples}, None)
    each = []
    for number, code in enumerate(made.codebook.label_keys):
        given = np.array(
            [
                [float(code in votes[document][coder]) if coder in votes[document] else np.nan for coder in "123"]
                for document in found.documents
            ]
        )
        yes = found.probabilities[:, number]
        told = get_label_quality_multiannotator(given, np.column_stack([1 - yes, yes]), verbose=False)
        each.append(told["annotator_stats"]["annotator_quality"].sort_index().to_numpy())
    quality = crowdlab(made, votes, None)
    assert [quality.of(coder).value for coder in "123"] == pytest.approx(np.mean(each, axis=0), abs=1e-9)


@pytest.mark.parametrize("kind", list(Kind))
def test_a_poor_coder_is_last(kind: Kind) -> None:
    made = studies.study(kind)  # coder 3 keeps what is shown
    quality = crowdlab(made, votes_of(made), None)
    values = {coder: quality.of(coder).value or 0.0 for coder in made.coders}
    assert min(values, key=lambda coder: values[coder]) == "3"
    assert all(0 < value < 1 for value in values.values())
    if kind is not Kind.EXCLUSIVE:
        assert any("each by itself" in note for note in quality.notes)


def test_what_cannot_be_judged_says_why() -> None:
    made = studies.exclusive()
    alone = replace(made, decisions=[one for one in made.decisions if one.coder == "1"])
    apart = replace(made, decisions=list({one.document_id: one for one in made.decisions}.values()))
    for study, why in [
        (alone, "one coder alone"),
        (replace(made, proposals=()), "no source proposed, out of sample, for what was coded"),
        (apart, "no document that two coders coded and a source proposed for"),
        (studies.empty(), "one coder alone"),
    ]:
        quality = crowdlab(study, votes_of(study), None)
        assert quality.of("1") == undefined(why)
