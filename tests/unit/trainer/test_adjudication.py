"""What waits for an adjudicator, and how `winnow review` says it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from label_configs.codebook import Code, Codebook, Kind
from label_configs.errors import ConfigError
from label_configs.records import Decision
from ml_backend.experiment import Consensus
from trainer.adjudication import Adjudication, Tie, Unresolved, rulings
from trainer.review_command import as_rows, coder_of

CODES = tuple(Code(key, key, f"About {key}.", key) for key in ("earn", "acq", "ship"))
BOOK = Codebook("three", Kind.EXCLUSIVE, CODES)
SEVERAL = replace(BOOK, kind=Kind.MULTILABEL)


def decision(document: str, coder: str, *labels: str, number: int = 1, **fields: object) -> Decision:
    task_id = fields.pop("task_id", int(document[1:]))
    return Decision(document, task_id, number, coder, "keep", kept=labels, **fields)  # type: ignore[arg-type]


def waiting(*decisions: Decision, codebook: Codebook = BOOK, rule: Consensus = Consensus.MAJORITY) -> Adjudication:
    return Adjudication.of(decisions, codebook, rule)


def test_ties_say_what_each_coder_said_and_on_what_they_differ() -> None:
    found = waiting(decision("d1", "2", "acq"), decision("d1", "1", "earn"), decision("d2", "1", "earn"))
    assert found.ties == (Tie("d1", 1, "no majority among the coders", {"1": ("earn",), "2": ("acq",)}),)
    several = waiting(decision("d1", "1", "acq", "earn"), decision("d1", "2", "acq"), codebook=SEVERAL)
    assert several.ties[0].why == "no majority among the coders on earn"


def test_a_missing_unanimity_is_a_tie() -> None:
    votes = [decision("d1", name, label) for name, label in (("1", "earn"), ("2", "earn"), ("3", "acq"))]
    assert waiting(*votes).ties == ()
    assert waiting(*votes, rule=Consensus.UNANIMITY).ties[0].why == "not unanimous among the coders"


def test_more_than_may_hold_is_a_tie_of_its_own() -> None:
    pairs = [("1", ("earn", "acq")), ("2", ("acq", "ship")), ("3", ("earn", "ship"))]
    votes = [decision("d1", coder, *labels) for coder, labels in pairs]
    found = waiting(*votes, codebook=replace(SEVERAL, max_codes=2))
    assert found.ties[0].why == "the coders agree on more labels than may hold together"


def test_ground_truth_takes_a_document_off_both_lists() -> None:
    coders = [decision("d1", "1", "earn"), decision("d1", "2", "acq"), decision("d1", "3", unresolved="two survivors")]
    assert waiting(*coders) == Adjudication(
        (Unresolved("d1", 1, "3", "two survivors"),),
        (Tie("d1", 1, "no majority among the coders", {"1": ("earn",), "2": ("acq",)}),),
    )
    lead = decision("d1", "9", "acq", ground_truth=True)
    assert waiting(*coders, lead) == Adjudication((), ())
    chair = decision("d1", "8", "earn", ground_truth=True)
    assert waiting(*coders, lead, chair).ties[0].why == "no majority among the adjudicators"


def test_only_the_last_decision_of_a_coder_on_a_task_waits() -> None:
    bad = decision("d1", "1", number=1, unresolved="no code is left")
    assert waiting(bad, decision("d1", "1", "earn", number=2)).unresolved == ()
    assert waiting(decision("d1", "1", "earn", number=1), replace(bad, annotation_id=2)).unresolved != ()


def test_copies_are_told_apart() -> None:
    again = decision("d1", "1", number=2, task_id=70, repeat=1, unresolved="no code is left")
    found = waiting(decision("d1", "1", "earn"), again)
    assert found.unresolved == (Unresolved("d1", 70, "1", "no code is left", 1),)


def test_an_unsure_decision_waits_where_nobody_else_decided() -> None:
    unsure = decision("d1", "1", "earn", unsure=True)
    assert [one.why for one in waiting(unsure).unresolved] == ["the coder is unsure"]
    assert waiting(unsure, decision("d1", "2", "earn")).unresolved == ()
    assert waiting(replace(unsure, skipped=True)).unresolved == ()


@pytest.mark.parametrize("emails", [{"1": "ann@example.com"}, {}])
def test_rows_link_to_the_task(emails: dict[str, str]) -> None:
    found = waiting(
        decision("d1", "1", unresolved="no code is left"), decision("d2", "1", "earn"), decision("d2", "2", "acq")
    )
    rows = as_rows(found, "http://ls/projects/3/data?task=", emails)
    (one,), (tie,) = rows["unresolved"], rows["ties"]
    assert (one["link"], one["email"], one["coder"]) == ("http://ls/projects/3/data?task=1", emails.get("1"), "1")
    assert tie["coders"][1] == {"coder": "2", "email": None, "labels": ["acq"]}


# What an adjudicator's own annotation settles


def ruled(*decisions: Decision, rule: Consensus = Consensus.MAJORITY) -> list[int]:
    return rulings(decisions, BOOK, rule, "9")


def test_what_decides_a_document_that_is_undecided_otherwise_becomes_ground_truth() -> None:
    tie = [decision("d1", "1", "earn"), decision("d1", "2", "acq", number=2)]
    lead = decision("d1", "9", "acq", number=3)
    assert ruled(*tie, lead) == [3]
    assert ruled(decision("d1", "1", unresolved="two survivors"), lead) == [3]
    assert ruled(decision("d1", "1", "earn", unsure=True), lead) == [3]
    assert ruled(*tie, replace(lead, ground_truth=True)) == []
    assert ruled(*tie, replace(lead, unsure=True)) == []
    assert ruled(*tie, replace(lead, repeat=1)) == []


def test_what_an_adjudicator_coded_as_a_coder_settles_nothing() -> None:
    other, own = decision("d1", "1", "earn"), decision("d1", "9", "acq", number=2)
    assert ruled(own) == []
    assert ruled(other, own) == []
    assert ruled(decision("d1", "1", skipped=True), own) == []
    assert ruled(other, own, decision("d1", "9", "ship", number=3)) == [3]
    agreed = [other, decision("d1", "2", "earn", number=4)]
    assert ruled(*agreed, own) == []
    assert ruled(*agreed, own, rule=Consensus.UNANIMITY) == []


def test_an_adjudicator_is_known_by_email() -> None:
    emails = {"1": "Ann@example.com", "9": "lead@example.com"}
    assert coder_of("ann@EXAMPLE.com", emails) == "1"
    with pytest.raises(ConfigError, match=r"no such user; use one of Ann@example.com, lead@example.com"):
        coder_of("nobody@example.com", emails)
