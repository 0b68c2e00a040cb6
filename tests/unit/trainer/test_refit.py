"""When sources that learn are given newer examples; Label Studio is a list of tasks in memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr
from redis import Redis

from label_configs import wire
from label_configs.codebook import Codebook, load_codebook
from label_configs.drawing import is_holdout
from label_configs.errors import LabelStudioError
from label_configs.forms import ReviewForm
from label_configs.records import Candidate, CandidateSet, Proposer
from ml_backend import queue
from ml_backend.experiment import Experiment, Project, Review
from ml_backend.labelstudio import LabelStudioClient
from ml_backend.labelstudio_fake import FakeLabelStudio
from ml_backend.proposing import Plan
from ml_backend.registered_projects import register
from ml_backend.settings import Settings
from ml_backend.snapshot import latest_snapshot, pushed_snapshot, read_examples
from ml_backend.source_config import SourceConfig, SourceKind
from ml_backend.task_reader import Pulse, TaskStamp
from ml_backend.training_config import Training
from ml_backend.versions import active_sources
from ml_backend.weights_file import weights_in_force
from trainer.mirror import Mirror
from trainer.mirror_file import MIRROR_FILE
from trainer.mirror_refresh import MARGIN
from trainer.refit import Refitting

CODEBOOK = load_codebook("reuters8")
PROBE = SourceConfig("probe", SourceKind.PROBE, "no-model")
PROJECT = 7
SHARE = 0.3
TASKS = 120
TRAINING = [n for n in range(TASKS) if not is_holdout(f"d{n}", SHARE)]
HOLDOUT = [n for n in range(TASKS) if is_holdout(f"d{n}", SHARE)]


class Desk(LabelStudioClient):
    """A Label Studio with documents d0, d1, ... of which ``codes`` says how they were coded."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self.codes: dict[int, str] = {}
        self.texts = {n: f"Document number {n}." for n in range(TASKS)}
        self.candidates: tuple[Candidate, ...] = ()
        self.fake = FakeLabelStudio(PROJECT)
        self.fake.import_tasks(self._data(n) for n in self.texts)
        self._told: dict[int, str] = {}
        self.away = False

    def code(self, numbers: Sequence[int], codes: Sequence[str] = ("earn", "acq")) -> None:
        self.codes |= {n: codes[n % len(codes)] for n in numbers}

    def pulse(self, project_id: int) -> Pulse:
        """Every look begins here: what was said of the desk since then happens now."""
        for n in self._told.keys() | self.codes.keys():
            if self._told.get(n) != self.codes.get(n):
                self.fake.delete_annotations([n + 1])
                if n in self.codes:
                    self.fake.annotate(n + 1, self._result(n))
        for n, task in enumerate(self.fake.export(PROJECT)):
            if task["data"] != self._data(n):
                self.fake.set_task_data(n + 1, self._data(n))
        self._told = dict(self.codes)
        self.fake.requests = 0
        return self.fake.pulse(project_id)

    def task_stamps(self, project_id: int, since: str | None = None) -> Iterator[TaskStamp]:
        return self.fake.task_stamps(project_id, since)

    def whole_tasks(self, project_id: int, task_ids: Sequence[int]) -> Iterator[wire.JsonObject]:
        return self.fake.whole_tasks(project_id, task_ids)

    def export(
        self, project_id: int, task_ids: Sequence[int] | None = None, *, annotated_only: bool = False
    ) -> list[wire.JsonObject]:
        assert not annotated_only
        return self.fake.export(project_id, task_ids)

    def export_each(self, project_id: int, task_ids: Sequence[int]) -> Iterator[wire.JsonObject]:
        return self.fake.export_each(project_id, task_ids)

    def export_after(self, project_id: int, after: int) -> Iterator[wire.JsonObject]:
        return self.fake.export_after(project_id, after)

    def tasks(self, project_id: int, task_ids: Sequence[int] | None = None) -> Iterator[wire.JsonObject]:
        assert (project_id, task_ids) == (PROJECT, None)
        if self.away:
            raise LabelStudioError("away")
        for n in self.texts:
            yield {"id": n + 1, "data": self._data(n), "is_labeled": n in self.codes, "predictions": []}

    def model_version(self, project_id: int) -> str:
        assert project_id == PROJECT
        return "winnow-review-of-before"

    def _data(self, n: int) -> wire.JsonObject:
        return {"text": self.texts[n], "document_id": f"d{n}"}

    def _result(self, n: int) -> list[wire.JsonObject]:
        shown = CandidateSet(f"d{n}", "v", self.candidates)
        labels = [candidate.label for candidate in self.candidates]
        rejected = [label for label in labels if label != self.codes[n]]
        missed = [code for code in [self.codes[n]] if code not in labels]
        return wire.coder_result(CODEBOOK, shown, ReviewForm.WHOLE, rejected=rejected, missed=missed)


