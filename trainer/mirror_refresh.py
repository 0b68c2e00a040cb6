"""How a mirror is brought up to date: what changed is read, and counts tell whether that was all."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Collection, Iterable
from datetime import UTC, datetime, timedelta
from itertools import islice

from label_configs import wire
from label_configs.errors import WireError
from label_configs.wire import JsonObject
from ml_backend.task_reader import Pulse, TaskReader
from trainer.mirror_file import Difference, MirrorFile

log = logging.getLogger(__name__)

MARGIN = timedelta(seconds=10)
"""A task is written in several steps, and by servers whose clocks differ a little: what is newer is read again."""
PART = 100  # tasks written at once: what was read stays when the reading breaks off
MANY, MOST = 500, 0.5
"""Above this number and share of the tasks, exporting them takes less time than a list of them."""
COMPARE_EVERY = timedelta(days=1)
"""So often every task's time is compared: should Label Studio's clock be set back, nothing else would tell."""
TRIES = 3  # readings while coders go on, before counts that differ are looked into
_MOMENT = "%Y-%m-%dT%H:%M:%S.%fZ"  # as Label Studio's filters want it
_LONG_AGO = "1970-01-01T00:00:00.000000Z"

Clock = Callable[[], datetime]
Told = Callable[[int, int], None]
"""Hears, after every part, how many tasks of how many were read. The mirror's file is in one state then."""


