from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from label_configs.codebook import Kind
from label_configs.drawing import is_holdout
from label_configs.records import Decision, Document, VerifiedExample
from trainer.examples import (
    Leak,
    consensus,
    leaks,
    verified_examples,
    without_leaks,
)

NOON = datetime(2024, 5, 1, 12, tzinfo=UTC)


def decision(coder: str, *labels: str, document: str = "d1", **fields: object) -> Decision:
    annotation_id = fields.pop("annotation_id", 1)
    return Decision(document, 7, annotation_id, coder, "keep", kept=labels, **fields)  # type: ignore[arg-type]


def example(document_id: str, text: str, *labels: str, holdout: bool = False) -> VerifiedExample:
    return VerifiedExample(document_id, text, labels or ("earn",), ("ann",), holdout)


# Holdout


def test_the_holdout_is_the_same_in_every_version_of_winnow() -> None:
    # `printf 'winnow-holdout\0doc-0' | sha256sum` and so on: 0x37465ed5, 0x84c59d02, 0x233c65fe, 0x507a15e5 of 2^32,
    # that is 0.216, 0.519, 0.138, 0.314. A change would train on what earlier adapters were judged by.
    ids = [f"doc-{number}" for number in range(4)]
    assert [is_holdout(name, 0.2) for name in ids] == [False, False, True, False]
    assert [is_holdout(name, 0.3) for name in ids] == [True, False, True, False]


@given(st.text(), st.floats(0, 1), st.floats(0, 1))
def test_a_larger_share_keeps_what_a_smaller_one_held_out(document_id: str, one: float, other: float) -> None:
    small, large = sorted((one, other))
    assert not is_holdout(document_id, small) or is_holdout(document_id, large)


@given(st.text())
def test_share_zero_holds_out_nothing_and_one_everything(document_id: str) -> None:
    assert not is_holdout(document_id, 0)
    assert is_holdout(document_id, 1)


def test_the_share_is_met_and_the_salt_draws_anew() -> None:
    ids = [f"question-{number}" for number in range(4000)]
    held = {name for name in ids if is_holdout(name, 0.2)}
    # Four standard deviations of a binomial: sqrt(4000 * 0.2 * 0.8) = 25.
    assert abs(len(held) - 800) < 100
    salted = {name for name in ids if is_holdout(name, 0.2, salt="another")}
    assert abs(len(held & salted) - 160) < 50


# Consensus


def test_exclusive_takes_the_plurality() -> None:
    votes = [decision("ann", "earn"), decision("bob", "acq"), decision("cy", "earn")]
    assert consensus(votes, kind=Kind.EXCLUSIVE) == ("earn",)
    four = [decision("a", "earn"), decision("b", "earn"), decision("c", "acq"), decision("d", "crude")]
    assert consensus(four, kind=Kind.EXCLUSIVE) == ("earn",)


def test_a_tie_is_undecided() -> None:
    assert consensus([decision("ann", "earn"), decision("bob", "acq")], kind=Kind.EXCLUSIVE) is None
    assert consensus([decision("ann", "a", "b"), decision("bob", "a")], kind=Kind.MULTILABEL) is None


def test_multilabel_votes_on_each_label() -> None:
    votes = [decision("ann", "a", "b"), decision("bob", "b", "c"), decision("cy", "b", "a", "d")]
    assert consensus(votes, kind=Kind.MULTILABEL) == ("a", "b")
    assert consensus([decision("ann"), decision("bob", "a"), decision("cy")], kind=Kind.MULTILABEL) == ()


def test_graded_votes_on_each_code_with_absence_as_an_answer() -> None:
    votes = [
        decision("ann", "joy:high", "hope:low"),
        decision("bob", "joy:high", "hope:high"),
        decision("cy", "joy:low"),
    ]
    assert consensus([*votes[:2], decision("cy", "joy:low", "hope:low")], kind=Kind.GRADED) == ("hope:low", "joy:high")
    # hope: low, high and absent once each; as three separate yes-or-no labels, none would have held.
    assert consensus(votes, kind=Kind.GRADED) is None


