"""The job of a train worker: one fine-tuning round, supervised. Loads no torch; training has a process of its own.

A round that was cut off, with its worker or by its machine, goes on with *its* examples, which lie in its folder; what
was verified since waits for the next round.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from redis import Redis
from rq.timeouts import JobTimeoutException

from label_configs.errors import LabelStudioError, TrainingError, WinnowError
from label_configs.records import Proposal
from ml_backend import adapters, promotions, queue
from ml_backend.experiment import Project
from ml_backend.labelstudio import LabelStudioClient
from ml_backend.log_events import LogEvent, tell
from ml_backend.proposing import Plan
from ml_backend.registered_projects import load_project
from ml_backend.request_ids import newest, request_ids, under
from ml_backend.settings import Settings, load_settings
from ml_backend.training_config import Training
from trainer.alone import alone
from trainer.bars import bars_of
from trainer.fine_tuning import FineTuned, fine_tune
from trainer.finishing import finish_promotions
from trainer.gate import Verdict
from trainer.recipe import LoraRecipe, load_recipe, recipe_with
from trainer.round_examples import RoundExamples
from trainer.rounds import (
    JUDGED,
    RoundRecord,
    RoundState,
    list_rounds,
    round_id,
    rounds_folder,
    save_round,
    save_seen,
    start_time,
)
from trainer.standing import keep_standing
from trainer.supervision import LOG_FILE, Watch
from trainer.telling import Telling
from trainer.tuning import FineTuning
from trainer.verified import Reading, read_project

log = logging.getLogger(__name__)

WAIT_SECONDS = 150.0  # for the process of a worker that was killed: it ends after its step and a checkpoint


def run_round(project_id: int, resume: bool = False) -> str:
    """Read what is verified, train, judge, promote if better; the round's id, "" where there was none. RQ's entry.

    With ``resume`` only a round that was cut off is gone on with.
    """
    settings = load_settings()
    redis = queue.connect(settings)
    client = LabelStudioClient(settings)
    project = load_project(settings.home, project_id)
    record = perform_round(settings, redis, client, project, resume=resume)
    project = load_project(settings.home, project_id)  # as it is by now: a round takes its time
    finish_promotions(redis, client, project, chunk=settings.chunk_documents)
    return record.id if record else ""


def recipe_of(training: Training) -> LoraRecipe:
    """The recipe that the experiment names, with its overrides."""
    return recipe_with(load_recipe(training.recipe), training.overrides)


@dataclass(frozen=True)
class Begun:
    """A round at its start, or where it was cut off: then ``proposals``, the sources' own, are not read yet."""

    record: RoundRecord
    tuning: FineTuning
    proposals: Sequence[Proposal] | None


def perform_round(
    settings: Settings, redis: Redis, client: LabelStudioClient, project: Project, *, resume: bool = False
) -> RoundRecord | None:
    """One round from reading to verdict; its record is on disk in every state. A round that ended is not run again.

    None where another process has a round of the project, and with ``resume`` where none was cut off.
    """
    training = _training_of(project)
    rounds = rounds_folder(settings.home, project.id)
    with alone(rounds, WAIT_SECONDS) as lock:
        if lock is None:
            tell(log, LogEvent.ROUND_ELSEWHERE, project=project.id)
            return None
        records = list_rounds(rounds)
        cut_off = bool(records) and records[-1].state is RoundState.RUNNING
        if resume and not cut_off:
            return None
        begun = _resumed(rounds, records[-1], training) if cut_off else None
        if begun is None:
            telling = Telling(redis, project.id, {})
            telling.tell({"stage": "read"})
            begun = _new(settings, client, project, telling)
        if begun.record.state is not RoundState.RUNNING:
            return begun.record
        with under(begun.record.requests):
            return _Carrying(redis, client, project, begun, lock).out()


def _training_of(project: Project) -> Training:
    training = project.experiment.training
    if training is None:
        raise TrainingError(f"project {project.id}: winnow.yaml has no `training`; add it and run `winnow init` again")
    return training


