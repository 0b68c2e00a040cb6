"""What may teach the weights of sources, and what may not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from label_configs.codebook import Code, Codebook, Kind
from label_configs.drawing import is_holdout
from label_configs.records import Arm, Candidate, CandidateSet, Decision, Proposer, VerifiedExample
from ml_backend.experiment import Experiment, Project
from ml_backend.mixing import EQUAL, Evidence
from ml_backend.source_config import SourceConfig, SourceKind
from ml_backend.training_config import Training
from trainer.source_weights import ENOUGH_DOCUMENTS, learn_weights, usable, weights_of
from trainer.verified import Reading

CODES = tuple(Code(key, key, f"About {key}.", key) for key in ("ship", "grain", "oil"))
BOOK = Codebook("three", Kind.EXCLUSIVE, CODES)
GRADED = Codebook("graded", Kind.GRADED, CODES, levels=("low", "high"))
SHARE = 0.3
TRAINING = [f"d{n}" for n in range(200) if not is_holdout(f"d{n}", SHARE)]
HOLDOUT = [f"d{n}" for n in range(200) if is_holdout(f"d{n}", SHARE)]

Shown = dict[str, dict[str, float]]  # label -> source -> probability


def decision(document_id: str, kept: Sequence[str], shown: Shown, arm: Arm = Arm.REVIEW, **fields: object) -> Decision:
    candidates = tuple(
        Candidate(label, 0.5, tuple(Proposer(name, "1", p, 1) for name, p in by.items())) for label, by in shown.items()
    )
    rejected = tuple(label for label in shown if label not in kept)
    coder = str(fields.pop("coder", "ann"))
    return Decision(
        document_id, 1, 1, coder, "reject", tuple(kept), rejected,
        shown=CandidateSet(document_id, "v", candidates, arm), **fields,  # type: ignore[arg-type]
    )  # fmt: skip


BOTH: Shown = {"ship": {"a": 0.8, "b": 0.1}, "grain": {"b": 0.6}}


def project(tmp_path: Path, sources: int = 2) -> Project:
    configs = tuple(SourceConfig(name, SourceKind.FAKE) for name in "abc"[:sources])
    return Project(7, Experiment("three", configs, training=Training("m", holdout_share=SHARE)), BOOK, tmp_path / "7")


def reading(decisions: Sequence[Decision], examples: Sequence[VerifiedExample] = ()) -> Reading:
    return Reading((), decisions, (), examples)


def test_evidence_is_the_probability_that_was_shown_and_kept() -> None:
    found = weights_of([decision("d1", ["ship"], BOTH), decision("d2", [], BOTH)], BOOK)
    assert found.evidence == {
        ("a", "1", "ship"): Evidence(0.8, 1.6),
        ("b", "1", "ship"): Evidence(0.1, 0.2),
        ("b", "1", "grain"): Evidence(0.0, 1.2),
    }
    assert found.documents == ("d1", "d2")


def test_a_document_counts_once_however_many_coders_it_had() -> None:
    two = [decision("d1", ["ship"], BOTH), decision("d1", [], BOTH, coder="ben")]
    assert weights_of(two, BOOK).evidence["a", "1", "ship"] == Evidence(0.4, 0.8)


def test_levels_teach_their_code() -> None:
    shown: Shown = {"ship:high": {"a": 0.7}, "grain:low": {"a": 0.5}}
    found = weights_of([decision("d1", ["ship:high"], shown)], GRADED)
    assert found.evidence == {("a", "1", "ship"): Evidence(0.7, 0.7), ("a", "1", "grain"): Evidence(0, 0.5)}


@pytest.mark.parametrize(
    "fields",
    [
        {"skipped": True},
        {"unsure": True},
        {"unresolved": "two codes are left"},
        {"repeat": 1},
        {"arm": Arm.CHOOSE},
        {"arm": Arm.BLIND},
    ],
    ids=str,
)
def test_what_is_not_a_verified_first_judgement_of_candidates_teaches_nothing(fields: dict[str, object]) -> None:
    assert usable([decision("d1", ["ship"], BOTH, **fields)], Kind.EXCLUSIVE) == []  # type: ignore[arg-type]


def test_a_decision_without_a_record_teaches_nothing() -> None:
    assert usable([replace(decision("d1", ["ship"], BOTH), shown=None)], Kind.EXCLUSIVE) == []


def test_of_each_coder_the_last_decision_counts() -> None:
    early, late = (datetime(2026, 1, day, tzinfo=UTC) for day in (1, 2))
    first = decision("d1", ["ship"], BOTH, updated_at=late)
    before = replace(decision("d1", ["grain"], BOTH, updated_at=early), annotation_id=9)
    assert usable([first, before], Kind.EXCLUSIVE) == [first]
    assert usable([before, first], Kind.EXCLUSIVE) == [first]
    repeated = replace(before, updated_at=late, repeat=1, annotation_id=10)
    assert usable([first, repeated], Kind.EXCLUSIVE) == [first], "a repeat takes nothing back"


def test_the_holdout_never_teaches_nor_does_a_document_with_its_text(tmp_path: Path) -> None:
    examples = [
        VerifiedExample(HOLDOUT[0], "the same text", ("ship",), (), True),
        VerifiedExample(TRAINING[0], "The  same text", ("ship",), (), False),
    ]
    decisions = [decision(one, ["ship"], BOTH) for one in [*TRAINING[:30], *HOLDOUT]]
    found = learn_weights(project(tmp_path), reading(decisions, examples))
    assert set(found.documents) == set(TRAINING[1:30])
    swapped = [decision(one, ["grain"] if one in HOLDOUT else ["ship"], BOTH) for one in [*TRAINING[:30], *HOLDOUT]]
    assert learn_weights(project(tmp_path), reading(swapped, examples)) == found


def test_few_documents_or_a_single_source_leave_the_weights_equal(tmp_path: Path) -> None:
    enough = [decision(one, ["ship"], BOTH) for one in TRAINING[:ENOUGH_DOCUMENTS]]
    assert learn_weights(project(tmp_path), reading(enough)) != EQUAL
    assert learn_weights(project(tmp_path), reading(enough[1:])) == EQUAL
    assert learn_weights(project(tmp_path, sources=1), reading(enough)) == EQUAL


def test_the_order_of_the_decisions_changes_nothing(tmp_path: Path) -> None:
    decisions = [decision(one, ["ship"][: n % 2], BOTH, coder=str(n % 3)) for n, one in enumerate(TRAINING)]
    backwards = learn_weights(project(tmp_path), reading(decisions[::-1]))
    assert learn_weights(project(tmp_path), reading(decisions)) == backwards
