"""What is kept of a task that was read from Label Studio: the same, whether it came by an export or by a list."""

from __future__ import annotations

from typing import Any

from label_configs.forms import SHOWN_NAME
from label_configs.wire.writing import JsonObject

_TASK = ("id", "data", "meta", "created_at", "updated_at")
_ANNOTATION = (
    "id", "result", "completed_by", "was_cancelled", "ground_truth", "lead_time", "created_at", "updated_at",
    "draft_created_at", "parent_prediction", "parent_annotation", "import_id", "last_action", "updated_by",
)  # fmt: skip
_PREDICTION = ("id", "result", "score", "model_version", "created_at", "updated_at")
KEPT_KEYS = tuple(dict.fromkeys((*_TASK, "annotations", "predictions", *_ANNOTATION, *_PREDICTION)))
"""Every name that ``kept_task`` looks at; a list may be asked for these alone."""

_SNAPSHOT = "prediction"


def kept_task(task: JsonObject) -> JsonObject:
    """A task with its annotations and predictions by id, less what tells the time of the reading or is counted.

    An annotation's snapshot of the prediction is there where its result has no record of what was shown, and the task
    was exported: a list leaves it out (see ``lacks_snapshot``). What ``decisions`` and ``proposals`` read of the task
    is the same as before.
    """
    return {
        **{name: task.get(name) for name in _TASK},
        "annotations": [_annotation(one) for one in _by_id(task.get("annotations"))],
        "predictions": [
            {name: one.get(name) for name in _PREDICTION} for one in _by_id(task.get("predictions"))
        ],
    }  # fmt: skip


def lacks_snapshot(task: JsonObject) -> bool:
    """Whether an annotation of a kept task says nowhere what was shown, and its snapshot was not read."""
    return any(_SNAPSHOT not in one and not _has_record(one) for one in task["annotations"])


def with_snapshots(task: JsonObject, before: JsonObject) -> JsonObject:
    """A kept task with the snapshots that it had ``before``: Label Studio takes one when an annotation is made.

    Ids alone do not tell an annotation, SQLite gives those of deleted ones again.
    """
    known = {(one["id"], one["created_at"]): one[_SNAPSHOT] for one in before["annotations"] if _SNAPSHOT in one}
    made = []
    for one in task["annotations"]:
        name = (one["id"], one["created_at"])
        lacking = _SNAPSHOT not in one and not _has_record(one)
        made.append({**one, _SNAPSHOT: known[name]} if lacking and name in known else one)
    return {**task, "annotations": made}


def submitted(task: JsonObject) -> int:
    """Annotations of a kept task that are no skips, as Label Studio counts them."""
    return sum(not one["was_cancelled"] for one in task["annotations"])


def _annotation(annotation: JsonObject) -> JsonObject:
    made = {name: annotation.get(name) for name in _ANNOTATION}
    if _SNAPSHOT in annotation and not _has_record(annotation):
        made[_SNAPSHOT] = annotation[_SNAPSHOT]
    return made


def _has_record(annotation: JsonObject) -> bool:
    """Whether the result itself says what was shown, so that the snapshot is not asked."""
    result = annotation.get("result")
    for item in result if isinstance(result, list) else ():
        value = item.get("value") if isinstance(item, dict) and item.get("from_name") == SHOWN_NAME else None
        texts = value.get("text") if isinstance(value, dict) else None
        if isinstance(texts, str | list) and texts:
            return True
    return False


def _by_id(items: Any) -> list[JsonObject]:
    found = [one for one in items if isinstance(one, dict)] if isinstance(items, list) else []
    return sorted(found, key=lambda one: int(one.get("id") or 0))
