"""Random histories of a project: whatever happens and whatever the webhook tells of it, counts and rounds are exact.

600 short histories by default. For more, or longer ones, set HISTORIES=50000 or EVENTS=200 in the environment.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from redis import Redis

from label_configs.codebook import load_codebook
from label_configs.forms import ReviewForm
from label_configs.records import VerifiedExample
from label_configs.wire import JsonObject
from ml_backend.events import Change, parse_event
from ml_backend.experiment import Experiment, Project, Review
from ml_backend.labelstudio_fake import FakeLabelStudio
from ml_backend.round_queue import round_queued, take_back
from ml_backend.source_config import SourceConfig, SourceKind
from ml_backend.training_config import Training
from trainer.due_rounds import DueRounds
from trainer.mirror_file import MirrorFile
from trainer.rounds import (
    Counts,
    RoundRecord,
    RoundState,
    due,
    list_rounds,
    load_seen,
    rounds_folder,
    save_round,
    save_seen,
)
from trainer.tally import Tally
from trainer.verified import Look, read_project

HISTORIES = int(os.environ.get("HISTORIES", "600"))
EVENTS = int(os.environ.get("EVENTS", "16"))
CODEBOOK = load_codebook("reuters8")
CODES = ("earn", "acq", "crude")
PROJECT = 7
THRESHOLDS, EVERY = (2, 5, 9), 4
SKEW = timedelta(minutes=-47)  # of this machine's clock against Label Studio's


@dataclass
class Truth:
    """What a project holds, in a few words of its own."""

    documents: dict[int, str] = field(default_factory=dict)  # by task
    annotations: dict[int, tuple[int, int, str, bool]] = field(default_factory=dict)  # task, coder, code, skipped
    ground: dict[int, int] = field(default_factory=dict)  # task -> the annotation that is ground truth
    written: dict[int, datetime] = field(default_factory=dict)  # annotation -> when

    def verified(self) -> dict[str, str]:
        """Documents on which a code has more coders than any other, each coder's last word counting, with that code."""
        found = {}
        for task, document in self.documents.items():
            votes: dict[int, str] = {}
            for one in sorted(self.annotations, key=lambda one: (self.written[one], one)):
                own, coder, code, skipped = self.annotations[one]
                if own == task and not skipped and self.ground.get(task, one) == one:
                    votes[coder] = code
            best = Counter(votes.values()).most_common(2)
            if best and (len(best) == 1 or best[0][1] > best[1][1]):
                found[document] = best[0][0]
        return found

    def drop(self, annotation: int) -> None:
        """An annotation is gone; its id may come again."""
        self.ground = {task: one for task, one in self.ground.items() if one != annotation}
        del self.annotations[annotation]


class Story:
    """A project with its fake Label Studio, its mirror and its train worker, and the truth beside them."""

    def __init__(self, home: Path, redis: Redis) -> None:
        self.time = datetime(2030, 1, 1, tzinfo=UTC)
        self.behind = timedelta()
        self.fake = FakeLabelStudio(PROJECT, lambda: self.stamp)
        self.truth = Truth()
        training = Training("no-model", thresholds=THRESHOLDS, every=EVERY)
        sources = (SourceConfig("words", SourceKind.FAKE),)
        experiment = Experiment("reuters8", sources, review=Review(ReviewForm.WHOLE), training=training)
        self.project = Project(PROJECT, experiment, CODEBOOK, home / "projects" / str(PROJECT))
        self.redis = redis
        self.due_rounds = DueRounds(redis, self.fake)
        self.hints: list[JsonObject] = []
        self.ran: list[tuple[str, ...]] = []

    @property
    def stamp(self) -> datetime:
        """The time that Label Studio writes down; its servers' clocks differ, so that it may be earlier than before."""
        return self.time - self.behind

    @property
    def rounds(self) -> Path:
        return rounds_folder(self.project.home, PROJECT)

    def hint(self, action: str, fate: int) -> None:
        """Of a hundred hints five are lost and ten come twice."""
        copies = 0 if fate < 5 else 2 if fate < 15 else 1
        self.hints += [{"action": action, "project": {"id": PROJECT}}] * copies

    def deliver(self, number: int) -> None:
        """The newest hints come first."""
        for _ in range(min(number, len(self.hints))):
            assert parse_event(self.hints.pop()).change in (Change.ANNOTATIONS, Change.TASKS)
            self.look()

    def look(self) -> bool:
        return self.due_rounds.look(self.project, now=self.time + SKEW)

    def work(self) -> None:
        """What a train worker does with a round at its beginning; the end is another test's."""
        assert take_back(self.redis, PROJECT)
        examples = read_project(self.fake, self.project, now=self.time + SKEW).examples
        assert coded(examples) == self.truth.verified(), "a round is made of what is verified when it starts"
        documents = [example.document_id for example in examples]
        identifier = hashlib.sha256(repr(sorted(documents)).encode()).hexdigest()[:16]
        save_seen(self.rounds, identifier, documents)
        if identifier not in {one.id for one in list_rounds(self.rounds)}:
            state = RoundState.FAILED if len(self.ran) % 3 == 1 else RoundState.KEPT
            started = self.time + timedelta(microseconds=len(self.ran))
            record = RoundRecord(identifier, PROJECT, state, len(documents), 1, 1, started_at=started)
            save_round(self.rounds, record)
            self.ran.append(tuple(sorted(documents)))

    def reconcile(self) -> None:
        """The count is exact, the round that is due has run, and no other."""
        before = load_seen(self.rounds)
        expected = due(self.truth.verified(), before, thresholds=THRESHOLDS, every=EVERY)
        waiting = round_queued(self.redis, PROJECT)
        assert waiting or self.look() == (expected is not None)
        if waiting or expected is not None:
            self.work()
            assert load_seen(self.rounds) == set(self.truth.verified())
        assert not self.look(), "nothing is left to do"
        assert coded(Look(self.fake, self.project, self.time + SKEW).reading.examples) == self.truth.verified()
        with MirrorFile(self.project.folder) as file:
            tally = Tally(file, self.project)
            counts = tally.counts(self.rounds)
            assert counts == Counts.of(self.truth.verified(), load_seen(self.rounds))
            assert tally.verified() == self.truth.verified().keys()
        assert len(set(self.ran)) == len(self.ran), "no data are trained on twice"


