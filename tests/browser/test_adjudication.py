"""Adjudication as a person does it: by the tab or the link to the task, on Label Studio's page."""

from __future__ import annotations

from pathlib import Path

import pytest
from label_studio_sdk import LabelStudio
from playwright.sync_api import Page, expect

from label_configs import wire
from label_configs.codebook import load_codebook
from label_configs.records import Document
from ml_backend.experiment import Consensus, Review
from tests.browser.review_page import ReviewPage
from tests.browser.reviewing import ReviewProject
from trainer.adjudication import TIES, Adjudication, rulings, show_in_label_studio
from trainer.demo.label_studio import LabelStudioServer
from trainer.review_command import as_rows, coder_of
from trainer.verified import read_project

pytestmark = [pytest.mark.label_studio, pytest.mark.browser]

REUTERS = load_codebook("reuters8")
DOCUMENTS = [
    Document("calm", "The shipping lanes are open again, say captains of the shipping companies."),
    Document("contested", "The grain trade: how the grain harvest moves trade."),
    Document("later", "Oil flows again: the refinery takes oil from the north."),
]
CODERS = {"ann@ties.org": "grain", "bob@ties.org": "trade"}


def test_a_tie_is_found_by_its_tab_and_its_link_and_settled_on_the_page(
    label_studio: LabelStudioServer, page: Page, tmp_path: Path, output: Path
) -> None:
    review = ReviewProject.prelabelled(label_studio, tmp_path, REUTERS, Review(), {"topic": {}}, DOCUMENTS)
    tasks = {task["data"]["document_id"]: int(task["id"]) for task in review.client.tasks(review.project.id)}
    for email, code in CODERS.items():
        token = label_studio.create_user(email, "a-long-password")
        sdk = LabelStudio(base_url=label_studio.url, api_key=token)
        shown = review.shown["contested"]
        wrong = [one.label for one in shown.candidates if one.label != code]
        result = wire.coder_result(REUTERS, shown, review.project.form, rejected=wrong)
        sdk.annotations.create(id=tasks["contested"], result=result, lead_time=5.0)
    decisions = read_project(review.client, review.project).decisions
    found = Adjudication.of(decisions, REUTERS, Consensus.MAJORITY)
    show_in_label_studio(review.client, review.project.id, found)
    form = ReviewPage(page, review)

    page.goto(f"{label_studio.url}/projects/{review.project.id}/data")
    expect(page.get_by_text("Tasks: 3 / 3")).to_be_visible()
    page.get_by_text(TIES).click()
    expect(page.get_by_text("Tasks: 1 / 3")).to_be_visible()
    page.screenshot(path=output / "adjudication-tab.png")

    link = f"{label_studio.url}/projects/{review.project.id}/data?task="
    (tie,) = as_rows(found, link, review.client.coders())["ties"]
    assert {one["email"]: one["labels"] for one in tie["coders"]} == {email: [code] for email, code in CODERS.items()}
    page.goto(tie["link"])
    form.shows(DOCUMENTS[1].text)
    tab = page.locator(".lsf-annotation-button").filter(has_text="bob@ties.org")
    tab.hover()
    tab.locator(".lsf-annotation-button__trigger").click()
    page.get_by_text("Duplicate Annotation").click()
    page.screenshot(path=output / "adjudication-task.png")
    form.submit()

    decisions = read_project(review.client, review.project).decisions
    chair = coder_of(label_studio.username, review.client.coders())
    (ruling,) = rulings(decisions, REUTERS, Consensus.MAJORITY, chair)
    review.client.set_ground_truth(ruling)
    (example,) = read_project(review.client, review.project).examples
    assert (example.document_id, example.labels, example.coders) == ("contested", ("trade",), (chair,))
