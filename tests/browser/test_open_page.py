"""What happens around a coder who has a document open: new proposals, lost predictions, another coder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from label_configs.codebook import load_codebook
from label_configs.forms import ReviewForm
from label_configs.records import Decision, Document
from ml_backend.experiment import Review
from tests.browser.conftest import SCREEN
from tests.browser.review_page import ReviewPage
from tests.browser.reviewing import ReviewProject, Sources
from trainer.demo.label_studio import LabelStudioServer

pytestmark = [pytest.mark.label_studio, pytest.mark.browser]

REUTERS = load_codebook("reuters8")
STORY = "The grain harvest fell, so grain waits in silos while shipping and trade stand still."
BEFORE: Sources = {"topic": {}, "verbs": {"acq": "fell"}}
OTHER_WORDS = {"crude": "grain", "grain": "wheat", "ship": "boats", "trade": "dealings"}
AFTER: Sources = {"topic": {**OTHER_WORDS, "interest": "waits"}, "verbs": {**OTHER_WORDS, "money-fx": "silos"}}


def documents(*names: str) -> list[Document]:
    return [Document(name, f"{name}: {STORY}") for name in names]


def annotations(review: ReviewProject) -> dict[str, dict[str, Any]]:
    """Document id -> its only annotation, as Label Studio exports it."""
    exported = {task["data"]["document_id"]: task["annotations"] for task in review.client.export(review.project.id)}
    assert all(len(found) <= 1 for found in exported.values())
    return {document_id: found[0] for document_id, found in exported.items() if found}


def said(decision: Decision) -> tuple[Sequence[str], Sequence[str], Sequence[str]]:
    return decision.kept, decision.rejected, decision.missed


def test_an_open_document_keeps_what_was_shown_when_proposals_are_swapped(
    label_studio: LabelStudioServer, page: Page, tmp_path: Path
) -> None:
    names = ("untouched", "begun", "draft", "after")
    before = ReviewProject.prelabelled(
        label_studio, tmp_path, REUTERS, Review(ReviewForm.REJECT), BEFORE, documents(*names)
    )
    form = ReviewPage(page, before)

    form.shows("untouched:")
    assert form.names() == ["Grain", "Shipping", "Acquisitions"]
    second = before.proposed(AFTER, release="2")
    form.tick(form.candidate("Acquisitions"))
    form.tick(form.candidate("Shipping"))
    form.submit()

    # What is opened after the swap shows the new candidates; it is open, and begun, when the next swap comes.
    form.shows("begun:")
    assert set(form.names()) == {"Crude oil", "Interest rates", "Money and currencies"}
    form.tick(form.candidate("Interest rates"))
    third = second.proposed(BEFORE, release="3")
    form.tick(form.candidate("Money and currencies"))
    form.submit()

    # A draft is all that is left of the page: its task is left alone, so the candidates are still those it is about.
    form.shows("draft:")
    form.draft(lambda: form.tick(form.candidate("Acquisitions")))
    fourth = third.proposed(AFTER, release="4")
    page.reload()
    form.shows("draft:")
    assert form.names() == ["Grain", "Shipping", "Acquisitions"]
    form.tick(form.candidate("Shipping"))
    form.submit()

    # The prediction is deleted while the document is open. Label Studio refuses to submit what refers to it until
    # the page is loaded again; it has the draft.
    form.shows("after:")
    form.draft(lambda: form.tick(form.candidate("Interest rates")))
    tasks = {task["data"]["document_id"]: int(task["id"]) for task in fourth.client.tasks(fourth.project.id)}
    fourth.client.delete_predictions(fourth.project.id, [tasks["after"], tasks["begun"]])
    page.reload()
    form.shows("after:")
    form.tick(form.candidate("Money and currencies"))
    form.submit()

    decisions = {decision.document_id: decision for decision in fourth.decisions()}
    told = {name: said(decision) for name, decision in decisions.items()}
    assert told == {
        "untouched": (("grain",), ("ship", "acq"), ()),
        "begun": (("crude",), ("interest", "money-fx"), ()),
        "draft": (("grain",), ("ship", "acq"), ()),
        "after": (("crude",), ("interest", "money-fx"), ()),
    }
    shown = {name: pushed.shown[name] for name, pushed in zip(names, (before, second, third, fourth), strict=True)}
    assert {name: decision.shown for name, decision in decisions.items()} == shown
    assert len({one.version for one in shown.values()}) == len(names)
    made = annotations(fourth)
    assert made["untouched"]["parent_prediction"]
    assert {made[name]["parent_prediction"] for name in ("begun", "draft", "after")} == {None}


def test_two_coders_on_one_document(
    label_studio: LabelStudioServer, browser: Browser, page: Page, tmp_path: Path
) -> None:
    review = ReviewProject.prelabelled(
        label_studio, tmp_path, REUTERS, Review(ReviewForm.REJECT), BEFORE, documents("both")
    )
    review.client.set_settings(review.project.id, {"maximum_annotations": 2})
    colleague = ("colleague@example.com", "a-long-password")
    label_studio.create_user(*colleague)
    one = ReviewPage(page, review)
    one.shows("both:")
    with browser.new_context(viewport=SCREEN) as context:
        other = ReviewPage(context.new_page(), review, colleague)
        other.shows("both:")
        one.tick(one.candidate("Acquisitions"))
        one.tick(one.candidate("Shipping"))
        one.submit()
        # The colleague sees the proposals, and nothing of what the first coder did with them.
        for box in other.candidates.all():
            expect(box.locator("input")).not_to_be_checked()
        other.tick(other.flag("None of them fits"))
        other.tick(other.code("Foreign trade"))
        other.submit()

    first, second = sorted(review.decisions(), key=lambda decision: decision.coder != review.coder)
    assert first.coder != second.coder
    assert said(first) == (("grain",), ("ship", "acq"), ())
    assert said(second) == ((), ("grain", "ship", "acq"), ("trade",))
    assert first.shown == second.shown == review.shown["both"]
