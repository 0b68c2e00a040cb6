"""Which documents are shown again, to whom, and which decisions make a pair."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from label_configs.drawing import draw
from label_configs.records import Candidate, CandidateSet, Decision
from trainer.repeats import LATER, LATER_DOCUMENTS, MOST_CODERS, due, repeated, wanted_overlap

NOON = datetime(2024, 5, 1, 12, tzinfo=UTC)
SOON = NOON + timedelta(hours=1)


def decision(document: str, number: int, coder: str = "1", **fields: object) -> Decision:
    made = {"kept": ("earn",), "updated_at": NOON, **fields}
    return Decision(document, number, number, coder, "keep", **made)  # type: ignore[arg-type]


def coded(count: int, coder: str = "1") -> list[Decision]:
    return [decision(f"d{number:02}", number, coder) for number in range(1, count + 1)]


# What is due


def test_a_document_is_due_when_its_coder_has_coded_twenty_others() -> None:
    assert due(coded(LATER_DOCUMENTS), 1.0, (), SOON) == []
    assert due(coded(LATER_DOCUMENTS + 2), 1.0, (), SOON) == ["d01", "d02"]


def test_or_when_a_day_has_passed() -> None:
    late = [decision("old", 1), decision("new", 2, updated_at=NOON + LATER)]
    assert due(late, 1.0, (), NOON + LATER) == ["old"]


def test_the_others_must_be_the_same_coders() -> None:
    mixed = [decision("mine", 1, "1"), *(decision(f"d{n}", n, "2") for n in range(2, LATER_DOCUMENTS + 2))]
    assert due(mixed, 1.0, (), SOON) == []


def test_what_has_a_copy_is_not_copied_again() -> None:
    assert due(coded(LATER_DOCUMENTS + 2), 1.0, {"d01"}, SOON) == ["d02"]


def test_the_share_is_drawn_by_document_id() -> None:
    decisions = coded(60)
    drawn = due(decisions, 0.3, (), NOON + LATER)
    assert drawn == [d.document_id for d in decisions if draw(d.document_id, "winnow-repeat") < 0.3]
    assert 5 < len(drawn) < 35
    assert due(decisions, 0.0, (), NOON + LATER) == []


@pytest.mark.parametrize("flaw", [{"skipped": True}, {"ground_truth": True}, {"repeat": 1}])
def test_what_is_no_first_coding_is_not_shown_again(flaw: dict[str, object]) -> None:
    assert due([decision("d1", 1, **flaw)], 1.0, (), NOON + LATER) == []


# Pairs


def test_pairs_are_of_one_coder() -> None:
    first, second = decision("a", 1), decision("a", 9, repeat=1)
    others = [decision("a", 2, "2"), decision("a", 10, "3", repeat=1), decision("b", 3), decision("c", 11, repeat=1)]
    (pair,) = repeated([second, *others, first])
    assert (pair.first, pair.second) == (first, second)


def test_the_first_decision_on_each_task_counts_and_skips_do_not() -> None:
    first, later = decision("a", 1), decision("a", 5, kept=("acq",))
    skipped, second = decision("a", 8, repeat=1, skipped=True), decision("a", 9, repeat=1, unsure=True)
    (pair,) = repeated([later, skipped, second, first])
    assert (pair.first, pair.second) == (first, second)
    assert repeated([first, skipped]) == []


def test_whether_the_same_candidates_were_shown() -> None:
    one, two = (CandidateSet("a", "v", (Candidate(label, 0.5, ()),)) for label in ("earn", "acq"))
    pairs = repeated([decision("a", 1, shown=one), decision("a", 2, repeat=1, shown=one)])
    assert pairs[0].same_shown
    assert not repeated([decision("a", 1, shown=one), decision("a", 2, repeat=1, shown=two)])[0].same_shown
    assert not repeated([decision("a", 1), decision("a", 2, repeat=1)])[0].same_shown


# To whom a copy is served


def copy(overlap: int, *annotators: int, done: bool = False) -> dict[str, object]:
    return {"id": 7, "overlap": overlap, "annotators": list(annotators), "is_labeled": done}


def test_a_new_copy_is_for_as_many_as_coded_the_document() -> None:
    assert wanted_overlap(copy(1), {"1"}) is None
    assert wanted_overlap(copy(1), {"1", "2"}) == 2
    assert wanted_overlap(copy(2), {"1"}) == 1


def test_a_copy_that_another_coder_took_is_opened_for_one_more_up_to_four() -> None:
    assert wanted_overlap(copy(1, 2, done=True), {"1"}) == 2
    assert wanted_overlap(copy(2, 2, 3, done=True), {"1"}) == 3
    assert wanted_overlap(copy(3, 2, 3, done=False), {"1"}) is None
    assert wanted_overlap(copy(2, 1, 2, done=True), {"1"}) is None
    strangers = range(2, 2 + MOST_CODERS)
    assert wanted_overlap(copy(MOST_CODERS, *strangers, done=True), {"1"}) is None
