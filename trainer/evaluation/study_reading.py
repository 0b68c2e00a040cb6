"""A project as a ``Study``: from Label Studio by way of its mirror, or as it was pulled last.

    open_study(settings, project_id, *, offline=False, gold=None) -> Study     what every command calls
    mirrored_study(project, *, gold=None) -> Study                              the mirror as it is, nothing is asked
    refresh_study(reader, project)                                              bring the mirror up to date
    study_pulled.read_pulled(folder, *, gold=None) -> Study                     the folder of ``winnow pull``, anywhere
    study_of(project, reading, *, url, title, metadata, names, gold, pulled_at) -> Study

``gold`` is a file of truth (``study_gold``); without one truth is what the coders agree on.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from pathlib import Path

from label_configs import wire
from label_configs.errors import ConfigError, WireError
from ml_backend.experiment import Project
from ml_backend.labelstudio import LabelStudioClient
from ml_backend.proposing import Plan
from ml_backend.registered_projects import load_project
from ml_backend.settings import Settings
from ml_backend.task_reader import ProjectReader
from trainer.evaluation.study import Study
from trainer.evaluation.study_documents import study_document
from trainer.evaluation.study_gold import truth_of
from trainer.evaluation.study_pulled import read_pulled
from trainer.mirror import Mirror
from trainer.pulled_folder import PULLED, PulledFolder
from trainer.verified import Reading, reading_of


def open_study(settings: Settings, project_id: int, *, offline: bool = False, gold: Path | None = None) -> Study:
    """The project as it is now; ``offline``: as it was pulled last, without a connection.

    A project that was never pulled is read from its mirror, which every command that asks Label Studio brings up to
    date. Raises ConfigError for a project that is not registered, or of which nothing was read yet, for a pulled folder
    that is damaged and for a gold file that cannot be; LabelStudioError, WireError, AdapterError or EnvironmentFault.
    """
    project = load_project(settings.home, project_id)
    if offline:
        pulled = project.folder / PULLED
        if PulledFolder(pulled).manifest() is not None:
            return read_pulled(pulled, gold=gold)
    else:
        refresh_study(LabelStudioClient(settings), project)
    return mirrored_study(project, gold=gold)


def refresh_study(reader: ProjectReader, project: Project) -> None:
    """Bring the project's mirror up to date, with the project's title, and coders' names where they may be shown.

    Raises LabelStudioError, WireError or EnvironmentFault.
    """
    with Mirror(project.folder) as mirror:
        mirror.refresh(reader, project.id, whole=True)
        mirror.look_about(reader, project.id, names=project.experiment.review.show_coder_names)


def mirrored_study(project: Project, *, gold: Path | None = None) -> Study:
    """What the project's mirror holds now. Raises ConfigError where nothing was read yet."""
    with Mirror(project.folder) as mirror, mirror.tasks() as tasks:
        about = mirror.about
        if about is None:
            raise ConfigError(
                f"project {project.id}: nothing was read of it yet; run `winnow pull --project {project.id}`"
            )
        metadata: dict[str, dict[str, str]] = {}
        reading = reading_of(_noting(tasks, project.experiment.text, metadata), project)
        return study_of(
            project, reading, url=about.url, title=about.title, metadata=metadata, names=about.names, gold=gold,
            pulled_at=about.read_at,
        )  # fmt: skip


def study_of(
    project: Project,
    reading: Reading,
    *,
    url: str = "",
    title: str = "",
    metadata: Mapping[str, Mapping[str, str]] | None = None,
    names: Mapping[str, str] | None = None,
    gold: Path | None = None,
    pulled_at: datetime | None = None,
) -> Study:
    """A study of what was read of a project. ``metadata`` is by document id, see ``wire.metadata``.

    Raises ConfigError for a gold file that cannot be, AdapterError for an adapter that cannot propose.
    """
    plan = Plan.of(project)
    review = project.experiment.review
    documents = {one.id: study_document(project, one, (metadata or {}).get(one.id, {})) for one in reading.documents}
    truth, truth_from = truth_of(reading.examples, review.consensus, project.codebook, documents, gold)
    return Study(
        title=title or f"Project {project.id}",
        codebook=project.codebook,
        documents=documents,
        decisions=reading.decisions,
        proposals=reading.proposals,
        examples=reading.examples,
        truth=truth,
        truth_from=truth_from,
        versions=dict(plan.names),
        configs={active.config.name: active.config for active in plan.sources},
        show_coder_names=review.show_coder_names,
        names=dict(names or {}),
        url=url,
        project_id=project.id,
        pulled_at=pulled_at,
    )


def _noting(
    tasks: Iterable[wire.JsonObject], text_key: str, metadata: dict[str, dict[str, str]]
) -> Iterator[wire.JsonObject]:
    """The tasks, while what they say of their documents is written down."""
    for task in tasks:
        try:
            document = wire.document(task, text_key=text_key)
        except WireError:  # ``reading_of`` leaves it out too: it has no text
            document = None
        if document is not None and not document.repeat:
            metadata[document.id] = wire.metadata(task, text_key=text_key)
        yield task