class Refresh:
    """One refresh of a mirror's file; ``clock`` gives this machine's time."""

    def __init__(
        self, file: MirrorFile, reader: TaskReader, project_id: int, clock: Clock, told: Told | None = None
    ) -> None:
        self._file, self._reader, self._project, self._clock = file, reader, project_id, clock
        self._now = clock()
        self._told = told
        self._facts = file.facts()

    def annotations(self) -> None:
        """Bring tasks and their annotations up to date.

        What is read again begins a margin before the newest task of the last time. The number of tasks, and that of
        annotations, tell whether some are gone, or were hidden till now; so does a newest task older than before.
        """
        pulse, seen = self._pulse()
        if self._facts.get("url") != self._reader.url and self._read_all(pulse, seen):
            return None
        known = self._facts["pulse"] == _text(pulse)
        if known and self._settled():
            if self._now - _moment(self._facts["compared_at"]) > COMPARE_EVERY:
                self._compare(pulse)
            return None
        first_seen = _moment(self._facts["pulse_seen"]) if known else seen
        newest = self._facts["newest"]
        for _ in range(TRIES):
            self._read_changed(newest)
            if self._complete(pulse, newest):
                break
            again, seen = self._pulse()
            if again == pulse:
                break
            pulse, first_seen = again, seen
        if not self._complete(pulse, newest):
            self._compare(pulse)
        return self._end(pulse, first_seen)

    def predictions(self) -> None:
        """Bring predictions and drafts up to date, both by the tasks that have them: their times tell nothing."""
        wanted = self._reader.prediction_versions(self._project)
        for version in self._file.versions().keys() - wanted.keys() - {""}:
            with self._file.writing():
                self._file.remove_version(version)
        for version, count in wanted.items():
            if self._file.versions().get(version) != count:
                there = self._reader.tasks_with_version(self._project, version)
                here = self._file.tasks_with_version(version)
                self._read(there ^ here)
                if self._file.versions().get(version) != count:
                    self._read(there | here)  # some were made anew
        drafts = self._reader.tasks_with_drafts(self._project)
        with self._file.writing():
            self._file.set_drafts(drafts)

    def _pulse(self) -> tuple[Pulse, datetime]:
        """And when it had come: the answer to a slow request is not as old as the request."""
        return self._reader.pulse(self._project), self._clock()

    def _settled(self) -> bool:
        """Whether the tasks were read when nothing had happened for the margin: what was half written then is whole."""
        return _moment(self._facts["read_at"]) - _moment(self._facts["pulse_seen"]) > MARGIN

    def _complete(self, pulse: Pulse, newest: str) -> bool:
        counts = (pulse.tasks, pulse.annotations + int(self._facts["drift"]))
        return self._file.counts() == counts and _moment(pulse.newest) >= _moment(newest)

    def _read_all(self, pulse: Pulse, seen: datetime) -> bool:
        """Read every task by id, part by part; whether the mirror is up to date by that.

        What an earlier attempt has read is not read again: it was up to date when that began, so what changed since has
        to be read after this, and what may have been half written then.
        """
        first = self._begun(pulse, seen)
        before, upto = self._file.counts()[0], int(self._facts["upto"])
        self._put_all(self._reader.export_after(self._project, upto), max(0, pulse.tasks - before), before, note=True)
        if "born" not in self._facts:
            latest = self._file.latest_annotation()
            with self._file.writing():
                decided_at = min(self._now, _moment(latest)) if latest else self._now
                self._set(born=first["at"], decided_at=decided_at.isoformat())
        log.debug("project %s: tasks above %s read by exports", self._project, upto)
        began = datetime.fromisoformat(first["at"])
        self._end(Pulse(first["newest"], first["tasks"], first["annotations"]), began, began)
        return upto == 0

    def _begun(self, pulse: Pulse, seen: datetime) -> JsonObject:
        """When the first reading of this Label Studio began, and its pulse then; what another held is forgotten."""
        first: JsonObject = json.loads(self._facts.get("first", "{}"))
        if first.get("url") != self._reader.url:
            first = {"url": self._reader.url, "at": seen.isoformat(), "newest": pulse.newest,
                     "tasks": pulse.tasks, "annotations": pulse.annotations}  # fmt: skip
            with self._file.writing():
                self._note(self._file.remove(self._file.stamps()))
                self._set(first=json.dumps(first), begun=first["at"], upto="0", url="")
        return first

    def _read_changed(self, newest: str) -> None:
        """Read the tasks with other stamps than before, and those that may have been half written at the last time."""
        since = (_moment(newest) - MARGIN).strftime(_MOMENT) if newest else _LONG_AGO
        stamps = list(self._reader.task_stamps(self._project, since))
        settled = self._settled()
        self._read([stamp.id for stamp in stamps if not settled or self._file.stamp(stamp.id) != stamp])

    def _compare(self, pulse: Pulse) -> None:
        """Have the mirror hold exactly the tasks there are, by their stamps.

        A long import shows its tasks when it ends, with the times of its beginning; a restored backup has older ones.
        """
        self._set(compared_at=self._now.isoformat())
        stamps = {stamp.id: stamp for stamp in self._reader.task_stamps(self._project)}
        known = self._file.stamps()
        with self._file.writing():
            self._note(self._file.remove(known.keys() - stamps.keys()))
        self._read([i for i, stamp in stamps.items() if known.get(i) != stamp])
        tasks, annotations = self._file.counts()
        if self._reader.pulse(self._project) == pulse and tasks == pulse.tasks:
            # Under load Label Studio on SQLite miscounts; that shall not be looked into again and again.
            self._set(drift=str(annotations - pulse.annotations))

    def _read(self, task_ids: Collection[int]) -> None:
        ids = sorted(task_ids)
        if _too_many(len(ids), self._file.counts()[0]):
            self._put_all(self._reader.export_each(self._project, ids), len(ids))
        elif ids:
            self._put_all(self._reader.whole_tasks(self._project, ids), len(ids))

    def _put_all(self, tasks: Iterable[JsonObject], number: int, before: int = 0, *, note: bool = False) -> None:
        """Write tasks part by part, with the snapshots that a list leaves out; ``note``: up to which id it came."""
        coming, done = iter(tasks), before
        while part := [self._with_known(wire.kept_task(task)) for task in islice(coming, PART)]:
            lacking = [int(task["id"]) for task in part if wire.lacks_snapshot(task)]
            if lacking:
                exported = {task["id"]: wire.kept_task(task) for task in self._reader.export(self._project, lacking)}
                part = [exported.get(task["id"], task) for task in part]
            with self._file.writing():
                difference = Difference()
                for task in part:
                    difference |= self._file.put(task)
                self._note(difference)
                if note:
                    self._set(upto=str(part[-1]["id"]))
            done += len(part)
            if self._told:
                self._told(done, max(done, before + number))

    def _with_known(self, task: JsonObject) -> JsonObject:
        before = self._file.task(task["id"])
        return wire.with_snapshots(task, before) if before else task

    def _note(self, difference: Difference) -> None:
        """Within the transaction that made it: a failure later on must not hide that something changed."""
        if difference.any:
            self._set(revision=str(int(self._facts.get("revision", "0")) + 1))
        if difference.decided:
            self._set(decided_at=self._now.isoformat())

    def _end(self, pulse: Pulse, first_seen: datetime, read_at: datetime | None = None) -> None:
        """Write down up to where was read: a pulse of *before* the reading, so that what came since is seen next."""
        facts = {
            "url": self._reader.url, "pulse": _text(pulse), "newest": pulse.newest or "",
            "pulse_seen": first_seen.isoformat(), "read_at": (read_at or self._now).isoformat(),
            "drift": self._facts.get("drift", "0"),
            "compared_at": self._facts.get("compared_at", self._now.isoformat()),
        }  # fmt: skip
        with self._file.writing():
            self._set(**facts)

    def _set(self, **facts: str) -> None:
        self._file.set_facts(facts)
        self._facts |= facts


def _too_many(number: int, tasks: int) -> bool:
    return number > MANY and number > MOST * tasks


def _text(pulse: Pulse) -> str:
    return f"{pulse.newest} {pulse.tasks} {pulse.annotations}"


def _moment(text: str | None) -> datetime:
    """Label Studio's or our own time, in UTC; long ago for none. Raises WireError."""
    try:
        return datetime.fromisoformat(text or _LONG_AGO).astimezone(UTC)
    except ValueError:
        raise WireError(f"Label Studio: {text!r} is no time; is WINNOW_LABEL_STUDIO_URL right?") from None