@pytest.fixture
def redis(redis_db: str) -> Iterator[Redis]:
    with Redis.from_url(redis_db) as connection:
        yield connection


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(Settings(home=tmp_path, label_studio_url="http://127.0.0.1:9", label_studio_token=SecretStr("none")))


def project_of(home: Path, *sources: SourceConfig, share: float = SHARE, codebook: Codebook = CODEBOOK) -> Project:
    training = Training("no-model", holdout_share=share)
    experiment = Experiment("reuters8", sources, review=Review(ReviewForm.WHOLE), training=training)
    return register(home, PROJECT, experiment, codebook)


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return project_of(tmp_path, SourceConfig("words", SourceKind.FAKE), PROBE)


@pytest.fixture
def refitting(redis: Redis, desk: Desk) -> Refitting:
    return Refitting(redis, desk, chunk=16)


def names(project: Project) -> list[str]:
    return [name for name, _ in Plan.of(project).names]


def pushes(redis: Redis) -> list[list[Any]]:
    """Scope and tasks of each job that is queued; they are taken out of the queue."""
    line = queue.queue(redis, queue.PROPOSE)
    found = [[job.args[2], job.args[1]] for job in line.jobs]
    line.empty()
    return found


def test_the_probe_joins_once_there_are_enough_examples(
    refitting: Refitting, desk: Desk, project: Project, redis: Redis
) -> None:
    desk.code([*TRAINING[:19], *HOLDOUT[:3]])
    before = Plan.of(project).version
    assert not refitting.look(project)
    assert names(project) == ["words"]
    assert pushes(redis) == []
    desk.code(TRAINING[19:20])
    assert refitting.look(project)
    assert names(project) == ["words", "probe"]
    assert Plan.of(project).version != before
    snapshot = pushed_snapshot(project.folder)
    assert snapshot is not None
    assert {e.document_id for e in read_examples(snapshot)} == {f"d{n}" for n in TRAINING[:20]}
    made = pushes(redis)
    reviewed = [task for scope, tasks in made if scope == "review" for task in tasks]
    assert reviewed == [n + 1 for n in range(TASKS) if n not in desk.codes]
    judged = [task for scope, tasks in made if scope == "sources" for task in tasks]
    assert judged == [n + 1 for n in sorted(HOLDOUT[:3], key=lambda n: f"d{n}")]


def test_every_look_gives_what_is_not_label_studios_the_newest(
    refitting: Refitting, desk: Desk, project: Project, redis: Redis
) -> None:
    desk.code(TRAINING[:20])
    assert refitting.look(project)
    pushes(redis)
    shown, newest = Plan.of(project).version, active_sources(project, None)[1]
    for n in TRAINING[20:23]:  # less than a fifth of 20
        desk.code([n])
        assert not refitting.look(project)
        assert pushes(redis) == []
        assert Plan.of(project).version == shown, "Label Studio shows one version to all"
        now = active_sources(project, None)[1]
        assert now.version != newest.version
        assert now.snapshot == latest_snapshot(project.folder) != newest.snapshot
        newest = now
    desk.code(TRAINING[23:24])
    assert refitting.look(project)
    assert pushes(redis)
    assert Plan.of(project).version != shown
    assert pushed_snapshot(project.folder) == latest_snapshot(project.folder)


def test_from_twenty_to_eighty_documents_there_are_few_pushes(
    refitting: Refitting, desk: Desk, project: Project, redis: Redis
) -> None:
    pushed = []
    for number in range(1, 81):
        desk.code(TRAINING[:number])
        if refitting.look(project):
            pushed.append(number)
            pushes(redis)
    assert pushed == [20, 24, 29, 35, 42, 51, 62, 75]


