"""The pictures of the forms, taken as the tests take theirs: ``make screenshots``. Not among the tests."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

import pytest
from playwright.sync_api import Browser, Page, expect

from label_configs.codebook import load_codebook
from label_configs.forms import ReviewForm
from label_configs.records import Arm, Document
from ml_backend.experiment import Review
from ml_backend.round_queue import enqueue_round, put_round_progress
from tests.browser.dashboard import logged_in, served
from tests.browser.review_page import ReviewPage
from tests.browser.reviewing import ReviewProject, Sources, id_in
from tests.made_project import MadeProject, working
from trainer.dashboard.kept_report import save_report
from trainer.dashboard.making import report_of
from trainer.dashboard.next_round import counted
from trainer.demo.label_studio import LabelStudioServer
from trainer.evaluation.study_reading import mirrored_study
from trainer.rounds import RoundRecord, RoundState, rounds_folder, save_round

ColorScheme = Literal["light", "dark"]

PICTURES = Path(__file__).parent / "screenshots"
LIMIT = 200_000  # bytes
DASHBOARD = {  # picture -> the section on top
    "light": {"dashboard": "main", "dashboard-agreement": "report-agreement-pairs"},
    "dark": {"dashboard-dark": "adapters"},
}

STORY = (
    "DOCKERS HALT GRAIN TERMINALS. Dockers at three grain terminals walked out at midnight over night wages, and "
    "eleven vessels with wheat and maize lie at anchor off the port. The harbour master said that no ship would "
    "berth before Monday. Two vessels were sent on to other ports along the coast, where berths are scarce as "
    "well. A union spokesman said the dockers would be back within the hour if the owners of the terminals "
    "withdrew the new roster. Exporters said that contracts for delivery this month could still be met from "
    "stocks inland."
)
NEWSWIRE: Sources = {
    "minilm-similarity": {"ship": "port"},
    "smollm2-zero-shot": {"trade": "export", "ship": "freight"},
    "smollm2-definitions": {"ship": "dockers", "grain": "harvest", "earn": "wages"},
}
SURVEY = (
    "Survey of physicians on the duty to report, 2019. Three hundred physicians in five hospitals were asked what the "
    "law expects of them when a patient is at risk, what they do, and what courts made of it later. The data hold "
    "their answers, the wards where they work and the rulings, without names."
)
SUBJECTS: Sources = {
    "by-subject": {},
    "by-people": {"social-sciences": "asked", "medicine-health-and-life-sciences": "physicians"},
}
# A fake source looks for a code's word with a level behind it.
POST = (
    "Ten years sober today. I did not do it alone: I hold you high, all who sat with me on the bad nights. Money is "
    "low, and I do not know where we will live in spring, but I live at a medium pace, my hopes are high, and I keep "
    "going."
)
FEELINGS: Sources = {
    "minilm-similarity": {"gratitude": "hold you", "hope": "hopes are", "financial-worry": "spring"},
    "smollm2-definitions": {"gratitude": "hold you", "financial-worry": "money is", "balance": "winter"},
    "smollm2-zero-shot": {"balance": "at a", "hope": "hopes are", "gratitude": "thanks"},
}


@dataclass(frozen=True)
class Picture:
    """What is in a picture: the form, and the keys that were pressed before."""

    name: str
    form: ReviewForm
    keys: str = ""
    codebook: str = "reuters8"
    text: str = STORY
    sources: Sources = field(default_factory=lambda: NEWSWIRE)
    arm: Arm = Arm.REVIEW
    dark: bool = False


SHOT = [
    Picture("review", ReviewForm.REJECT, "34"),
    Picture("reject-none-fits", ReviewForm.REJECT, "m"),
    Picture("keep", ReviewForm.KEEP, "3", codebook="dataverse", text=SURVEY, sources=SUBJECTS),
    Picture("graded", ReviewForm.GRADED, "em", codebook="flourishing", text=POST, sources=FEELINGS),
    Picture("whole", ReviewForm.WHOLE, codebook="dataverse", text=SURVEY, sources=SUBJECTS),
    Picture("choose", ReviewForm.CHOOSE, codebook="cap"),
    Picture("blind", ReviewForm.BLIND, codebook="cap"),
    Picture("reject-arm-blind", ReviewForm.REJECT, arm=Arm.BLIND),
    Picture("dark", ReviewForm.REJECT, "34", dark=True),
]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_dashboard(
    label_studio: LabelStudioServer, redis_db: str, browser: Browser, tmp_path: Path, scheme: ColorScheme
) -> None:
    with served(label_studio, tmp_path, redis_db, MadeProject(tmp_path, 600, 460)) as site:
        found = counted(site.project.folder)
        assert found is not None
        study = mirrored_study(site.project)
        save_report(site.project.folder, report_of(site.project, study, found.revision, time.monotonic()))
        record = RoundRecord("3fa94c0b7d21e658", site.project.id, RoundState.RUNNING, 380, 304, 76,
                             started_at=datetime.now(UTC))  # fmt: skip
        save_round(rounds_folder(site.project.home, site.project.id), record)
        enqueue_round(site.redis, site.project)
        progress = {"stage": "train", "step": 184, "steps": 450, "loss": 0.2134, "seconds_left": 412.0}
        put_round_progress(site.redis, site.project.id, progress)
        size = {"width": 1280, "height": 1000}
        with (
            working(site.redis), logged_in(browser, "operator", viewport=size, color_scheme=scheme) as page
        ):  # fmt: skip
            page.goto(site.page)
            for name, section in DASHBOARD[scheme].items():
                page.evaluate("name => { location.hash = name; }", section)
                page.wait_for_timeout(500)  # sections that come into sight are drawn then
                page.screenshot(path=PICTURES / f"{name}.png")
                assert (PICTURES / f"{name}.png").stat().st_size < LIMIT


@pytest.mark.parametrize("picture", SHOT, ids=lambda picture: picture.name)
def test_picture(label_studio: LabelStudioServer, page: Page, tmp_path: Path, picture: Picture) -> None:
    codebook = load_codebook(picture.codebook)
    review = Review(picture.form, blind_share=float(picture.arm is Arm.BLIND))
    sources = (
        picture.sources if picture.form not in (ReviewForm.CHOOSE, ReviewForm.BLIND) else {"minilm-similarity": {}}
    )
    document = Document(id_in(review, picture.arm, picture.name), picture.text)
    form = ReviewPage(page, ReviewProject.prelabelled(label_studio, tmp_path, codebook, review, sources, [document]))
    form.shows(picture.text[:40])
    form.press(*picture.keys)
    if picture.dark:
        page.locator("button").filter(has_text="Light").click()
    expect(page.locator("button").filter(has_text="Dark" if picture.dark else "Light")).to_be_visible()
    page.wait_for_function("document.getAnimations().every(one => one.playState !== 'running')")
    form.expect_in_sight()
    PICTURES.mkdir(exist_ok=True)
    page.screenshot(path=PICTURES / f"{picture.name}.png")
    assert (PICTURES / f"{picture.name}.png").stat().st_size < LIMIT
