"""How the page looks: all in sight, keys where they should be, readable in the dark, and no place for scripts."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from label_configs.codebook import Code, Codebook, Kind, load_codebook
from label_configs.forms import ReviewForm
from label_configs.records import Arm, Document
from ml_backend.experiment import Review
from tests.browser.review_page import ReviewPage, keys_shown
from tests.browser.reviewing import ReviewProject, Sources, id_in
from trainer.demo.label_studio import LabelStudioServer

pytestmark = [pytest.mark.label_studio, pytest.mark.browser]

CAP = load_codebook("cap")
FLOURISHING = load_codebook("flourishing")
LONG = ("Ministers spoke of taxes high, wards low, crops high, oil medium, the fleet low, an anchor high. " * 21)[:2000]
SPEECH: Sources = {
    "minilm-similarity": {"macro": "taxes", "health": "wards"},
    "smollm2-zero-shot": {"agriculture": "crops", "energy": "oil"},
    "smollm2-definitions": {"transport": "fleet", "defence": "anchor"},
}
FEELINGS: Sources = {
    "minilm-similarity": {"hope": "taxes", "happiness": "wards"},
    "smollm2-zero-shot": {"vitality": "crops", "balance": "oil"},
    "smollm2-definitions": {"mastery": "fleet", "anxiety": "anchor"},
}
READABLE = 4.5
"""Least contrast of text, as WCAG 2.1 wants it for level AA."""
CONTRASTS = """elements => elements.map(element => {
    const channels = colour => colour.match(/[\\d.]+/g).map(Number);
    const mix = (top, share, below) => top.slice(0, 3).map((value, i) => value * share + below[i] * (1 - share));
    let opacity = 1, ground = null;
    for (let place = element; place; place = place.parentElement) {
        const style = getComputedStyle(place), colour = channels(style.backgroundColor);
        if (!ground) opacity *= Number(style.opacity);
        if (!ground && (colour[3] ?? 1) > 0.99) ground = colour;
    }
    const text = channels(getComputedStyle(element).color);
    const light = colour => {
        const [r, g, b] = colour.map(v => v / 255).map(v => v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
        return 0.2126 * r + 0.7152 * g + 0.0722 * b + 0.05;
    };
    const [one, other] = [light(mix(text, (text[3] ?? 1) * opacity, ground)), light(ground.slice(0, 3))];
    return [element.className, Math.max(one, other) / Math.min(one, other)];
})"""
WORDS = ".winnow-text, .winnow-question h4, .winnow-step h4, .winnow-name, .winnow-who, .winnow-definition, .lsf-hint"


def test_all_is_in_sight_in_every_form(
    label_studio: LabelStudioServer, page: Page, tmp_path: Path, output: Path
) -> None:
    review = Review(choose_share=0.5)
    ids = [id_in(review, arm, "long") for arm in (Arm.REVIEW, Arm.CHOOSE)]
    form: ReviewPage | None = None
    for kind in ReviewForm:
        codebook, sources = (FLOURISHING, FEELINGS) if kind is ReviewForm.GRADED else (CAP, SPEECH)
        documents = [Document(one, f"{number}. {LONG}"[:2000]) for number, one in enumerate(ids)]
        project = ReviewProject.prelabelled(
            label_studio, tmp_path, codebook, replace(review, form=kind), sources, documents
        )
        if form is None:
            form = ReviewPage(page, project)
        else:
            form.open(project)
        form.shows("0. Ministers")
        form.expect_in_sight()
        if kind in (ReviewForm.KEEP, ReviewForm.REJECT, ReviewForm.GRADED):
            proposed = form.candidates.filter(has=page.locator(".winnow-who"))
            assert keys_shown(proposed.all()) == list("123456")
            form.tick(form.flags.first)
            form.expect_in_sight()
        else:
            assert keys_shown(form.codebook.all())[:9] == list("123456789")
        page.screenshot(path=output / f"page-{kind}.png")
        form.skip()
        form.shows("1. Ministers")
        form.expect_in_sight()
        page.screenshot(path=output / f"page-{kind}-arm.png")


def test_dark_theme_is_readable(label_studio: LabelStudioServer, page: Page, tmp_path: Path, output: Path) -> None:
    project = ReviewProject.prelabelled(
        label_studio, tmp_path, CAP, Review(ReviewForm.REJECT), SPEECH, [Document("long", LONG)]
    )
    form = ReviewPage(page, project)
    form.shows("Ministers")
    form.tick(form.candidate("Energy"))  # struck through, and still to be read
    for theme in ("Light", "Dark"):
        switch = page.locator("button").filter(has_text=theme)
        expect(switch).to_be_visible()
        page.wait_for_function("document.getAnimations().every(one => one.playState !== 'running')")
        found = page.locator(WORDS).evaluate_all(CONTRASTS)
        page.screenshot(path=output / f"page-{theme.lower()}.png")
        assert len(found) > 20
        assert [one for one in found if one[1] < READABLE] == []
        switch.click()


HOSTILE = "</b><img src=x onerror=\"window.hurt='img'\"><script>window.hurt='script'</script>{{text}} $text & \"'"


def test_hostile_names_are_shown_as_they_are(
    label_studio: LabelStudioServer, page: Page, tmp_path: Path, output: Path
) -> None:
    codes = tuple(
        Code(key, f"{key} {HOSTILE}", f"definition of {key} {HOSTILE}", key) for key in ("one", "two", "three")
    )
    codebook = Codebook("hostile", Kind.EXCLUSIVE, codes, instruction=f"question {HOSTILE}")
    project = ReviewProject.prelabelled(
        label_studio,
        tmp_path,
        codebook,
        Review(ReviewForm.REJECT),
        {"source <img src=x onerror=window.hurt=1>": {}, "other": {}},
        [Document("hostile", f"text with one and two {HOSTILE}")],
    )
    form = ReviewPage(page, project)
    form.shows("text with one")
    shown = page.locator(".winnow").inner_text().replace("\N{WORD JOINER}", "")
    assert shown.count(HOSTILE) == 1 + 1 + 2 * 2  # text, question, candidates with their definitions
    form.tick(form.flags.first)
    for box in form.codebook.all():
        assert HOSTILE in box.inner_text().replace("\N{WORD JOINER}", "")
    page.screenshot(path=output / "page-hostile.png")
    assert "source <img src=x onerror=window.hurt=1>" in shown
    assert page.locator(".winnow img, .winnow script").count() == 0
    assert page.evaluate("window.hurt") is None
    form.tick(form.codebook.first)
    form.submit()
    [decision] = project.decisions()
    assert decision.labels == ("one",)
    assert not decision.unresolved
