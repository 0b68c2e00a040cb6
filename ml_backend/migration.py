"""Migrate a project's annotations, drafts, predictions and task data to codes of another name, through the API.

Resumable: what is done is recognised by its names, so it is run again after a stop. Every result is kept as it was in
``renamed.jsonl`` in the project's folder before it is rewritten; coders and seconds stay as they are.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from label_configs import wire
from label_configs.codebook import Codebook
from label_configs.errors import EnvironmentFault, LabelStudioError
from label_configs.forms import CANDIDATES_KEY, CONTROLS, ReviewForm
from label_configs.team_form import TeamForm
from label_configs.wire import JsonObject
from label_configs.wire.renaming import renamed_result, shown_in, with_shown
from label_configs.wire.team import renamed_in_team
from ml_backend.atomic import write_atomically
from ml_backend.labelstudio import LabelStudioClient

log = logging.getLogger(__name__)

PASSES = 5  # over the project; coders may submit under the old names while it runs
TASKS_AT_ONCE = 100  # whose predictions are replaced together
BEGUN, PENDING, KEPT = "renaming.json", "renaming-predictions.json", "renamed.jsonl"


@dataclass(frozen=True)
class Migration:
    """A project's move to ``names`` (label keys, old to new, or to nothing) and to the codebook that has them."""

    client: LabelStudioClient
    project_id: int
    folder: Path
    names: Mapping[str, str]
    codebook: Codebook
    form: ReviewForm
    show_sources: bool = True
    before: TeamForm | None = None
    after: TeamForm | None = None  # both where the label config is the team's own

    def run(self, tell: Callable[[str], None] = log.info) -> int:
        """Rewrite what names an old label until nothing does; the number of tasks that were rewritten.

        Raises LabelStudioError when coders go on submitting under the old names.
        """
        self._finish_predictions()
        rewritten: set[int] = set()
        for _ in range(PASSES):
            todo = self.left()
            if not todo:
                return len(rewritten)
            tell(f"{len(todo)} tasks name codes that have another name now")
            for start in range(0, len(todo), TASKS_AT_ONCE):
                part = todo[start : start + TASKS_AT_ONCE]
                self._replace_predictions(part)
                for task in part:
                    self._rewrite(task)
                rewritten |= {int(task["id"]) for task in part}
                tell(f"{min(start + TASKS_AT_ONCE, len(todo))} of {len(todo)} tasks are rewritten")
        raise LabelStudioError(
            f"project {self.project_id}: coders go on submitting under the old names; have them reload their pages, "
            "and run the same `winnow init` again"
        )

    def left(self) -> list[JsonObject]:
        """The tasks, as exported, that still name an old label."""
        return [task for task in self.client.export(self.project_id) if self._named(task)]

    def _named(self, task: JsonObject) -> bool:
        """Whether anything in the task still names an old label."""
        return bool(self._annotations(task)) or bool(self._drafts(task)) or self._predictions_named(task) or (
            self._data_named(task) and self._record(task) is not None
        )  # fmt: skip

    def _annotations(self, task: JsonObject) -> list[JsonObject]:
        """The annotations to write, oldest first: none, or all of the task, so that the last stays the last."""
        annotations = [one for one in task.get("annotations") or [] if isinstance(one, dict)]
        if not any(self._after(one) != (one.get("result") or []) for one in annotations):
            return []
        return sorted(annotations, key=lambda one: (str(one.get("updated_at")), int(one["id"])))

    def _after(self, annotation: JsonObject) -> list[JsonObject]:
        result = annotation.get("result") or []
        snapshot = (annotation.get("prediction") or {}).get("result") or []
        if self._renamed(snapshot) != snapshot:
            # The snapshot cannot be written: from now on the annotation itself says what was shown.
            result = with_shown(result, snapshot)
        return self._renamed(result)

    def _drafts(self, task: JsonObject) -> list[JsonObject]:
        drafts = [one for one in task.get("drafts") or [] if isinstance(one, dict)]
        return [one for one in drafts if self._renamed(one["result"] or []) != (one["result"] or [])]

    def _predictions_named(self, task: JsonObject) -> bool:
        made = [one.get("result") or [] for one in task.get("predictions") or []]
        return any(self._renamed(result) != result for result in made)

    def _data_named(self, task: JsonObject) -> bool:
        if CONTROLS[self.form].candidates is None:
            return False
        old = {*self.names, *(name.partition(":")[0] for name in self.names)}
        old -= {*self.codebook.label_keys, *(code.key for code in self.codebook.codes)}
        return any(text in old for text in _aliases(task["data"].get(CANDIDATES_KEY)))

    def _record(self, task: JsonObject) -> JsonObject | None:
        """The task's data with its candidates under the new names, None where no record says what they were."""
        results = [one.get("result") or [] for one in reversed(task.get("predictions") or [])]
        results += [one.get("result") or [] for one in task.get("annotations") or []]
        for result in results:
            shown = shown_in(self._renamed(result))
            if shown is not None:
                known = tuple(one for one in shown.candidates if one.label in self.codebook.label_keys)
                shown = replace(shown, candidates=known)
                data = wire.candidate_data(self.codebook, shown, self.form, show_sources=self.show_sources)
                return {**task["data"], **data}
        return None

    def _renamed(self, result: list[JsonObject]) -> list[JsonObject]:
        if self.before is not None and self.after is not None:
            return renamed_in_team(result, self.names, self.before, self.after)
        return renamed_result(result, self.names)

    def _rewrite(self, task: JsonObject) -> None:
        if self._data_named(task) and (data := self._record(task)) is not None:
            self.client.set_task_data(int(task["id"]), data)
        for draft in self._drafts(task):
            self._keep("draft", task, draft)
            self.client.set_draft(int(draft["id"]), self._renamed(draft["result"]))
        for annotation in self._annotations(task):
            self._keep("annotation", task, annotation)
            self.client.set_annotation(int(annotation["id"]), self._after(annotation))

    def _keep(self, what: str, task: JsonObject, one: JsonObject) -> None:
        """Note a result as it was."""
        row = {"at": datetime.now(UTC).isoformat(), what: one["id"], "task": task["id"], "names": dict(self.names),
               "updated_at": str(one.get("updated_at")), "result": one.get("result")}  # fmt: skip
        try:
            with (self.folder / KEPT).open("a", encoding="utf-8") as file:
                file.write(json.dumps(row, ensure_ascii=False) + "\n")
        except OSError as error:
            raise EnvironmentFault(
                f"{self.folder / KEPT}: cannot be written ({error.strerror}); check the folder's rights and free space"
            ) from None

    def _replace_predictions(self, tasks: Sequence[JsonObject]) -> None:
        """Replace all predictions of the tasks that have one to rename: in bulk, since single ones are slow."""
        made = [
            {"task": task["id"], "result": self._renamed(one.get("result") or []),
             "score": one.get("score"), "model_version": one.get("model_version")}
            for task in tasks if self._predictions_named(task)
            for one in sorted(task["predictions"], key=lambda one: int(one["id"]))
        ]  # fmt: skip
        if made:
            write_atomically(self.folder / PENDING, json.dumps(made, ensure_ascii=False), mode=0o600)
            self._finish_predictions()

    def _finish_predictions(self) -> None:
        """Delete and import what is pending, as often as it takes: a stop between the two loses nothing."""
        path = self.folder / PENDING
        if path.exists():
            made = json.loads(path.read_text(encoding="utf-8"))
            self.client.delete_predictions(self.project_id, sorted({int(one["task"]) for one in made}))
            self.client.import_predictions(self.project_id, made)
            path.unlink()


def begin(folder: Path, names: Mapping[str, str]) -> None:
    """Note that a migration has begun."""
    write_atomically(folder / BEGUN, json.dumps(dict(names), ensure_ascii=False))


def begun(folder: Path) -> bool:
    """Whether a migration was begun and has not ended."""
    return (folder / BEGUN).exists()


def end(folder: Path) -> None:
    """Note that it has ended."""
    (folder / BEGUN).unlink(missing_ok=True)


def _aliases(value: Any) -> Iterator[str]:
    """Every alias in the candidates of a task's data, however deep."""
    if isinstance(value, dict):
        if isinstance(alias := value.get("alias"), str):
            yield alias
        for inner in value.values():
            yield from _aliases(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _aliases(inner)