def test_only_the_last_verified_decision_of_a_coder_counts() -> None:
    earlier = decision("ann", "earn", annotation_id=9, updated_at=NOON)
    later = decision("ann", "acq", annotation_id=2, updated_at=NOON + timedelta(minutes=1))
    assert consensus([later, earlier], kind=Kind.EXCLUSIVE) == ("acq",)
    assert consensus([later, earlier, decision("bob", "acq")], kind=Kind.EXCLUSIVE) == ("acq",)
    doubtful = decision("ann", "crude", unsure=True, updated_at=NOON + timedelta(minutes=2))
    assert consensus([earlier, doubtful], kind=Kind.EXCLUSIVE) == ("earn",)


def test_without_times_the_higher_annotation_is_the_later() -> None:
    pair = [decision("ann", "acq", annotation_id=5), decision("ann", "earn", annotation_id=4)]
    assert consensus(pair, kind=Kind.EXCLUSIVE) == ("acq",)


@pytest.mark.parametrize("flaw", [{"skipped": True}, {"unresolved": "two survivors"}, {"unsure": True}])
def test_unusable_decisions_are_left_out(flaw: dict[str, object]) -> None:
    bad = decision("ann", "acq", **flaw)
    assert consensus([bad], kind=Kind.EXCLUSIVE) is None
    assert consensus([bad, decision("bob", "earn")], kind=Kind.EXCLUSIVE) == ("earn",)


@pytest.mark.parametrize("labels", [(), ("earn", "acq")])
def test_exclusive_needs_exactly_one_label(labels: tuple[str, ...]) -> None:
    assert consensus([decision("ann", *labels)], kind=Kind.EXCLUSIVE) is None


def test_ground_truth_wins_over_any_majority() -> None:
    votes = [decision("ann", "earn"), decision("bob", "earn"), decision("lead", "acq", ground_truth=True)]
    assert consensus(votes, kind=Kind.EXCLUSIVE) == ("acq",)
    unsure_lead = decision("lead", "acq", ground_truth=True, unsure=True)
    assert consensus([*votes[:2], unsure_lead], kind=Kind.EXCLUSIVE) == ("earn",)


def test_missed_labels_hold_like_kept_ones() -> None:
    found = Decision("d1", 7, 1, "ann", "keep", kept=("a",), rejected=("b",), missed=("c",))
    assert consensus([found], kind=Kind.MULTILABEL) == ("a", "c")


@given(st.permutations(["earn", "earn", "acq", "crude", "earn"]))
def test_consensus_does_not_depend_on_the_order(labels: list[str]) -> None:
    votes = [decision(f"coder-{number}", label) for number, label in enumerate(labels)]
    assert consensus(votes, kind=Kind.EXCLUSIVE) == ("earn",)


# Examples


def test_verified_examples_are_sorted_and_flagged() -> None:
    documents = {name: Document(name, f"text of {name}", task_id=3) for name in ("doc-1", "doc-0", "doc-2", "tied")}
    decisions = [
        decision("bob", "earn", document="doc-2"),
        decision("ann", "earn", document="doc-0"),
        decision("bob", "earn", document="doc-0"),
        decision("ann", "acq", document="doc-1", skipped=True),
        decision("ann", "earn", document="tied"),
        decision("bob", "acq", document="tied"),
        decision("ann", "acq", document="deleted"),
    ]
    examples = verified_examples(documents, decisions, kind=Kind.EXCLUSIVE, holdout_share=0.2)
    assert [(one.document_id, one.coders, one.holdout) for one in examples] == [
        ("doc-0", ("ann", "bob"), False),
        ("doc-2", ("bob",), True),
    ]
    assert examples[0] == VerifiedExample("doc-0", "text of doc-0", ("earn",), ("ann", "bob"), False, 3)


def test_leaks_ignore_case_and_white_space_only() -> None:
    examples = [
        example("h1", "Oil  prices\nrose.", holdout=True),
        example("h2", "Grain fell.", holdout=True),
        example("t1", " oil PRICES rose. "),
        example("t2", "Oil prices rose!"),
        example("t3", "STRASSE", "acq"),
        example("h3", "straße", holdout=True),
    ]
    assert leaks(examples) == [Leak("t1", "h1"), Leak("t3", "h3")]
    kept = without_leaks(examples)
    assert [one.document_id for one in kept] == ["h1", "h2", "t2", "h3"]
    assert leaks(kept) == []


def test_duplicates_on_one_side_are_no_leak() -> None:
    same = [example("t1", "same"), example("t2", "same"), example("h1", "other", holdout=True)]
    assert leaks(same) == []
    assert without_leaks(same) == same
