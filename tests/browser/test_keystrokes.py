"""How many keys a coder presses: the same documents by rejecting candidates and by choosing from the whole codebook."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest
from playwright.sync_api import Page

from label_configs.codebook import load_codebook
from label_configs.forms import ReviewForm
from label_configs.records import Document
from ml_backend.experiment import Review
from tests.browser.review_page import ReviewPage
from tests.browser.reviewing import ReviewProject, Sources
from trainer.demo.label_studio import LabelStudioServer
from trainer.evaluation.keystrokes import least_keys

pytestmark = [pytest.mark.label_studio, pytest.mark.browser]

CAP = load_codebook("cap")
# What is no code's own word here: the sources find some codes, are led astray by others, and miss a few wholly.
SOURCES: Sources = {
    "first": {"health": "patients", "transport": "railway", "energy": "turbines"},
    "second": {"education": "pupils", "transport": "ferries", "agriculture": "harvest"},
    "third": {"environment": "rivers", "energy": "turbines", "health": "patients", "crime": "thieves"},
}
TRUE: Mapping[str, tuple[str, str]] = {
    "hospital": ("Health", "Patients wait for months, and the economy suffers."),
    "school": ("Education", "Pupils leave early, and labour is short."),
    "rail": ("Transportation", "The railway was closed for a week, which hurt trade with the south."),
    "wind": ("Energy", "Turbines stand still, and the regions ask for money."),
    "river": ("Environment", "Rivers carry waste, and patients were moved."),
    "wheat": ("Agriculture and Fisheries", "The harvest was poor, and trade in wheat stopped."),
    "tariff": ("Foreign Trade", "On trade with the east: trade grows, and rights are at stake."),
    "theft": ("Law and Crime", "Thieves took copper from the railway by night."),
    "jobs": ("Labour", "Labour is cheap, labour is scarce, said the welfare office."),
    "ferry": ("Transportation", "Ferries were late, and defence ships had to help."),
    "army": ("Defence", "Defence was debated, and so was diplomacy, but not science."),
    "museum": ("Culture and Media", "A museum closed, though education was its aim."),
}


def test_keys_per_document(label_studio: LabelStudioServer, page: Page, tmp_path: Path, output: Path) -> None:
    documents = [Document(name, f"{name}: {text}") for name, (_, text) in TRUE.items()]
    keys: dict[ReviewForm, list[int]] = {}
    candidates: list[int] = []
    form: ReviewPage | None = None
    for kind in (ReviewForm.REJECT, ReviewForm.CHOOSE):
        project = ReviewProject.prelabelled(label_studio, tmp_path, CAP, Review(kind), SOURCES, documents)
        if form is None:
            form = ReviewPage(page, project)
            candidates = [len(shown.candidates) for shown in project.shown.values()]
        else:
            form.open(project)
        keys[kind] = [_keys(form, name, true) for name, (true, _) in TRUE.items()]
        decided = {decision.document_id: decision for decision in project.decisions()}
        assert {name: one.labels for name, one in decided.items()} == {
            name: (CAP_KEYS[true],) for name, (true, _) in TRUE.items()
        }
        # What `winnow effort` reports, as Label Studio records no keys.
        assert [least_keys(decided[name], CAP) for name in TRUE] == keys[kind]
    table = _table(candidates, keys)
    (output / "keystrokes.md").write_text(table, encoding="utf-8")
    assert set(keys[ReviewForm.CHOOSE]) == {2}
    assert min(keys[ReviewForm.REJECT]) >= 2


CAP_KEYS = {code.name: code.key for code in CAP.codes}


def _keys(form: ReviewPage, name: str, true: str) -> int:
    """Keys pressed for one document, submitting included."""
    form.shows(f"{name}:")
    before = form.keys
    names = form.names()
    if true in names:
        for wrong in names:
            if wrong != true:
                form.tick(form.candidate(wrong))
    else:
        if names:
            form.tick(form.flag("None of them fits"))
        form.tick(form.code(true))
    form.submit()
    return form.keys - before


def _table(candidates: list[int], keys: Mapping[ReviewForm, list[int]]) -> str:
    """A table of the documents, Markdown."""
    lines = ["| form | shown to the coder | keys per document | least | most |", "|---|---|---:|---:|---:|"]
    shown = {
        ReviewForm.REJECT: f"{sum(candidates) / len(candidates):.1f} candidates, each with its definition",
        ReviewForm.CHOOSE: f"all {len(CAP.codes)} codes",
    }
    for kind, counts in keys.items():
        mean = sum(counts) / len(counts)
        lines.append(f"| {kind} | {shown[kind]} | {mean:.1f} | {min(counts)} | {max(counts)} |")
    return "\n".join(lines) + "\n"
