"""One story of a project told to the real Label Studio and to the fake: both must be read the same, and exactly."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Protocol

import pytest
from pydantic import SecretStr

from label_configs import wire
from label_configs.codebook import load_codebook
from label_configs.forms import ReviewForm
from label_configs.records import Candidate, CandidateSet, Proposal, Proposer, ScoredLabel
from label_configs.render import render_label_config
from label_configs.wire import JsonObject
from ml_backend.labelstudio import LabelStudioClient
from ml_backend.labelstudio_fake import FakeLabelStudio
from ml_backend.settings import Settings
from ml_backend.task_reader import TaskReader
from trainer.demo.label_studio import LabelStudioServer
from trainer.mirror import Mirror

pytestmark = [pytest.mark.label_studio, pytest.mark.timeout(200)]

CODEBOOK = load_codebook("reuters8")
FORM = ReviewForm.WHOLE
TASKS = 5


class Hands(Protocol):
    """What the story needs done; ``FakeLabelStudio`` has these methods."""

    def annotate(
        self, task_id: int, result: list[JsonObject], coder: int = 1, *, skipped: bool = False, seconds: float = 1.0
    ) -> int: ...
    def annotate_by_predictions(self, task_ids: Iterable[int], version: str) -> None: ...
    def set_annotation(self, annotation_id: int, result: list[JsonObject]) -> None: ...
    def set_ground_truth(self, annotation_id: int) -> None: ...
    def delete_annotation(self, annotation_id: int) -> None: ...
    def delete_annotations(self, task_ids: Iterable[int]) -> None: ...
    def save_draft(self, task_id: int) -> None: ...
    def set_task_data(self, task_id: int, data: JsonObject) -> None: ...
    def import_tasks(self, data: Iterable[JsonObject], annotations: Sequence[JsonObject] = ()) -> list[int]: ...
    def import_predictions(self, predictions: Iterable[JsonObject]) -> None: ...
    def delete_predictions(self, task_ids: Iterable[int]) -> None: ...
    def delete_tasks(self, task_ids: Iterable[int]) -> None: ...


class RealHands:
    """The same done to a project of the real server, by two coders."""

    def __init__(self, client: LabelStudioClient, other: LabelStudioClient, project: int) -> None:
        self._coders = {1: client, 2: other}
        self._client, self._project = client, project

    def _act(self, action: str, task_ids: Iterable[int], **more: Any) -> None:
        body = {"selectedItems": {"all": False, "included": list(task_ids)}, **more}
        self._client._sdk.actions.create(
            id=action, project=self._project, request_options={"additional_body_parameters": body}
        )

    def _delete(self, path: str) -> None:
        answer = self._client._sdk._client_wrapper.httpx_client.request(path, method="DELETE")
        assert answer.status_code == 204

    def annotate(
        self, task_id: int, result: list[JsonObject], coder: int = 1, *, skipped: bool = False, seconds: float = 1.0
    ) -> int:
        body = {"result": result, "was_cancelled": skipped, "lead_time": seconds}
        return int(self._coders[coder]._request("POST", f"api/tasks/{task_id}/annotations/", body)["id"])

    def annotate_by_predictions(self, task_ids: Iterable[int], version: str) -> None:
        self._act("predictions_to_annotations", task_ids, model_version=version)

    def set_annotation(self, annotation_id: int, result: list[JsonObject]) -> None:
        self._client.set_annotation(annotation_id, result)

    def set_ground_truth(self, annotation_id: int) -> None:
        self._client.set_ground_truth(annotation_id)

    def delete_annotation(self, annotation_id: int) -> None:
        self._delete(f"api/annotations/{annotation_id}/")

    def delete_annotations(self, task_ids: Iterable[int]) -> None:
        self._act("delete_tasks_annotations", task_ids)

    def save_draft(self, task_id: int) -> None:
        self._client._request("POST", f"api/tasks/{task_id}/drafts", {"result": []})

    def set_task_data(self, task_id: int, data: JsonObject) -> None:
        self._client.set_task_data(task_id, data)

    def import_tasks(self, data: Iterable[JsonObject], annotations: Sequence[JsonObject] = ()) -> list[int]:
        body = [{"data": one, "annotations": list(annotations)} for one in data]
        path = f"api/projects/{self._project}/import?return_task_ids=true"
        return [int(one) for one in self._client._post_once(path, body)["task_ids"]]

    def import_predictions(self, predictions: Iterable[JsonObject]) -> None:
        self._client.import_predictions(self._project, list(predictions))

    def delete_predictions(self, task_ids: Iterable[int]) -> None:
        self._client.delete_predictions(self._project, list(task_ids))

    def delete_tasks(self, task_ids: Iterable[int]) -> None:
        self._act("delete_tasks", task_ids)


@dataclass
class World:
    """A project of one of the two, its mirror, and its tasks and annotations by their names in the story."""

    reader: TaskReader
    hands: Hands
    project: int
    folder: Path
    choose: Callable[[str], None]
    tasks: dict[str, int]
    annotations: dict[str, int]
    now: datetime = datetime(2030, 1, 1, tzinfo=UTC)
    before: dict[int, str] | None = None

    def told(self) -> dict[str, Any]:
        """What reading says now, in names instead of ids and times; the mirror is held against a whole export."""
        self.now += timedelta(seconds=60)
        exported = [wire.kept_task(task) for task in self.reader.export(self.project)]
        with Mirror(self.folder) as mirror:
            mirror.refresh(self.reader, self.project, whole=True, now=self.now)
            with mirror.tasks() as tasks:
                mirrored = list(tasks)
            drafts = {task["id"] for task in mirrored if task.pop("draft_exists")}
            # A list leaves out the snapshot where nobody asks for it, see ``wire.kept_task``.
            assert mirrored == exported
            with mirror.tasks(annotated_only=True, predictions=False) as tasks:
                told = [one for task in tasks for one in wire.decisions(task, CODEBOOK, FORM)]
        assert told == [one for task in exported for one in wire.decisions(task, CODEBOOK, FORM)]
        stamps = {stamp.id: stamp for stamp in self.reader.task_stamps(self.project)}
        now = {name: stamp.updated_at for name, stamp in stamps.items()}
        moved = {one for one in now if self.before is not None and self.before.get(one) != now[one]}
        self.before = now
        pulse = self.reader.pulse(self.project)
        assert pulse.newest == max(now.values(), key=datetime.fromisoformat)
        assert pulse.tasks == len(now)
        names = {number: name for name, number in self.tasks.items()}
        return {
            "moved": {names[one] for one in moved},
            "annotations": pulse.annotations,
            "by task": {names[one]: stamp.annotations for one, stamp in stamps.items()},
            "drafts": {names[one] for one in drafts},
            "versions": {name: one.count for name, one in self.reader.prediction_versions(self.project).items()},
            "with words": {names[one] for one in self.reader.tasks_with_version(self.project, "words")},
            "decisions": [
                (names[one.task_id], one.labels, one.skipped, one.ground_truth, one.seconds, one.untouched,
                 one.shown.version if one.shown else None, one.unresolved)
                for one in told
            ],
            "coders": len({one.coder for one in told}),
        }  # fmt: skip


RECORD = CandidateSet("d", "review-1", (Candidate("earn", 0.9, (Proposer("words", "words/1", 0.9, 1),)),))


def ticks(label: str, *, shown: bool = True) -> list[JsonObject]:
    """An annotation's result, with or without the record of what was shown."""
    result = wire.coder_result(CODEBOOK, RECORD, FORM, rejected=["earn"] if label != "earn" else (),
                               missed=[label] if label != "earn" else ())  # fmt: skip
    return result if shown else [one for one in result if one["type"] == "choices"]


