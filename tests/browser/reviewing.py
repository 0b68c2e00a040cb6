"""A Label Studio project that waits for review, and the page on which a coder reviews it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

from playwright.sync_api import Locator, Page, Response, expect
from pydantic import SecretStr

from label_configs import wire
from label_configs.codebook import Codebook
from label_configs.forms import ReviewForm
from label_configs.records import Decision, Document
from label_configs.render import render_label_config
from ml_backend.experiment import Experiment, Project, Review, register
from ml_backend.labelstudio import LabelStudioClient
from ml_backend.prelabel import Scope, documents_of, push
from ml_backend.proposing import Plan
from ml_backend.settings import Settings
from ml_backend.source_config import SourceConfig, SourceKind
from ml_backend.sources.fake import FakeSource
from trainer.demo.label_studio import LabelStudioServer
from trainer.verified import read_project

Words = Mapping[str, str]
"""Label key -> the word by which a fake source recognises it, where that is not the codebook's own word."""


@dataclass(frozen=True)
class ReviewProject:
    """A project whose tasks have candidates in their data and a review prediction."""

    server: LabelStudioServer
    client: LabelStudioClient
    project: Project

    @classmethod
    def prelabelled(
        cls,
        server: LabelStudioServer,
        home: Path,
        codebook: Codebook,
        form: ReviewForm,
        sources: Mapping[str, Words],
        documents: Sequence[Document],
    ) -> Self:
        """Create the project and push what fake sources propose, as ``winnow prelabel`` does."""
        settings = Settings(home=home, label_studio_url=server.url, label_studio_token=SecretStr(server.token()))
        client = LabelStudioClient(settings)
        configs = tuple(SourceConfig(name, SourceKind.FAKE, model=name) for name in sources)
        experiment = Experiment(codebook.name, configs, review=Review(form))
        project_id = client.create_project(codebook.name, render_label_config(codebook, form), codebook.instruction)
        project = register(settings.home, project_id, experiment, codebook)
        client.import_tasks(project_id, [wire.task_data(document) for document in documents])
        plan = Plan.of(project)
        pairs, _ = documents_of(list(client.tasks(project_id)), experiment.text)
        fakes = [
            FakeSource(active.config.name, active.version, _with_words(codebook, sources[active.config.name]))
            for active in plan.sources
        ]
        imported = [document for _, document in pairs]
        proposals = list(zip(*(fake.propose(imported) for fake in fakes), strict=True))
        push(client, plan, pairs, proposals, Scope.REVIEW)
        client.set_model_version(project_id, plan.version)
        return cls(server, client, project)

    def decisions(self) -> dict[str, Decision]:
        """Document id -> what the coder decided, read as Winnow reads it: from an export."""
        made = read_project(self.client, self.project).decisions
        assert len({decision.document_id for decision in made}) == len(made)
        return {decision.document_id: decision for decision in made}


def _with_words(codebook: Codebook, words: Words) -> Codebook:
    assert set(words) <= {code.key for code in codebook.codes}
    return replace(codebook, codes=tuple(replace(code, word=words.get(code.key, code.word)) for code in codebook.codes))


class ReviewPage:
    """The label stream of a project, as a coder reaches it: log in, open the project, label all tasks."""

    def __init__(self, page: Page, review: ReviewProject) -> None:
        self.page = page
        self.candidates = page.locator(".winnow-candidates .lsf-choice")
        self.flags = page.locator(".winnow-flags .lsf-choice")
        self.codebook = page.locator(".winnow-codebook .lsf-choice")
        page.goto(f"{review.server.url}/user/login/")
        page.locator("input[name=email]").fill(review.server.username)
        page.locator("input[name=password]").fill(review.server.password)
        page.get_by_role("button", name="Log in").click()
        page.wait_for_url(f"{review.server.url}/")
        page.goto(f"{review.server.url}/projects/{review.project.id}/data")
        page.get_by_role("button", name="Label All Tasks").click()

    def shows(self, text: str) -> None:
        """Wait until the document with this text is on the page, its form complete."""
        expect(self.page.locator(".winnow-text")).to_contain_text(text)
        expect(self.flags.last).to_be_visible()

    def candidate(self, name: str) -> Locator:
        """The box of one candidate."""
        return self.candidates.filter(has=self.page.locator(".winnow-name", has_text=name))

    def names(self) -> list[str]:
        """Names of the candidates, from top to bottom."""
        return self.candidates.locator(".winnow-name").all_inner_texts()

    def code(self, name: str) -> Locator:
        """The box of one code in the whole codebook."""
        return self.codebook.filter(has=self.page.locator(f'input[name="{name}"]'))

    def sources(self, name: str) -> list[str]:
        """What the page says of who proposed a candidate."""
        return self.candidate(name).locator(".winnow-who").all_inner_texts()

    def expect_in_sight(self, *choices: Locator) -> None:
        """Check that every box stands wholly above the bar with the buttons: nothing to scroll for."""
        bar = self.page.locator(".lsf-bottombar").bounding_box()
        assert bar is not None
        for box in (box for locator in choices for box in locator.all()):
            place = box.bounding_box()
            assert place is not None
            assert place["y"] + place["height"] <= bar["y"], f"{box.inner_text()!r} is below the fold"

    def press(self, choice: Locator) -> None:
        """Press the key that the page shows beside a choice."""
        self.page.keyboard.press(choice.locator(".lsf-hint").inner_text().strip("[]"))

    def submit(self, keys: str = "") -> None:
        """Submit by the button, or by ``keys``; return when Label Studio has the annotation."""
        with self.page.expect_response(_creates_an_annotation) as answer:
            if keys:
                self.page.keyboard.press(keys)
            else:
                self.page.get_by_role("button", name="Submit current annotation").click()
        assert answer.value.status == 201


def _creates_an_annotation(response: Response) -> bool:
    return response.request.method == "POST" and "/annotations" in response.url
