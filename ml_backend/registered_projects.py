"""The projects of an installation: registered by ``winnow init``, loaded by all processes.

A copy of the experiment with absolute paths is kept for each (``home/projects/<id>/winnow.yaml``), so that workers need
no other file. Where the adapter store is a URL, that copy lies there too, for other hosts (see ``shared_projects``).
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import asdict, replace
from enum import StrEnum
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml

from label_configs.codebook import Codebook, dump_codebook, load_codebook
from label_configs.errors import AdapterError, ConfigError
from label_configs.team_form import TeamForm, dump_team_form, load_team_form
from ml_backend import shared_projects
from ml_backend.experiment import Experiment, Project, load_experiment
from ml_backend.home_format import mark_home
from ml_backend.log_events import LogEvent, tell

log = logging.getLogger(__name__)

TEAM_FORM = "team_form.yaml"
REGISTERED = ("winnow.yaml", "codebook.yaml", TEAM_FORM)  # the files that say what a project is


def register(
    home: Path, project_id: int, experiment: Experiment, codebook: Codebook, team: TeamForm | None = None
) -> Project:
    """Keep the experiment for a project, codebook included; replaces an earlier one, each file in one step."""
    folder = home / "projects" / str(project_id)
    kept = replace(experiment, codebook=str(folder / "codebook.yaml"))
    mark_home(home)
    kept_yaml = yaml.safe_dump(_plain(asdict(kept)), sort_keys=False, allow_unicode=True)
    if team is None:
        shared_projects.forget(folder / TEAM_FORM)
    else:
        shared_projects.write(folder / TEAM_FORM, dump_team_form(team))
    shared_projects.write(folder / "codebook.yaml", dump_codebook(codebook))
    shared_projects.write(folder / "winnow.yaml", kept_yaml)  # last: it says that the project is whole
    return Project(project_id, kept, codebook, folder, team)


def load_project(home: Path, project_id: int, *, fresh: bool = False) -> Project:
    """The project as registered; ConfigError where `winnow init` has not been run for it.

    Where the store is a URL and cannot be reached, it is the project as this host knew it last; with ``fresh`` that is
    an AdapterError.
    """
    folder = home / "projects" / str(project_id)
    try:
        shared_projects.refresh(folder)
    except AdapterError as error:
        if fresh or not (folder / "winnow.yaml").exists():
            raise
        tell(log, LogEvent.PROJECTS_OFFLINE, project=project_id, reason=error)
    if not (folder / "winnow.yaml").exists():
        raise ConfigError(f"project {project_id}: not known to Winnow; run `winnow init --project {project_id}` first")
    return _load(folder, tuple(_stamp(folder / name) for name in REGISTERED))


@lru_cache(maxsize=256)
def _load(folder: Path, stamps: tuple[tuple[int, ...], ...]) -> Project:
    """Reading takes 20 ms or more, and each call of Label Studio asks for it: ``stamps`` tell when files were replaced.

    They are taken before the files are read, so that what is replaced meanwhile is read again the next time.
    """
    del stamps
    own = folder / "codebook.yaml"  # the file names it by its place on the host where it was registered
    experiment, codebook = load_experiment(folder / "winnow.yaml", load_codebook(str(own)) if own.exists() else None)
    experiment = replace(experiment, codebook=str(own))
    team = load_team_form(folder / TEAM_FORM) if (folder / TEAM_FORM).exists() else None
    return Project(int(folder.name), experiment, codebook, folder, team)


def _stamp(path: Path) -> tuple[int, ...]:
    try:
        found = path.stat()
    except OSError:  # reading says what is wrong; a form of the team's own need not be there
        return ()
    return found.st_ino, found.st_size, found.st_mtime_ns


def is_registered(home: Path, project_id: int) -> bool:
    """Whether `winnow init` has been run for the project: one look, however many projects there are.

    Where the store is a URL and this host does not know the project: raises AdapterError when it cannot be reached.
    """
    return (home / "projects" / str(project_id) / "winnow.yaml").exists() or project_id in shared_projects.ids()


def registered(home: Path) -> list[int]:
    """Ids of the registered projects, ascending; where the store is a URL and cannot be reached, those known here."""
    here = {int(p.parent.name) for p in (home / "projects").glob("*/winnow.yaml") if p.parent.name.isdigit()}
    try:
        here |= shared_projects.ids()
    except AdapterError as error:
        tell(log, LogEvent.PROJECTS_OFFLINE, reason=error)
    return sorted(here)


def _plain(value: Any) -> Any:
    """Nested plain types, as YAML's safe dumper wants them; None values are left out."""
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items() if v is not None}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    return str(value) if isinstance(value, StrEnum) else value