def prediction(task: int, version: str, *, review: bool = False) -> JsonObject:
    if review:
        made = wire.review_prediction(CODEBOOK, replace(RECORD, version=version), FORM)
    else:
        made = wire.source_prediction(CODEBOOK, Proposal("d", "words", version, (ScoredLabel("acq", 1.0),)), FORM)
    return {"task": task, **made}


def create(world: World) -> None:
    made = world.hands.annotate(world.tasks["t0"], ticks("earn"), seconds=7.5)
    world.annotations["first"] = made


def create_without_record(world: World) -> None:
    """Coders of a team's own form: what was shown is in the snapshot alone."""
    tasks = [world.tasks[name] for name in ("t1", "t2")]
    world.hands.import_predictions([prediction(one, "review-9", review=True) for one in tasks])
    world.choose("review-9")
    world.annotations["bare"] = world.hands.annotate(tasks[0], ticks("acq", shown=False))


def second_coder(world: World) -> None:
    world.annotations["second"] = world.hands.annotate(world.tasks["t0"], ticks("acq"), 2)


def in_bulk(world: World) -> None:
    tasks = [world.tasks[name] for name in ("t3", "t4")]
    world.hands.import_predictions([prediction(one, "words/1") for one in tasks])
    world.hands.annotate_by_predictions(tasks, "words/1")