def test_a_quiet_project_costs_one_question(refitting: Refitting, desk: Desk, project: Project) -> None:
    desk.code(TRAINING[:5])
    for _ in range(3):
        assert not refitting.look(project)
    assert desk.fake.requests == 3, "what was written within the last seconds is read again"
    later = datetime.now(UTC) + 2 * MARGIN
    with Mirror(project.folder) as mirror:
        mirror.refresh(desk, PROJECT, now=later)
        desk.fake.requests = 0
        mirror.refresh(desk, PROJECT, now=later)
    assert desk.fake.requests == 1
    pointer = project.folder / "snapshots" / "latest.json"
    before = pointer.read_text()
    desk.codes[TRAINING[0]] = "crude"  # their number is the same
    assert not refitting.look(project)
    assert pointer.read_text() != before
    latest = project.folder / "snapshots" / "latest.json"
    latest.unlink()
    refitting.look(project)
    assert latest.exists()


def test_labels_that_changed_count_like_new_documents(
    refitting: Refitting, desk: Desk, project: Project, redis: Redis
) -> None:
    desk.code(TRAINING[:20])
    assert refitting.look(project)
    pushes(redis)
    for n, expected in zip(TRAINING[:4], (False, False, False, True), strict=True):
        desk.codes[n] = "crude"
        assert refitting.look(project) is expected


def test_the_holdout_changes_nothing(refitting: Refitting, desk: Desk, project: Project, redis: Redis) -> None:
    desk.code(TRAINING[:20])
    assert refitting.look(project)
    pushes(redis)
    version, snapshot = Plan.of(project).version, latest_snapshot(project.folder)
    for codes in (["earn"], ["crude"]):
        desk.code(HOLDOUT, codes)
        assert not refitting.look(project)
        assert latest_snapshot(project.folder) == pushed_snapshot(project.folder) == snapshot
        assert Plan.of(project).version == version


def test_what_is_held_out_now_is_unlearned_at_once(
    refitting: Refitting, desk: Desk, project: Project, redis: Redis, tmp_path: Path
) -> None:
    desk.code(TRAINING)
    assert refitting.look(project)
    pushes(redis)
    assert not refitting.look(project_of(tmp_path, PROBE, share=SHARE - 0.05)), "more to learn from, but not much"
    larger = project_of(tmp_path, PROBE, share=SHARE + 0.05)
    assert refitting.look(larger)
    snapshot = pushed_snapshot(project.folder)
    assert snapshot is not None
    assert not any(is_holdout(e.document_id, SHARE + 0.05) for e in read_examples(snapshot))


def test_a_text_that_is_in_the_holdout_too_is_unlearned_at_once(
    refitting: Refitting, desk: Desk, project: Project, redis: Redis
) -> None:
    desk.texts[HOLDOUT[0]] = desk.texts[TRAINING[0]].upper()
    desk.code(TRAINING[:40])
    assert refitting.look(project)
    pushes(redis)
    desk.code(HOLDOUT[:1])
    assert refitting.look(project)
    snapshot = pushed_snapshot(project.folder)
    assert snapshot is not None
    assert {e.document_id for e in read_examples(snapshot)} == {f"d{n}" for n in TRAINING[1:40]}


def test_newer_examples_wait_while_predictions_are_pushed(
    refitting: Refitting, desk: Desk, project: Project, redis: Redis
) -> None:
    desk.code(TRAINING[:20])
    assert refitting.look(project)
    version = Plan.of(project).version
    desk.code(TRAINING)
    assert not refitting.look(project)
    assert Plan.of(project).version == version, "or the jobs in the queue would push another than what is counted"
    pushes(redis)
    assert refitting.look(project), "though nothing has come since"
    assert Plan.of(project).version != version


def test_a_push_that_failed_is_made_at_the_next_look(
    refitting: Refitting, desk: Desk, project: Project, redis: Redis
) -> None:
    desk.code(TRAINING[:20])
    desk.away = True
    with pytest.raises(LabelStudioError):
        refitting.look(project)
    assert names(project) == ["words"]
    desk.away = False
    assert refitting.look(project)
    assert names(project) == ["words", "probe"]
    assert pushes(redis)


def test_after_most_annotations_were_deleted_the_probe_leaves(
    refitting: Refitting, desk: Desk, project: Project, redis: Redis
) -> None:
    desk.code(TRAINING[:30])
    assert refitting.look(project)
    pushes(redis)
    desk.codes = {n: desk.codes[n] for n in TRAINING[:10]}
    assert refitting.look(project)
    assert names(project) == ["words"]
    pushes(redis)
    assert not refitting.look(project)


def test_projects_without_a_source_that_learns_are_not_read(
    refitting: Refitting, desk: Desk, redis: Redis, tmp_path: Path
) -> None:
    project = project_of(tmp_path, SourceConfig("words", SourceKind.FAKE))
    desk.code(TRAINING)
    assert not refitting.look(project)
    assert not (project.folder / MIRROR_FILE).exists()
    assert not (project.folder / "snapshots").exists()


