"""A Label Studio project that waits for review: what fake sources propose is pushed as ``winnow prelabel`` does it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Self

from pydantic import SecretStr

from label_configs import wire
from label_configs.codebook import Codebook
from label_configs.records import Arm, CandidateSet, Decision, Document
from label_configs.render import default_form, render_label_config
from ml_backend.arms import arm_of
from ml_backend.experiment import CandidateRule, Experiment, Project, Review
from ml_backend.labelstudio import LabelStudioClient
from ml_backend.prelabel import documents_of
from ml_backend.proposing import Plan
from ml_backend.pushing import Scope, push
from ml_backend.registered_projects import register
from ml_backend.settings import Settings
from ml_backend.source_config import SourceConfig, SourceKind
from ml_backend.sources.fake import FakeSource
from trainer.demo.label_studio import LabelStudioServer
from trainer.verified import read_project

Words = Mapping[str, str]
"""Label key -> the word by which a fake source recognises it, where that is not the codebook's own word."""
Sources = Mapping[str, Words]
"""Name of a fake source -> its words."""
UNMEASURED = {"annotation_id": 0, "task_id": 0, "seconds": None, "updated_at": None}
"""The fields of a decision that no test can know beforehand."""


@dataclass(frozen=True)
class ReviewProject:
    """A project whose tasks have candidates in their data and a review prediction."""

    server: LabelStudioServer
    client: LabelStudioClient
    project: Project
    shown: Mapping[str, CandidateSet] = field(default_factory=dict)
    """Document id -> the candidates that were pushed last."""

    @classmethod
    def prelabelled(
        cls,
        server: LabelStudioServer,
        home: Path,
        codebook: Codebook,
        review: Review,
        sources: Sources,
        documents: Sequence[Document],
        *,
        rule: CandidateRule | None = None,
    ) -> Self:
        """Create the project, import the documents, and push what the sources propose."""
        settings = Settings(home=home, label_studio_url=server.url, label_studio_token=SecretStr(server.token()))
        client = LabelStudioClient(settings)
        experiment = Experiment(codebook.name, (), candidates=rule or CandidateRule(), review=review)
        form = review.form or default_form(codebook)
        project_id = client.create_project(codebook.name, render_label_config(codebook, form), codebook.instruction)
        project = register(settings.home, project_id, experiment, codebook)
        client.import_tasks(project_id, [wire.task_data(document, form=form) for document in documents])
        return cls(server, client, project).proposed(sources)

    def proposed(self, sources: Sources, release: str = "1") -> Self:
        """Push what these sources propose for the tasks that are still open, as after a promotion.

        A source's version names the ``release``: with another one all tasks get a new prediction.
        """
        codebook = self.project.codebook
        configs = tuple(SourceConfig(name, SourceKind.FAKE, model=f"{name}-{release}") for name in sources)
        experiment = replace(self.project.experiment, sources=configs)
        project = register(self.project.home, self.project.id, experiment, codebook, self.project.team)
        plan = Plan.of(project)
        pairs, problems = documents_of(list(self.client.tasks(project.id)), experiment.text)
        assert not problems
        documents = [document for _, document in pairs]
        fakes = [
            FakeSource(active.config.name, active.version, _with_words(codebook, sources[active.config.name]))
            for active in plan.sources
        ]
        proposals = list(zip(*(fake.propose(documents) for fake in fakes), strict=True))
        push(self.client, plan, pairs, proposals, Scope.REVIEW)
        self.client.set_model_version(project.id, plan.version)
        shown = {one.id: plan.candidates(one, made) for one, made in zip(documents, proposals, strict=True)}
        return replace(self, project=project, shown=shown)

    @property
    def coder(self) -> str:
        """What decisions call the server's own user: the first account of a new Label Studio."""
        return "1"

    def decisions(self) -> list[Decision]:
        """What coders decided, read as Winnow reads it, from an export; in the order of documents and annotations.

        What no test can know beforehand is checked here and then blanked (``UNMEASURED``).
        """
        made = read_project(self.client, self.project).decisions
        for decision in made:
            assert decision.annotation_id
            assert decision.task_id
            assert decision.updated_at
            assert decision.shown
            assert decision.seconds is not None
            assert decision.seconds > 0
        return [replace(decision, **UNMEASURED) for decision in made]


def id_in(review: Review, arm: Arm, name: str) -> str:
    """A document id, beginning with ``name``, that a project with this review draws into the arm."""
    experiment = Experiment("", (), review=review)
    ids = (f"{name}-{number}" for number in range(1000))
    return next((one for one in ids if arm_of(experiment, one) is arm), name)


def _with_words(codebook: Codebook, words: Words) -> Codebook:
    assert set(words) <= {code.key for code in codebook.codes}
    return replace(codebook, codes=tuple(replace(code, word=words.get(code.key, code.word)) for code in codebook.codes))
