"""Review as coders do it: in a browser, on Label Studio's page. What they decided is read from an export."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from label_configs.codebook import load_codebook
from label_configs.forms import ReviewForm
from label_configs.records import CandidateSet, Decision, Document
from tests.browser.reviewing import ReviewPage, ReviewProject, Words
from trainer.demo.label_studio import LabelStudioServer

pytestmark = [pytest.mark.label_studio, pytest.mark.browser]

REUTERS = load_codebook("reuters8")
DATAVERSE = load_codebook("dataverse")
SUBMIT = "Control+Enter"

SURVEY = Document(
    "survey", "Law and medicine: three hundred doctors on what the law asks of doctors, and why doctors err."
)
ROCK = Document("rock", "Samples of rock with the chemistry of each rock, from the engineering of an Alpine tunnel.")
SUBJECTS: dict[str, Words] = {"by-subject": {}, "by-people": {"social-sciences": "doctors", "chemistry": "rock"}}

HARVEST = Document("harvest", "The grain harvest fell, so grain waits in silos while shipping and trade stand still.")
TALKS = Document(
    "talks", "Ministers met, and met again, on trade: the oil price was not on the table of the trade talks."
)
NEWSWIRE: dict[str, Words] = {"topic": {}, "verbs": {"acq": "fell", "interest": "met"}}


def proposers(shown: CandidateSet | None, label: str) -> list[str]:
    """Names of the sources that proposed a label, as the record in the annotation says."""
    assert shown is not None
    return sorted(by.source for candidate in shown.candidates if candidate.label == label for by in candidate.proposers)


def decided(decision: Decision) -> tuple[set[str], set[str], Sequence[str]]:
    return set(decision.kept), set(decision.rejected), decision.missed


def test_keep_form_what_is_unticked_is_rejected(
    label_studio: LabelStudioServer, page: Page, tmp_path: Path, output: Path
) -> None:
    review = ReviewProject.prelabelled(label_studio, tmp_path, DATAVERSE, ReviewForm.KEEP, SUBJECTS, [SURVEY, ROCK])
    form = ReviewPage(page, review)

    form.shows(SURVEY.text)
    expect(form.candidates).to_have_count(3)
    for box in form.candidates.all():
        expect(box.get_by_role("checkbox")).to_be_checked()
    assert form.sources("Social Sciences") == ["by-people 41%"]
    assert form.sources("Law") == ["by-subject 45%", "by-people 28%"]
    form.press(form.candidate("Social Sciences"))
    expect(form.candidate("Social Sciences").get_by_role("checkbox")).not_to_be_checked()
    page.screenshot(path=output / "review-keep.png")
    form.submit()

    form.shows(ROCK.text)
    form.candidate("Chemistry").click()
    form.candidate("Engineering").click()
    form.candidate("Chemistry").click()
    form.submit()

    found = review.decisions()
    survey, rock = found["survey"], found["rock"]
    assert decided(survey) == ({"law", "medicine-health-and-life-sciences"}, {"social-sciences"}, ())
    assert proposers(survey.shown, "social-sciences") == ["by-people"]
    assert proposers(survey.shown, "law") == ["by-people", "by-subject"]
    assert decided(rock) == ({"chemistry"}, {"engineering"}, ())
    assert all(decision.verified and not decision.untouched for decision in found.values())
    assert all((decision.seconds or 0) > 0 for decision in found.values())


def test_keep_form_submitted_as_shown_is_untouched_and_what_is_missing_is_added(
    label_studio: LabelStudioServer, page: Page, tmp_path: Path, output: Path
) -> None:
    review = ReviewProject.prelabelled(label_studio, tmp_path, DATAVERSE, ReviewForm.KEEP, SUBJECTS, [SURVEY, ROCK])
    form = ReviewPage(page, review)
    form.shows(SURVEY.text)
    form.submit(SUBMIT)

    form.shows(ROCK.text)
    expect(form.codebook.first).to_be_hidden()
    form.press(form.flags.filter(has_text="A code is missing"))
    expect(form.codebook).to_have_count(len(DATAVERSE.codes))
    form.code("Earth and Environmental Sciences").click()
    page.screenshot(path=output / "review-missing.png")
    form.submit(SUBMIT)

    found = review.decisions()
    assert found["survey"].untouched
    assert len(found["survey"].kept) == 3
    assert decided(found["rock"]) == ({"chemistry", "engineering"}, set(), ("earth-and-environmental-sciences",))
    assert not found["rock"].untouched


def test_reject_form_by_keyboard_alone(
    label_studio: LabelStudioServer, page: Page, tmp_path: Path, output: Path
) -> None:
    review = ReviewProject.prelabelled(label_studio, tmp_path, REUTERS, ReviewForm.REJECT, NEWSWIRE, [HARVEST, TALKS])
    form = ReviewPage(page, review)

    form.shows(HARVEST.text)
    expect(form.candidates).to_have_count(3)
    for number, name in enumerate(form.names(), start=1):
        expect(form.candidate(name).locator(".lsf-hint")).to_have_text(f"[{number}]")
        if name != "Grain":
            page.keyboard.press(str(number))
            expect(form.candidate(name).get_by_role("checkbox")).to_be_checked()
    page.screenshot(path=output / "review-reject.png")
    form.submit(SUBMIT)

    form.shows(TALKS.text)
    for number, name in enumerate(form.names(), start=1):
        if name != "Foreign trade":
            page.keyboard.press(str(number))
    form.submit(SUBMIT)

    found = review.decisions()
    assert decided(found["harvest"]) == ({"grain"}, {"acq", "ship"}, ())
    assert proposers(found["harvest"].shown, "acq") == ["verbs"]
    assert proposers(found["harvest"].shown, "grain") == ["topic", "verbs"]
    assert decided(found["talks"]) == ({"trade"}, {"crude", "interest"}, ())
    assert all(decision.verified and not decision.untouched for decision in found.values())


def test_reject_form_none_fits_and_another_code_is_chosen(
    label_studio: LabelStudioServer, page: Page, tmp_path: Path, output: Path
) -> None:
    review = ReviewProject.prelabelled(label_studio, tmp_path, REUTERS, ReviewForm.REJECT, NEWSWIRE, [HARVEST, TALKS])
    form = ReviewPage(page, review)

    form.shows(HARVEST.text)
    expect(form.codebook.first).to_be_hidden()
    form.press(form.flags.filter(has_text="None of them fits"))
    expect(form.codebook).to_have_count(len(REUTERS.codes))
    form.code("Foreign trade").click()
    expect(form.code("Foreign trade").get_by_role("checkbox")).to_be_checked()
    form.expect_in_sight(form.candidates, form.flags, form.codebook)
    page.screenshot(path=output / "review-none-fits.png")
    form.submit(SUBMIT)

    # Thought better of it: a code chosen and then hidden again must not count.
    form.shows(TALKS.text)
    form.press(form.flags.filter(has_text="None of them fits"))
    form.code("Earnings").click()
    form.press(form.flags.filter(has_text="None of them fits"))
    expect(form.codebook.first).to_be_hidden()
    for name in ("Crude oil", "Interest rates"):
        form.press(form.candidate(name))
    form.submit(SUBMIT)

    found = review.decisions()
    assert decided(found["harvest"]) == (set(), {"acq", "grain", "ship"}, ("trade",))
    assert decided(found["talks"]) == ({"trade"}, {"crude", "interest"}, ())
    assert all(decision.verified for decision in found.values())


def test_a_long_document_leaves_room_for_six_candidates(
    label_studio: LabelStudioServer, page: Page, tmp_path: Path, output: Path
) -> None:
    story = "Ministers spoke of oil, grain and trade. " + "The fleet lay at anchor and the talks went on. " * 60
    sources: dict[str, Words] = {
        "first": {"ship": "fleet", "trade": "talks"},
        "second": {"acq": "anchor", "earn": "spoke"},
        "third": {"money-fx": "lay", "interest": "went on"},
    }
    review = ReviewProject.prelabelled(
        label_studio, tmp_path, REUTERS, ReviewForm.REJECT, sources, [Document("long", story)]
    )
    form = ReviewPage(page, review)
    form.shows("Ministers spoke")
    expect(form.candidates).to_have_count(6)
    page.screenshot(path=output / "review-long.png")
    form.expect_in_sight(form.candidates, form.flags)
    form.press(form.flags.filter(has_text="None of them fits"))
    expect(form.codebook.first).to_be_visible()
    page.screenshot(path=output / "review-long-none-fits.png")
    form.expect_in_sight(form.candidates, form.flags, form.codebook)


def test_whole_form_shows_the_codebook_with_the_proposals_ticked(
    label_studio: LabelStudioServer, page: Page, tmp_path: Path, output: Path
) -> None:
    review = ReviewProject.prelabelled(label_studio, tmp_path, DATAVERSE, ReviewForm.WHOLE, SUBJECTS, [SURVEY])
    form = ReviewPage(page, review)
    form.shows(SURVEY.text)
    expect(form.code("Social Sciences").get_by_role("checkbox")).to_be_checked()
    form.code("Social Sciences").click()
    form.code("Physics").click()
    page.screenshot(path=output / "review-whole.png")
    form.submit(SUBMIT)
    assert decided(review.decisions()["survey"]) == (
        {"law", "medicine-health-and-life-sciences"},
        {"social-sciences"},
        ("physics",),
    )