def coded(examples: Iterable[VerifiedExample]) -> dict[str, str]:
    return {one.document_id: one.labels[0] for one in examples}


def result(code: str) -> list[JsonObject]:
    return [{"from_name": "codes", "to_name": "text", "type": "choices", "value": {"choices": [code]}}]


def pick(story: Story, where: int) -> int | None:
    tasks = sorted(story.truth.documents)
    return tasks[where % len(tasks)] if tasks else None


def pick_annotation(story: Story, where: int) -> int | None:
    made = sorted(story.truth.annotations)
    return made[where % len(made)] if made else None


def create(story: Story, where: int, coder: int, code: str) -> str:
    if (task := pick(story, where)) is not None:
        made = story.fake.annotate(task, result(code), coder)
        story.truth.annotations[made] = (task, coder, code, False)
        story.truth.written[made] = story.stamp
    return "ANNOTATION_CREATED"


def skip(story: Story, where: int, coder: int, code: str) -> str:
    if (task := pick(story, where)) is not None:
        made = story.fake.annotate(task, [], coder, skipped=True)
        story.truth.annotations[made] = (task, coder, code, True)
        story.truth.written[made] = story.stamp
    return "ANNOTATION_CREATED"


def create_in_bulk(story: Story, where: int, coder: int, code: str) -> str:
    tasks = sorted(story.truth.documents)[where % 5 :][:4]
    story.fake.import_predictions(
        {"task": task, "result": result(code), "score": 0.5, "model_version": f"{where}-{code}"} for task in tasks
    )
    story.fake.delete_predictions(set(story.truth.documents) - set(tasks))
    known = set(story.truth.annotations)
    story.fake.annotate_by_predictions(tasks, f"{where}-{code}", coder)
    made = {one["id"]: task["id"] for task in story.fake.export(PROJECT) for one in task["annotations"]}
    for new in sorted(made.keys() - known):
        story.truth.annotations[new] = (made[new], coder, code, False)
        story.truth.written[new] = story.stamp
    return "ANNOTATIONS_CREATED"


def update(story: Story, where: int, coder: int, code: str) -> str:
    if (made := pick_annotation(story, where)) is not None:
        task, own, _, skipped = story.truth.annotations[made]
        story.fake.set_annotation(made, result(code))
        story.truth.annotations[made] = (task, own, code, skipped)
        story.truth.written[made] = story.stamp
    return "ANNOTATION_UPDATED"


def adjudicate(story: Story, where: int, coder: int, code: str) -> str:
    if (made := pick_annotation(story, where)) is not None and not story.truth.annotations[made][3]:
        story.fake.set_ground_truth(made)
        story.truth.ground[story.truth.annotations[made][0]] = made
        story.truth.written[made] = story.stamp
    return "ANNOTATION_UPDATED"


def delete(story: Story, where: int, coder: int, code: str) -> str:
    if (made := pick_annotation(story, where)) is not None:
        story.fake.delete_annotation(made)
        story.truth.drop(made)
    return "ANNOTATIONS_DELETED"


def delete_in_bulk(story: Story, where: int, coder: int, code: str) -> str:
    tasks = sorted(story.truth.documents)[where % 7 :][:3]
    story.fake.delete_annotations(tasks)
    for made in [one for one, (task, *_) in story.truth.annotations.items() if task in tasks]:
        story.truth.drop(made)
    return "ANNOTATIONS_DELETED"


