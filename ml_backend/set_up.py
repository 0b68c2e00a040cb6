"""Fit a Label Studio project to an experiment: label config, settings, webhook, ML backend, registration.

First a plan is made, which only reads and says what would change; then it is carried out.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from label_configs.codebook import Codebook
from label_configs.errors import ConfigError, LabelStudioError
from label_configs.render import default_form, render_label_config
from label_configs.team_form import TeamForm
from ml_backend import log_events, migration, promotions
from ml_backend.atomic import write_atomically
from ml_backend.changes import Change, compare, review_settings
from ml_backend.config_check import keep_label_config
from ml_backend.experiment import Experiment, Project
from ml_backend.labelstudio import LabelStudioClient
from ml_backend.labelstudio_projects import SETTINGS
from ml_backend.log_events import LogEvent
from ml_backend.registered_projects import load_project, register, registered
from ml_backend.secrets_file import SECRETS_FILE
from ml_backend.settings import Settings, with_secrets
from ml_backend.snapshot import forget_snapshots

log = logging.getLogger(__name__)

ORIGIN = "origin.json"


@dataclass(frozen=True)
class SetUp:
    """What a project is to be, and ``changes``: what carrying it out would change, in the order in which it is done.

    ``project_id`` is None for a project that is yet to be created. ``label_config`` is None where the project's own
    stays as it is; ``names`` are the labels to rename; ``team`` is how a label config of the team's own names things.
    """

    experiment: Experiment
    codebook: Codebook
    project_id: int | None
    title: str
    label_config: str | None
    settings: Mapping[str, Any]
    changes: tuple[Change, ...]
    names: Mapping[str, str] = field(default_factory=dict)
    new_codebook: bool = False
    origin: Path | None = None
    team: TeamForm | None = None

    @property
    def own(self) -> tuple[Change, ...]:
        """The changes that replace something of the team's own, or of what was coded: to be agreed to."""
        return tuple(change for change in self.changes if change.own)


def plan_set_up(
    settings: Settings,
    client: LabelStudioClient,
    experiment: Experiment,
    codebook: Codebook,
    *,
    project_id: int | None = None,
    title: str = "",
    renames: Mapping[str, str] | None = None,
    origin: Path | None = None,
) -> SetUp:
    """What it takes to create a project, or to fit one that exists; nothing is written.

    Without ``project_id`` the project that was created from the same file ``origin`` under the same title is fitted
    again, so that a second run creates no second project. Raises CodebookError or LabelConfigError for what cannot be
    fitted: decisions that would be orphaned, annotations under another form.
    """
    title = title or codebook.name
    wanted = review_settings(experiment.review)
    if project_id is None:
        project_id = _made_before(settings.home, client, origin, title)
    else:
        origin = None
    if project_id is None:
        if renames:
            raise ConfigError("--map: renames codes of a project that exists; add --project")
        form = experiment.review.form or default_form(codebook)
        config = render_label_config(codebook, form, text_key=experiment.text)
        changes = [Change("project", "", f"{title!r} is created, form {form}, {len(codebook.codes)} codes")]
        changes += [Change(name, str(SETTINGS[name]), str(value)) for name, value in wanted.items()
                    if value != SETTINGS[name]]  # fmt: skip
        changes += [Change("webhook", "", f"{settings.backend_url}/webhook"),
                    Change("ML backend", "", settings.backend_url)]  # fmt: skip
        return SetUp(experiment, codebook, None, title, config, wanted, tuple(changes), origin=origin)
    if (settings.home / SECRETS_FILE).exists():
        settings = with_secrets(settings)  # else none are made: a plan only reads
    found = compare(settings, client, project_id, experiment, codebook, renames or {})
    return SetUp(
        found.experiment, codebook, project_id, title, found.label_config, found.settings, found.changes, found.names,
        found.new_codebook, origin, found.team,
    )  # fmt: skip


