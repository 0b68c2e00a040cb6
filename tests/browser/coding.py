"""A coder's session written down: for each document what the coder does, and what must be read from the export."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from playwright.sync_api import Page

from label_configs.codebook import Codebook
from label_configs.records import Arm, Decision, Document
from ml_backend.experiment import Review
from tests.browser.review_page import ReviewPage
from tests.browser.reviewing import ReviewProject, Sources, id_in
from trainer.demo.label_studio import LabelStudioServer

Act = Callable[[ReviewPage], None]


@dataclass(frozen=True)
class Step:
    """One document: what the coder does, and the fields of the decision that this makes.

    ``submit`` False: the last act sends it.
    """

    name: str
    acts: Sequence[Act]
    decided: Mapping[str, Any] = field(default_factory=dict)
    arm: Arm = Arm.REVIEW
    submit: bool = True


def code(
    server: LabelStudioServer,
    page: Page,
    home: Path,
    codebook: Codebook,
    review: Review,
    sources: Sources,
    body: str,
    steps: Sequence[Step],
) -> tuple[ReviewProject, list[Decision]]:
    """Have every step's document coded in the browser; the project, and the decisions that must be read from it.

    Each document is the step's name and ``body``.
    """
    ids = {step.name: id_in(review, step.arm, step.name) for step in steps}
    documents = [Document(ids[step.name], f"{step.name}: {body}") for step in steps]
    project = ReviewProject.prelabelled(server, home, codebook, review, sources, documents)
    form = ReviewPage(page, project)
    for step in steps:
        form.shows(f"{step.name}:")
        for act in step.acts:
            act(form)
        if step.submit:
            form.submit()
    expected = []
    for step in steps:
        shown = project.shown[ids[step.name]]
        blank = Decision(ids[step.name], 0, 0, project.coder, project.project.form.value, shown=shown)
        expected.append(replace(blank, **step.decided))
    return project, expected


def judge(name: str) -> Act:
    """Press a candidate's key."""
    return lambda form: form.tick(form.candidate(name))


def add(name: str) -> Act:
    """Press a code's key in the whole codebook."""
    return lambda form: form.tick(form.code(name))


def grade(code: str, level: str) -> Act:
    """Press the key of a level."""
    return lambda form: form.tick(form.level(code, level))


def flag(text: str) -> Act:
    """Press a flag's key."""
    return lambda form: form.tick(form.flag(text))


def look_up(words: str, down: int) -> Act:
    """Search the Taxonomy."""
    return lambda form: form.look_up(words, down)


def draft(act: Act) -> Act:
    """Do this, wait until Label Studio has the draft, reload the page and come back to it."""

    def act_and_reload(form: ReviewPage) -> None:
        form.draft(lambda: act(form))
        form.shows("draft:")

    return act_and_reload


def skip(form: ReviewPage) -> None:
    """Skip the document. It sends the step."""
    form.skip()


def think_again(*acts: Act) -> Act:
    """Submit, look at the next document, go back, do this, submit again and go on. It sends the step."""

    def act(form: ReviewPage) -> None:
        text = form.page.locator(".winnow-text").inner_text()
        form.submit()
        form.leaves(text)
        form.back()
        form.shows(text)
        for one in acts:
            one(form)
        form.submit()
        form.forward()

    return act