def replaced_predictions(world: World) -> None:
    """The same version again, and one more."""
    world.hands.delete_predictions([world.tasks["t3"]])
    tasks = [world.tasks[name] for name in ("t3", "t4", "t2")]
    world.hands.import_predictions([prediction(one, "words/1") for one in tasks])


def gone(world: World) -> None:
    world.hands.delete_tasks([world.tasks.pop("t2")])


def gone_and_come(world: World) -> None:
    """Their number is the same."""
    world.hands.delete_tasks([world.tasks.pop("t4")])
    (world.tasks["t5"],) = world.hands.import_tasks([{"text": "five", "document_id": "d5"}])


def imported(world: World) -> None:
    annotations = [{"result": ticks("acq"), "was_cancelled": False}]
    (world.tasks["t6"],) = world.hands.import_tasks([{"text": "six", "document_id": "d6"}], annotations)


def settle(world: World) -> None:
    """Nothing happens: what was written within the last seconds is read again, once."""


STORY: list[tuple[str, Callable[[World], Any]]] = [
    ("nothing yet", settle),
    ("created", create),
    ("quiet", settle),
    ("created without a record", create_without_record),
    ("updated", lambda w: w.hands.set_annotation(w.annotations["bare"], ticks("grain", shown=False))),
    ("a second coder", second_coder),
    ("adjudicated", lambda w: w.hands.set_ground_truth(w.annotations["second"])),
    ("adjudicated otherwise", lambda w: w.hands.set_ground_truth(w.annotations["first"])),
    ("skipped", lambda w: w.hands.annotate(w.tasks["t2"], [], 2, skipped=True)),
    ("a draft", lambda w: w.hands.save_draft(w.tasks["t2"])),
    ("created in bulk", in_bulk),
    ("predictions replaced", replaced_predictions),
    ("data written", lambda w: w.hands.set_task_data(w.tasks["t0"], {"text": "other", "document_id": "d0"})),
    ("deleted", lambda w: w.hands.delete_annotation(w.annotations["second"])),
    ("deleted in bulk", lambda w: w.hands.delete_annotations([w.tasks[name] for name in ("t2", "t3")])),
    ("coded again", lambda w: w.hands.annotate(w.tasks["t3"], ticks("earn"))),
    ("a task deleted", gone),
    ("one deleted, one imported", gone_and_come),
    ("imported with an annotation", imported),
    ("predictions deleted", lambda w: w.hands.delete_predictions([w.tasks[name] for name in ("t1", "t3")])),
    ("quiet at last", settle),
]


@pytest.fixture
def real(client: LabelStudioClient, label_studio: LabelStudioServer, settings: Settings, tmp_path: Path) -> World:
    token = SecretStr(label_studio.create_user("second-reader@example.com", "a-second-reader"))
    other = LabelStudioClient(settings.model_copy(update={"label_studio_token": token}))
    project = client.create_project("a story", render_label_config(CODEBOOK, FORM))
    hands = RealHands(client, other, project)
    return world_of(client, hands, project, tmp_path / "real", lambda v: client.set_model_version(project, v))


@pytest.fixture
def fake(tmp_path: Path) -> World:
    made = FakeLabelStudio(7)
    return world_of(made, made, 7, tmp_path / "fake", lambda v: setattr(made, "model_version", v))


def world_of(reader: TaskReader, hands: Hands, project: int, folder: Path, choose: Callable[[str], None]) -> World:
    ids = hands.import_tasks([{"text": f"text {n}", "document_id": f"d{n}"} for n in range(TASKS)])
    return World(reader, hands, project, folder, choose, {f"t{n}": one for n, one in enumerate(ids)}, {})


def test_both_are_read_the_same_and_exactly(real: World, fake: World) -> None:
    for name, event in STORY:
        event(real)
        event(fake)
        by_real = real.told()
        assert by_real == fake.told(), name
    assert by_real["annotations"] == 4
    views = real.reader._sdk.views.list(project=real.project)  # type: ignore[attr-defined]
    assert not views, "no tab is left behind"