def import_task(story: Story, where: int, coder: int, code: str) -> str:
    """Every third comes with an annotation."""
    name = f"d{len(story.fake.export(PROJECT))}-{where}-{story.time.timestamp()}"
    made_with = [{"result": result(code)}] if where % 3 == 0 else []
    (task,) = story.fake.import_tasks([{"text": name, "document_id": name}], made_with, coder)
    story.truth.documents[task] = name
    if made_with:
        (made,) = story.fake.export(PROJECT, [task])[0]["annotations"]
        story.truth.annotations[made["id"]] = (task, coder, code, False)
        story.truth.ground[task] = made["id"]
        story.truth.written[made["id"]] = story.stamp
    return "TASKS_CREATED"


def delete_task(story: Story, where: int, coder: int, code: str) -> str:
    if (task := pick(story, where)) is not None:
        story.fake.delete_tasks([task])
        del story.truth.documents[task]
        story.truth.ground.pop(task, None)
        for made in [one for one, (own, *_) in story.truth.annotations.items() if own == task]:
            story.truth.drop(made)
    return "TASKS_DELETED"


def replace_annotation(story: Story, where: int, coder: int, code: str) -> str:
    """As many annotations as before; the id of the one that is gone may be given again."""
    delete(story, where, coder, code)
    return create(story, where // 2, coder, code)


def replace_task(story: Story, where: int, coder: int, code: str) -> str:
    """As many tasks as before, and where the new one comes coded perhaps as many annotations."""
    delete_task(story, where, coder, code)
    return import_task(story, where, coder, code)


def show_late(story: Story, where: int, coder: int, code: str) -> str:
    """A long import ends: its task has the time of its beginning."""
    behind, story.behind = story.behind, timedelta(minutes=5)
    import_task(story, 3 * where + 1, coder, code)
    story.behind = behind
    return "TASKS_CREATED"


def code_twice(story: Story, where: int, coder: int, code: str) -> str:
    """Looked at in between, within one moment: no count and no time tells of the second."""
    create(story, where, coder, code)
    story.look()
    made = max(story.truth.annotations, key=lambda one: story.truth.written[one], default=None)
    if made is not None:
        task, own, before, skipped = story.truth.annotations[made]
        other = CODES[CODES.index(before) - 1]
        story.fake.set_annotation(made, result(other))
        story.truth.annotations[made] = (task, own, other, skipped)
        story.truth.written[made] = story.stamp
    return "ANNOTATION_UPDATED"


def nothing(story: Story, where: int, coder: int, code: str) -> str:
    return ""


Event = Callable[[Story, int, int, str], str]
LIKELY: tuple[Event, ...] = (create,) * 6 + (create_in_bulk,) * 2 + (update, import_task) * 2
EVENTS_THERE_ARE: tuple[Event, ...] = (
    *LIKELY, skip, adjudicate, delete, delete_in_bulk, delete_task, replace_annotation, replace_task, show_late,
    code_twice, nothing,
)  # fmt: skip
# Several events within one moment of Label Studio's clock, within the margin, and after it.
BEHIND = (0, 0, 0, 3, 9)  # seconds, within the margin
PAUSES = (0, 0, 1, 1_000, 1_000_000, 9_000_000, 60_000_000, 3_600_000_000)  # microseconds
event = st.tuples(
    st.sampled_from(EVENTS_THERE_ARE), st.integers(0, 20), st.integers(1, 3), st.sampled_from(CODES),
    st.sampled_from(PAUSES), st.sampled_from(BEHIND),
    st.integers(0, 99), st.sampled_from((0, 0, 0, 0, 1, 2)), st.sampled_from((0,) * 9 + (1,)),
)  # fmt: skip


@pytest.fixture
def redis(redis_db: str) -> Iterator[Redis]:
    with Redis.from_url(redis_db) as connection:
        yield connection


@settings(
    max_examples=HISTORIES, deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
)  # fmt: skip
@given(st.lists(event, min_size=EVENTS // 3, max_size=EVENTS))
def test_counts_and_rounds_are_exact(redis: Redis, history: list[tuple]) -> None:  # type: ignore[type-arg]
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as home:
        take_back(redis, PROJECT)
        story = Story(Path(home), redis)
        for n in range(8):
            (task,) = story.fake.import_tasks([{"text": f"text {n}", "document_id": f"d{n}"}])
            story.truth.documents[task] = f"d{n}"
        for happens, where, coder, code, pause, behind, fate, delivered, reconciled in history:
            story.time += timedelta(microseconds=pause)
            story.behind = timedelta(seconds=behind)
            if action := happens(story, where, coder, code):
                story.hint(action, fate)
            story.deliver(delivered)
            if reconciled:
                story.reconcile()
        story.reconcile()
