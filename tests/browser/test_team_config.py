"""A team's own layout, annotated already: proposals are ticked in it, and what the coder changes is read."""

from __future__ import annotations

from pathlib import Path

import pytest
from label_studio_sdk import LabelStudio
from playwright.sync_api import Page, expect
from pydantic import SecretStr

from label_configs.codebook import Code, Codebook, Kind
from label_configs.forms import ReviewForm
from label_configs.team_form import check_team_config, with_record
from ml_backend.experiment import Experiment, Review
from ml_backend.labelstudio import LabelStudioClient
from ml_backend.registered_projects import register
from ml_backend.settings import Settings
from tests.browser.review_page import ReviewPage
from tests.browser.reviewing import ReviewProject
from trainer.demo.label_studio import LabelStudioServer
from trainer.verified import read_project

pytestmark = [pytest.mark.label_studio, pytest.mark.browser]

THEIRS = """<View>
  <Header value="What is it about?"/>
  <Text name="doc" value="$body"/>
  <Choices name="topic" toName="doc" choice="multiple" showInline="true">
    <Choice value="Politics" hotkey="p"/>
    <Choice value="Law &amp; order" alias="LAW" hotkey="l"/>
    <Choice value="Sport" hotkey="s"/>
  </Choices>
  <TextArea name="remarks" toName="doc" placeholder="Remarks" editable="true"/>
</View>"""
BOOK = Codebook(
    "topics",
    Kind.MULTILABEL,
    (
        Code("pol", "Politics", "Parties and elections", "politics"),
        Code("LAW", "Courts", "Courts and police", "judge"),
        Code("sport", "Sport", "Games", "goal"),
    ),
)


def test_proposals_are_ticked_in_a_teams_own_layout(
    label_studio: LabelStudioServer, page: Page, tmp_path: Path, output: Path
) -> None:
    token = label_studio.token()
    client = LabelStudioClient(
        Settings(home=tmp_path, label_studio_url=label_studio.url, label_studio_token=SecretStr(token))
    )
    project_id = client.create_project("theirs", THEIRS)
    old, new = client.import_tasks(
        project_id, [{"body": "Old: who won the vote?"}, {"body": "New: the judge spoke of politics."}]
    )
    before = [{"from_name": "topic", "to_name": "doc", "type": "choices", "value": {"choices": ["Politics"]}}]
    LabelStudio(base_url=label_studio.url, api_key=token).annotations.create(id=old, result=before)
    client.set_label_config(project_id, with_record(THEIRS))
    team = check_team_config(client.label_config(project_id), BOOK)
    experiment = Experiment("topics", (), text="body", review=Review(ReviewForm.WHOLE))
    project = register(tmp_path, project_id, experiment, BOOK, team)
    review = ReviewProject(label_studio, client, project).proposed({"words": {}})

    form = ReviewPage(page, review)
    expect(page.get_by_text("New: the judge spoke of politics.")).to_be_visible()
    boxes = {name: page.locator(f'input[name="{name}"]') for name in ("Politics", "Law & order", "Sport")}
    expect(boxes["Law & order"]).to_be_checked()
    expect(boxes["Politics"]).to_be_checked()
    expect(boxes["Sport"]).not_to_be_checked()
    page.screenshot(path=output / "page-team.png")
    form.press("p", "s")
    expect(boxes["Politics"]).not_to_be_checked()
    expect(boxes["Sport"]).to_be_checked()
    form.submit()

    coded, reviewed = sorted(read_project(client, review.project).decisions, key=lambda one: one.task_id != old)
    assert (coded.labels, coded.shown, coded.verified) == (("pol",), None, True)
    assert (reviewed.kept, reviewed.rejected, reviewed.missed) == (("LAW",), ("pol",), ("sport",))
    assert reviewed.shown == review.shown[f"task-{new}"]
    assert reviewed.verified