def carry_out(
    settings: Settings, client: LabelStudioClient, plan: SetUp, tell: Callable[[str], None] = log.info
) -> Project:
    """Do what the plan says; run again after a stop, it goes on. The web process must be running to be connected.

    A project's registered codebook is replaced only when nothing names the old one any more.
    """
    experiment, codebook = plan.experiment, plan.codebook
    project_id = plan.project_id
    if project_id is None:
        assert plan.label_config is not None
        project_id = client.create_project(plan.title, plan.label_config, codebook.instruction)
        log_events.tell(log, LogEvent.PROJECT_CREATED, project=project_id)
    folder = settings.home / "projects" / str(project_id)
    if plan.names:
        migration.begin(folder, plan.names)
    if plan.project_id is not None and plan.label_config is not None:
        client.set_label_config(project_id, plan.label_config)
        log_events.tell(log, LogEvent.LABEL_CONFIG_WRITTEN, project=project_id)
    if plan.names:
        form = experiment.review.form or default_form(codebook)
        show = experiment.candidates.show_sources
        before = load_project(settings.home, project_id).team if project_id in registered(settings.home) else None
        moving = (client, project_id, folder, plan.names, codebook, form, show, before, plan.team)
        migration.Migration(*moving).run(tell)
    if plan.new_codebook:
        _set_aside(folder)
    project = register(settings.home, project_id, experiment, codebook, plan.team)
    migration.end(folder)
    keep_label_config(folder, client.label_config(project_id))
    _keep_origin(folder, plan.origin, plan.title)
    if plan.settings:
        client.set_settings(project_id, dict(plan.settings))
    try:
        connect(settings, client, project_id)
    except LabelStudioError as error:
        raise LabelStudioError(f"{error}; then run `winnow init` again: it goes on with project {project_id}") from None
    return project


def set_up_project(
    settings: Settings,
    client: LabelStudioClient,
    experiment: Experiment,
    codebook: Codebook,
    *,
    project_id: int | None = None,
    title: str = "",
    agreed: bool = False,
) -> Project:
    """Plan and carry out in one go. Raises ConfigError where the team's own would change and nobody ``agreed``."""
    plan = plan_set_up(settings, client, experiment, codebook, project_id=project_id, title=title)
    if plan.own and not agreed:
        raise ConfigError(not_agreed(plan))
    return carry_out(settings, client, plan)


def not_agreed(plan: SetUp) -> str:
    """One line: what would be replaced, and how to agree to it."""
    told = ", ".join(f"{c.what}: {c.before} -> {c.after}" for c in plan.own)
    return (
        f"project {plan.project_id}: would change what is not Winnow's ({told}); see it with --dry-run, and run again "
        "with --yes to agree"
    )


def connect(settings: Settings, client: LabelStudioClient, project_id: int) -> None:
    """Connect the webhook, then the backend: a backend without a webhook of its URL would get one without a token."""
    settings = with_secrets(settings)
    assert settings.password
    assert settings.webhook_token
    url = settings.backend_url
    client.connect_webhook(project_id, f"{url}/webhook", settings.webhook_token.get_secret_value())
    client.connect_backend(project_id, url, settings.username, settings.password.get_secret_value())
    log_events.tell(log, LogEvent.PROJECT_CONNECTED, project=project_id, url=url)


def _set_aside(folder: Path) -> None:
    """What was learned under the codebook before proposes no more: adapters, and snapshots of examples."""
    while promotions.current(folder) is not None:
        promotions.roll_back(folder)
    forget_snapshots(folder)


def _keep_origin(folder: Path, origin: Path | None, title: str) -> None:
    if origin is not None:
        write_atomically(folder / ORIGIN, json.dumps({"config": str(origin), "title": title}))


def _made_before(home: Path, client: LabelStudioClient, origin: Path | None, title: str) -> int | None:
    """The project that was created from this file under this title, if Label Studio still has it."""
    if origin is None:
        return None
    for project_id in registered(home):
        path = home / "projects" / str(project_id) / ORIGIN
        try:
            kept = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            continue
        if kept == {"config": str(origin), "title": title} and client.exists(project_id):
            return project_id
    return None
