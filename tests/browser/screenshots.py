"""The picture in the README, taken as the tests take theirs: ``make screenshots``. Not among the tests."""

from __future__ import annotations

from pathlib import Path

from playwright.sync_api import Page, expect

from label_configs.codebook import load_codebook
from label_configs.forms import ReviewForm
from label_configs.records import Document
from tests.browser.reviewing import ReviewPage, ReviewProject, Words
from trainer.demo.label_studio import LabelStudioServer

PICTURES = Path(__file__).parent / "screenshots"
LIMIT = 200_000  # bytes

STORY = (
    "DOCKERS HALT GRAIN TERMINALS. Dockers at three grain terminals walked out at midnight over night wages, and "
    "eleven vessels with wheat and maize lie at anchor off the port. The harbour master said that no ship would "
    "berth before Monday. Two vessels were sent on to other ports along the coast, where berths are scarce as "
    "well. A union spokesman said the dockers would be back within the hour if the owners of the terminals "
    "withdrew the new roster. Exporters said that contracts for delivery this month could still be met from "
    "stocks inland."
)
SOURCES: dict[str, Words] = {
    "minilm-similarity": {"ship": "port"},
    "smollm2-zero-shot": {"trade": "export", "ship": "freight"},
    "smollm2-definitions": {"ship": "dockers", "grain": "harvest", "earn": "wages"},
}


def test_review(label_studio: LabelStudioServer, page: Page, tmp_path: Path) -> None:
    review = ReviewProject.prelabelled(
        label_studio, tmp_path, load_codebook("reuters8"), ReviewForm.REJECT, SOURCES, [Document("dockers", STORY)]
    )
    form = ReviewPage(page, review)
    form.shows("DOCKERS HALT GRAIN TERMINALS")
    expect(form.candidates).to_have_count(4)
    form.press(form.candidate("Foreign trade"))
    form.press(form.candidate("Earnings"))
    expect(form.candidate("Earnings").get_by_role("checkbox")).to_be_checked()
    PICTURES.mkdir(exist_ok=True)
    page.screenshot(path=PICTURES / "review.png")
    assert (PICTURES / "review.png").stat().st_size < LIMIT
