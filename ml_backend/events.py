"""Webhook payload -> what changed. A webhook is a hint to look, never a count."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from label_configs.errors import WireError

LIMIT = 10**18  # ids are smaller; Label Studio counts from 1


class Change(StrEnum):
    """What a webhook is about, as far as Winnow cares."""

    ANNOTATIONS = "annotations"
    TASKS = "tasks"
    TRAIN = "train"
    CHECK = "check"
    OTHER = "other"


CHECK = "WINNOW_CHECK"  # of the webhook that `winnow doctor` sends itself
ACTIONS = {
    CHECK: Change.CHECK,
    "ANNOTATION_CREATED": Change.ANNOTATIONS,
    "ANNOTATIONS_CREATED": Change.ANNOTATIONS,
    "ANNOTATION_UPDATED": Change.ANNOTATIONS,
    "ANNOTATIONS_DELETED": Change.ANNOTATIONS,
    "TASKS_CREATED": Change.TASKS,
    "TASKS_DELETED": Change.TASKS,
    "START_TRAINING": Change.TRAIN,
}


@dataclass(frozen=True, slots=True)
class Event:
    """One webhook: what changed, in which project."""

    change: Change
    project_id: int


def parse_event(payload: Any) -> Event:
    """Read a webhook's JSON. Raises WireError when it names no action or no project."""
    if not isinstance(payload, Mapping) or not isinstance(payload.get("action"), str):
        raise WireError("webhook: no field 'action'; is this Label Studio's webhook?")
    project = payload.get("project")
    project_id = project.get("id") if isinstance(project, Mapping) else project
    return Event(ACTIONS.get(payload["action"], Change.OTHER), parse_project_id(project_id, "webhook"))


def parse_project_id(value: Any, where: str) -> int:
    """A project's id from ``7``, ``"7"`` or ``"7.1717171717"`` (id and creation time). Raises WireError."""
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < LIMIT:
        return value
    text = value.partition(".")[0] if isinstance(value, str) else ""
    if not (text.isascii() and text.isdigit() and len(text) < 19):
        kind = "a text" if isinstance(value, str) else f"a {type(value).__name__}"  # its value may be anything
        raise WireError(f"{where}: field 'project' is {kind} that is no project id; send the id as a number")
    return int(text)
