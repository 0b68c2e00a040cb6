"""What a round says of the sources, and what coders say of them since."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from label_configs.codebook import Code, Codebook, Kind
from label_configs.drawing import is_holdout
from label_configs.records import Candidate, CandidateSet, Decision, Proposal, Proposer, ScoredLabel, VerifiedExample
from ml_backend.adapter_files import Adapter
from ml_backend.calibration import TemperatureFit
from ml_backend.experiment import Experiment, Project
from ml_backend.leading import Judged, Standing, save_standing, standing_in_force
from ml_backend.mixing import Evidence
from ml_backend.source_config import SourceConfig, SourceKind
from ml_backend.training_config import Gate, Training
from trainer.bars import bars_of
from trainer.fine_tuning import FineTuned
from trainer.gate import LabelSets, judge
from trainer.recipe import LoraRecipe
from trainer.source_weights import learn_weights
from trainer.standing import firsts_since, keep_standing
from trainer.tuning import FineTuning
from trainer.verified import Reading

BOOK = Codebook("two", Kind.EXCLUSIVE, (Code("s", "Ships", "d", "ship"), Code("g", "Corn", "d", "corn")))
PROBE = SourceConfig("probe", SourceKind.PROBE, "org/mini")
ZERO = SourceConfig("zero", SourceKind.CAUSAL, "org/big")
LATE = SourceConfig("late", SourceKind.CAUSAL, "org/late")
N = 30
TRUTH: LabelSets = [("sg"[n % 2],) for n in range(N)]
AT = datetime(2026, 5, 1, tzinfo=UTC)


def wrong(number: int) -> LabelSets:
    """The truth but for the first few."""
    return [("s" if labels == ("g",) else "g",) if n < number else labels for n, labels in enumerate(TRUTH)]


@pytest.fixture
def project(tmp_path: Path) -> Project:
    experiment = Experiment("two", (PROBE, ZERO, LATE), training=Training("m"))
    folder = tmp_path / "projects" / "7"
    folder.mkdir(parents=True)
    return Project(7, experiment, BOOK, folder)


def round_of(project: Project, current: str | None = "0c", **gate: object) -> tuple[FineTuning, FineTuned]:
    examples = [VerifiedExample(f"d{n}", f"text {n}", TRUTH[n], (), True) for n in range(N)]
    tuning = FineTuning(
        "m", LoraRecipe(), BOOK, examples, 0.2, Gate(metric="accuracy", **gate), current,  # type: ignore[arg-type]
        bars=bars_of(project.experiment.sources, project.home),
    )  # fmt: skip
    predicted = {"new": wrong(6), "current": wrong(9), "tf-idf": wrong(1), "source:probe": wrong(3)}
    verdict = judge(TRUTH, predicted["new"], predicted["current"], metric="accuracy")
    nothing = TemperatureFit(N, None, None, None)
    probabilities = {who: np.zeros((N, 2)) for who in predicted}
    adapter = Adapter("0a", Path("0a"), {})
    return tuning, FineTuned(
        adapter, verdict, nothing, 0.1, predicted["new"], predicted["current"], probabilities, predicted
    )


def proposals(source: str, version: str, number: int = N) -> list[Proposal]:
    """Right on all but the first five."""
    return [
        Proposal(f"d{n}", source, version, (ScoredLabel(label, 1.0),)) for n, (label,) in enumerate(wrong(5)[:number])
    ]


def test_a_round_judges_adapters_bars_and_all_that_proposed_for_the_holdout(project: Project) -> None:
    made = [
        *proposals("zero", "org/big/zero_shot@base"), *proposals("late", "org/late/zero_shot@base", N - 1),
        *proposals("late", "org/late/other@base"), *proposals("probe", "old"),
    ]  # fmt: skip
    keep_standing(project, *round_of(project), made)
    found = standing_in_force(project.folder, BOOK)
    assert found is not None
    assert (found.metric, found.n) == ("accuracy", N)
    values = {(one.source, one.identity): one.value for one in found.sources}
    # The probe has not proposed yet, having no snapshot: as a bar, it is judged all the same once it does.
    assert values == {
        ("adapter", "0c"): pytest.approx(21 / N),
        ("adapter", "0a"): pytest.approx(24 / N),
        ("probe", "org/mini/probe@base"): pytest.approx(27 / N),
        ("zero", "org/big/zero_shot@base"): pytest.approx(25 / N),
    }


def test_the_base_alone_is_no_source_and_has_no_row(project: Project) -> None:
    keep_standing(project, *round_of(project, current=None), [])
    found = standing_in_force(project.folder, BOOK)
    assert found is not None
    assert [one.identity for one in found.sources if one.source == "adapter"] == ["0a"]


def test_a_bar_that_is_another_source_by_now_is_left_out(project: Project) -> None:
    other = replace(PROBE, model="org/maxi")
    changed = replace(project, experiment=replace(project.experiment, sources=(other, ZERO)))
    keep_standing(changed, *round_of(project), [])
    found = standing_in_force(project.folder, BOOK)
    assert found is not None
    assert {one.source for one in found.sources} == {"adapter"}


def test_a_holdout_too_small_to_tell_leaves_what_was_found_before(project: Project) -> None:
    before = Standing("r0", "accuracy", 50, AT, BOOK.fingerprint, (Judged("adapter", "0c", 0.5),))
    save_standing(project.folder, before)
    keep_standing(project, *round_of(project, minimum=N + 1), [])
    assert standing_in_force(project.folder, BOOK) == before
    keep_standing(project, *round_of(project, minimum=N), [])
    assert standing_in_force(project.folder, BOOK) != before


# --- since ------------------------------------------------------------------------------------------------------------


STANDING = Standing("r1", "accuracy", N, AT, BOOK.fingerprint, ())


def decision(document_id: str, kept: str, days: int = 1, adapter: str = "0a", coder: str = "ann") -> Decision:
    """The probe is for s, the adapter for g; each has the other's code as its second."""
    version = f"m/definitions@{adapter}"
    shown = (
        Candidate("s", 0.5, (Proposer("probe", "p@base", 0.7, 1), Proposer("adapter", version, 0.2, 2))),
        Candidate("g", 0.5, (Proposer("adapter", version, 0.8, 1), Proposer("probe", "p@base", 0.3, 2))),
    )
    rejected = tuple(label for label in "sg" if label != kept)
    return Decision(
        document_id, 1, 1, coder, "reject", (kept,), rejected,
        shown=CandidateSet(document_id, "v", shown), updated_at=AT + timedelta(days=days),
    )  # fmt: skip