def _resumed(rounds: Path, record: RoundRecord, training: Training) -> Begun | None:
    """The round that was cut off, with the examples in its folder; None, and the round failed, where they are gone."""
    try:
        tuning = FineTuning.read(rounds / record.id, training.gate)
    except WinnowError as error:
        save_round(rounds, replace(record, state=RoundState.FAILED, reason=str(error), ended_at=datetime.now(UTC)))
        return None
    notes = _with(record.notes, "it was cut off and went on from its last checkpoint")
    record = replace(record, notes=notes, requests=newest((*record.requests, *request_ids())))
    save_round(rounds, record)
    tell(log, LogEvent.ROUND_RESUMED, project=record.project, round=record.id, requests=record.requests or None)
    return Begun(record, tuning, None)


def _new(settings: Settings, client: LabelStudioClient, project: Project, telling: Telling) -> Begun:
    """A round of what is verified now; one of the same data that was judged before is found as it ended.

    One that cannot begin has failed, and is not tried again before the next is due: a reconciliation would repeat it.
    """
    reading = read_project(client, project)
    try:
        return _begin(settings, project, reading)
    except Exception as error:  # whatever it is, a record has to say it
        _fail_to_begin(project, reading, error)
        telling.tell_last({"stage": RoundState.FAILED.value})
        raise


def _fail_to_begin(project: Project, reading: Reading, error: Exception) -> None:
    rounds = rounds_folder(project.home, project.id)
    now = start_time(rounds, datetime.now(UTC))
    documents, why = [example.document_id for example in reading.examples], _reason(error)
    identifier = round_id(json.dumps(documents), why, "", project.codebook.fingerprint)
    save_seen(rounds, identifier, documents)
    save_round(
        rounds,
        RoundRecord(identifier, project.id, RoundState.FAILED, len(documents), 0, 0, reason=why, started_at=now,
                    ended_at=now, seconds=0.0),
    )  # fmt: skip
    tell(log, LogEvent.ROUND_NOT_BEGUN, project=project.id, reason=why)


def _begin(settings: Settings, project: Project, reading: Reading) -> Begun:
    training = _training_of(project)
    found = RoundExamples.of_project(project, reading)
    tuning = FineTuning(
        training.base, recipe_of(training), project.codebook, found.examples, training.holdout_share,
        training.gate, promotions.current(project.folder), settings.threads,
        {"project": project.id, **found.counts},
        training.negatives, training.balance, bars_of(project.experiment.sources, settings.home),
        {"winnow.yaml": project.folder / "winnow.yaml"}, settings.checkpoint_seconds,
    )  # fmt: skip
    rounds = rounds_folder(settings.home, project.id)
    save_seen(rounds, tuning.id, (example.document_id for example in reading.examples))
    for known in list_rounds(rounds):
        if known.id == tuning.id and known.state in JUDGED:
            tell(log, LogEvent.ROUND_KNOWN, project=project.id, round=tuning.id)
            return Begun(known, tuning, reading.proposals)
    record = RoundRecord(
        tuning.id, project.id, RoundState.RUNNING, len(reading.examples),
        tuning.training_examples, len(tuning.truth), started_at=start_time(rounds, datetime.now(UTC)),
        notes=tuning.notes, leaks=len(found.report.leaks), silver_examples=found.report.silver, requests=request_ids(),
    )  # fmt: skip
    tuning.write(rounds / record.id, adapters.store_of(project.home))
    found.report.save(rounds / record.id)
    save_round(rounds, record)  # last: a record says that its folder is whole
    tell(
        log, LogEvent.ROUND_STARTED, project=project.id, round=tuning.id, training=record.training_examples,
        holdout=record.holdout_examples, leaks=record.leaks, requests=record.requests or None,
    )  # fmt: skip
    return Begun(record, tuning, reading.proposals)


