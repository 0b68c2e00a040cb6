"""Whether a project's label config is still the one that its proposals are made for; anybody may edit it by hand."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

from label_configs.errors import CodebookError, LabelConfigError
from label_configs.render import check_label_config, read_label_config
from label_configs.team_form import check_team_config
from ml_backend import shared_projects
from ml_backend.experiment import Project
from ml_backend.labelstudio import LabelStudioClient
from ml_backend.log_events import LogEvent, tell
from ml_backend.migration import begun

log = logging.getLogger(__name__)

FILE = "label_config.xml"


@dataclass(frozen=True, slots=True)
class ConfigState:
    """What was found: ``edited`` since ``winnow init``, and one line of what no longer fits (empty where all does)."""

    edited: bool
    problem: str = ""


def keep_label_config(folder: Path, xml: str) -> None:
    """Keep the label config that a project was set up with, to compare with later."""
    shared_projects.write(folder / FILE, xml)


def kept_label_config(folder: Path) -> str | None:
    """The label config that a project was set up with, None where none was kept."""
    path = folder / FILE
    return path.read_text(encoding="utf-8") if path.exists() else None


def state_of(project: Project, xml: str) -> ConfigState:
    """Compare a label config with what the project was set up with; asks nobody."""
    if begun(project.folder):
        told = "a change of its codebook has begun and not ended; run the same `winnow init` again"
        return ConfigState(True, f"project {project.id}: {told}")
    kept = kept_label_config(project.folder)
    edited = kept is not None and not same_xml(kept, xml)
    try:
        if project.team is None:
            check_label_config(xml, project.codebook, project.form)
        elif check_team_config(xml, project.codebook) != project.team:
            raise LabelConfigError("label config: calls its text or choices otherwise than at the last `winnow init`")
        if (shown := read_label_config(xml).text_key) != project.experiment.text:
            raise LabelConfigError(f"label config: shows the task key {shown}, not {project.experiment.text}")
    except (CodebookError, LabelConfigError) as error:
        what = str(error).partition("; ")[0]
        changed = ", it was edited in Label Studio" if edited else ""
        return ConfigState(
            edited,
            f"project {project.id}: {what}{changed}; no proposals are sent until it fits: run "
            f"`winnow init winnow.yaml --project {project.id}`, which shows what it would change",
        )
    return ConfigState(edited)


def config_state(client: LabelStudioClient, project: Project) -> ConfigState:
    """The state of the project's label config now, by one request. Raises LabelStudioError."""
    return state_of(project, client.label_config(project.id))


def check_config(client: LabelStudioClient, project: Project) -> None:
    """Raises LabelConfigError when proposals would no longer fit; warns of an edit that does no harm."""
    require(project, config_state(client, project))


def require(project: Project, state: ConfigState) -> None:
    """Raises LabelConfigError for a state in which proposals do not fit."""
    if state.problem:
        raise LabelConfigError(state.problem)
    if state.edited:
        tell(log, LogEvent.LABEL_CONFIG_EDITED, project=project.id)


def same_xml(one: str, other: str) -> bool:
    """Whether two label configs say the same, white space between elements apart."""
    try:
        first, second = (ElementTree.canonicalize(xml, strip_text=True) for xml in (one, other))
    except ElementTree.ParseError:
        return False
    return first == second