def test_first_choices_are_counted_since_the_round() -> None:
    made = [decision("d1", "s"), decision("d2", "g"), decision("d3", "g"), decision("d0", "s", days=-1)]
    found = firsts_since([*made, replace(made[0], document_id="d9", updated_at=None)], STANDING, "0a")
    assert found == {"probe": Evidence(1, 3), "adapter": Evidence(2, 3)}


def test_a_document_counts_once_and_an_adapter_for_itself() -> None:
    made = [decision("d1", "s"), decision("d1", "g", coder="ben"), decision("d2", "g", adapter="0c")]
    assert firsts_since(made, STANDING, "0a") == {"probe": Evidence(0.5, 2), "adapter": Evidence(0.5, 1)}
    assert firsts_since(made, STANDING, None) == {"probe": Evidence(0.5, 2)}


def test_they_come_with_the_weights(project: Project) -> None:
    share = project.experiment.training.holdout_share if project.experiment.training else 0
    ids = [one for one in (f"d{n}" for n in range(60)) if not is_holdout(one, share)]
    decisions = [decision(one, "s") for one in ids]
    plain = learn_weights(project, Reading((), decisions, (), ()))
    assert (dict(plain.firsts), plain.since) == ({}, "")
    save_standing(project.folder, STANDING)
    found = learn_weights(project, Reading((), decisions, (), ()))
    assert (found.since, found.firsts["probe"]) == ("r1", Evidence(len(ids), len(ids)))
    assert found.evidence == plain.evidence, "weights do not depend on them"