class _Carrying:
    """A round on its way from examples to verdict; ``lock`` is held by its process too."""

    def __init__(self, redis: Redis, client: LabelStudioClient, project: Project, begun: Begun, lock: int) -> None:
        self._client, self._project, self._begun = client, project, begun
        self._rounds = rounds_folder(project.home, project.id)
        self._record = record = begun.record
        self._folder = self._rounds / record.id
        since = record.started_at.isoformat() if record.started_at else None
        self._telling = Telling(
            redis, project.id, {"round": record.id, "log": str(self._folder / LOG_FILE), "since": since}
        )
        limit = _training_of(project).time_limit_hours * 3600
        self._watch = Watch(self._tell, self._telling.stop_asked, limit, (lock,))

    def out(self) -> RoundRecord:
        """Train, judge and promote; the record as it ended, which is on disk, also where an error is raised."""
        before = Plan.of(self._project).version
        try:
            record = self._trained_and_judged()
        except Exception as error:  # the job's edge: whatever it is, the record has to say it
            self._end(replace(self._record, state=RoundState.FAILED, reason=_reason(error)))
            raise
        # The adapter may have been kept while another source leads now.
        same = Plan.of(self._project).version == before and self._begun.proposals is not None
        settled = record.state is RoundState.STOPPED or (record.state is RoundState.KEPT and same)
        return self._end(replace(record, refreshed_at=datetime.now(UTC)) if settled else record)

    def _trained_and_judged(self) -> RoundRecord:
        tuned = fine_tune(self._begun.tuning, self._folder, adapters.store_of(self._project.home), self._watch)
        if tuned is None:
            return self._stopped()
        keep_standing(self._project, self._begun.tuning, tuned, self._proposals())
        if tuned.verdict.verdict is Verdict.PROMOTED:
            promotions.promote(self._project.folder, tuned.adapter)
        return self._judged(tuned)

    def _judged(self, tuned: FineTuned) -> RoundRecord:
        verdict, record = tuned.verdict, self._record
        return replace(
            record,
            state=RoundState.PROMOTED if verdict.verdict is Verdict.PROMOTED else RoundState.KEPT,
            adapter_id=tuned.adapter.id,
            reason=verdict.reason,
            notes=_with(record.notes, *tuned.notes),
            metrics={f"new_{verdict.metric}": verdict.new, f"current_{verdict.metric}": verdict.current,
                     "probability": verdict.probability, "loss": tuned.loss},
        )  # fmt: skip

    def _stopped(self) -> RoundRecord:
        told = self._telling.last
        where = f" after step {told['step']} of {told['steps']}" if "step" in told else ""
        reason = f"stopped on request{where}; `winnow train --project {self._project.id}` goes on from there"
        return replace(self._record, state=RoundState.STOPPED, reason=reason)

    def _tell(self, progress: Mapping[str, Any]) -> None:
        """Pass it on; a new note is kept in the record at once, since a crash would lose it."""
        notes = _with(self._record.notes, *progress.get("notes", ()))
        if notes != self._record.notes:
            self._record = replace(self._record, notes=notes)
            save_round(self._rounds, self._record)
        self._telling.tell(progress)

    def _proposals(self) -> Sequence[Proposal]:
        """Those read with the examples; of a round that was cut off, those of now, none where Label Studio is away."""
        if self._begun.proposals is not None:
            return self._begun.proposals
        try:
            return read_project(self._client, self._project).proposals
        except LabelStudioError as error:
            tell(log, LogEvent.SOURCES_NOT_JUDGED, project=self._project.id, reason=error)
            return ()

    def _end(self, record: RoundRecord) -> RoundRecord:
        ended = datetime.now(UTC)
        seconds = round(max(0.0, (ended - (record.started_at or ended)).total_seconds()), 1)  # the clock was set back
        record = replace(record, ended_at=ended, seconds=seconds)
        save_round(self._rounds, record)
        self._telling.tell_last({**self._telling.last, "stage": record.state.value})
        event = LogEvent.ROUND_FAILED if record.state is RoundState.FAILED else LogEvent.ROUND_ENDED
        tell(
            log, event, project=record.project, round=record.id, state=record.state.value, reason=record.reason,
            adapter=record.adapter_id or None, seconds=seconds,
        )  # fmt: skip
        return record


def _reason(error: Exception) -> str:
    if isinstance(error, JobTimeoutException):
        return "took longer than training.time_limit_hours and an hour more; raise it and train again"
    return str(error) if isinstance(error, WinnowError) else f"unexpected {type(error).__name__}; see the worker's log"


def _with(notes: Sequence[str], *more: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys((*notes, *more)))
