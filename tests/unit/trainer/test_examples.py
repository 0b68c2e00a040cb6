from __future__ import annotations

from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from label_configs.codebook import Kind
from label_configs.drawing import is_holdout
from label_configs.records import Decision, Document, VerifiedExample
from trainer.examples import verified_examples

NOON = datetime(2024, 5, 1, 12, tzinfo=UTC)


def decision(coder: str, *labels: str, document: str = "d1", **fields: object) -> Decision:
    annotation_id = fields.pop("annotation_id", 1)
    return Decision(document, 7, annotation_id, coder, "keep", kept=labels, **fields)  # type: ignore[arg-type]


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


def test_rejected_is_what_everybody_who_saw_it_struck_out() -> None:
    documents = {"d1": Document("d1", "text"), "d2": Document("d2", "text 2"), "d3": Document("d3", "text 3")}
    decisions = [
        decision("ann", "earn", rejected=("ship", "acq")),
        decision("bob", "earn", rejected=("trade",)),  # did not see ship and acq
        decision("cai", "earn", "acq", rejected=("trade",)),
        # An outvoted coder's rejection is one of a label that holds; a coder who added a label did not see it.
        decision("ann", "earn", document="d2"),
        decision("bob", rejected=("earn",), document="d2"),
        decision("cai", missed=("earn", "ship"), document="d2"),
        decision("dan", rejected=("ship", "grain"), document="d2"),
        decision("eve", "earn", document="d2"),
        # What does not count: an unsure decision, and others than the ground truth.
        decision("ann", "earn", rejected=("ship",), document="d3", ground_truth=True),
        decision("bob", "earn", rejected=("acq",), document="d3"),
        decision("cai", "earn", rejected=("trade",), document="d3", unsure=True),
    ]
    found = verified_examples(documents, decisions, kind=Kind.MULTILABEL, holdout_share=0)
    assert {one.document_id: (one.labels, one.rejected) for one in found} == {
        "d1": (("earn",), ("ship", "trade")),
        "d2": (("earn",), ("grain",)),
        "d3": (("earn",), ("ship",)),
    }


def test_a_level_may_be_rejected_where_another_holds() -> None:
    one = decision("ann", "joy:low", rejected=("joy:high",))
    (found,) = verified_examples({"d1": Document("d1", "t")}, [one], kind=Kind.GRADED, holdout_share=0)
    assert (found.labels, found.rejected) == (("joy:low",), ("joy:high",))