def test_a_few_shot_prompt_learns_and_without_training_documents_are_held_out_too(
    refitting: Refitting, desk: Desk, redis: Redis, tmp_path: Path
) -> None:
    shots = SourceConfig("shots", SourceKind.CAUSAL, "no-model", "few_shot")
    project = project_of(tmp_path, shots)
    project = register(tmp_path, PROJECT, replace(project.experiment, training=None), CODEBOOK)
    desk.code(range(TASKS))
    assert refitting.look(project)
    assert names(project) == ["shots"]
    snapshot = pushed_snapshot(project.folder)
    assert snapshot is not None
    learned = {e.document_id for e in read_examples(snapshot)}
    assert learned == {f"d{n}" for n in range(TASKS) if not is_holdout(f"d{n}", 0.2)}


def candidate(label: str, source: str) -> Candidate:
    return Candidate(label, 0.35, (Proposer(source, f"{source}/fake@base", 0.7, 1),))


@pytest.fixture
def pair(tmp_path: Path, desk: Desk) -> Project:
    """Two sources, of which one always says earn and the other acq; neither learns by examples."""
    desk.candidates = (candidate("acq", "again"), candidate("earn", "words"))
    return project_of(tmp_path, SourceConfig("words", SourceKind.FAKE), SourceConfig("again", SourceKind.FAKE))


def test_weights_take_over_when_a_fifth_more_was_decided(
    refitting: Refitting, desk: Desk, pair: Project, redis: Redis
) -> None:
    desk.code([*TRAINING[:19], *HOLDOUT], ["earn"])
    before = Plan.of(pair).version
    assert not refitting.look(pair)
    desk.code(TRAINING[19:20], ["earn"])
    assert refitting.look(pair)
    assert [scope for scope, _ in pushes(redis)].count("review") > 0
    first = Plan.of(pair)
    assert first.version != before
    assert set(first.weights.documents) == {f"d{n}" for n in TRAINING[:20]}, "never from the holdout"
    words, again = (first.weights.source_weight(name, f"{name}/fake@base") for name in ("words", "again"))
    assert words > 0.7 > 0.35 > again
    for n in TRAINING[20:23]:
        desk.code([n], ["earn"])
        assert not refitting.look(pair)
        assert Plan.of(pair) == first, "Label Studio shows one version to all"
    desk.code(TRAINING[23:24], ["earn"])
    assert refitting.look(pair)
    assert Plan.of(pair).version != first.version
    assert not refitting.look(pair)


def test_weights_learned_from_what_is_held_out_now_go_at_once(
    refitting: Refitting, desk: Desk, pair: Project, redis: Redis, tmp_path: Path
) -> None:
    desk.code(TRAINING, ["earn"])
    assert refitting.look(pair)
    pushes(redis)
    larger = project_of(tmp_path, *pair.experiment.sources, share=SHARE + 0.05)
    assert refitting.look(larger)
    learned = weights_in_force(pair.folder).weights.documents
    assert learned
    assert not any(is_holdout(one, SHARE + 0.05) for one in learned)


def test_weights_wait_or_stay_like_examples_do(refitting: Refitting, desk: Desk, pair: Project, redis: Redis) -> None:
    desk.code(TRAINING[:20], ["earn"])
    desk.away = True
    with pytest.raises(LabelStudioError):
        refitting.look(pair)
    assert weights_in_force(pair.folder).digest == ""
    desk.away = False
    assert refitting.look(pair)
    first = weights_in_force(pair.folder).digest
    desk.code(TRAINING, ["earn"])
    assert not refitting.look(pair), "predictions are still being pushed"
    assert weights_in_force(pair.folder).digest == first
    pushes(redis)
    assert refitting.look(pair)
    pushes(redis)
    desk.codes = dict.fromkeys(TRAINING[:10], "earn")
    assert refitting.look(pair), "too few are left: equal again"
    assert weights_in_force(pair.folder).digest == ""


def test_a_single_source_has_no_weights(refitting: Refitting, desk: Desk, redis: Redis, tmp_path: Path) -> None:
    desk.candidates = (candidate("earn", "words"),)
    project = project_of(tmp_path, SourceConfig("words", SourceKind.FAKE))
    desk.code(TRAINING, ["earn"])
    assert not refitting.look(project)
    assert not (project.folder / MIRROR_FILE).exists()
