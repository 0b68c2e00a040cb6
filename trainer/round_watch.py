"""A project's round in a person's hands: started, watched, stopped."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from redis import Redis
from rich.console import Console
from tenacity import Retrying, retry_if_result, wait_fixed

from label_configs.errors import NoRoundError, TrainingError
from ml_backend.experiment import Project
from ml_backend.heartbeat import WorkerKind, live_workers
from ml_backend.round_queue import (
    ask_to_stop,
    enqueue_round,
    round_at_hand,
    round_progress,
    round_result,
    take_back,
)
from trainer.prelabelling import LOOK_SECONDS
from trainer.rounds import RoundRecord, RoundState, list_rounds, load_round, rounds_folder, save_round
from trainer.training_bar import TrainingBar

LOST_LOOKS = 6  # that nobody has a round that runs, until it counts as cut off: a job between queue and worker is short
NO_TRAINER = "no train worker is alive; start one with `winnow worker train`, or `winnow up`"


@dataclass
class RoundWatch:
    """The round of a project, as far as a person has to do with it."""

    redis: Redis
    project: Project

    @property
    def last(self) -> RoundRecord | None:
        """The project's last round."""
        records = list_rounds(rounds_folder(self.project.home, self.project.id))
        return records[-1] if records else None

    def start(self, console: Console) -> None:
        """Start a round, or go on with the last one where it was stopped or cut off."""
        last = self.last
        goes_on = last is not None and last.state in (RoundState.STOPPED, RoundState.RUNNING)
        if last is not None and last.state is RoundState.STOPPED:
            self._save(replace(last, state=RoundState.RUNNING, reason="", ended_at=None))
        if not enqueue_round(self.redis, self.project, resume=goes_on):
            console.print("A round of this project is queued or running already.")
        elif goes_on and last is not None:
            console.print(
                f"Round {last.id} goes on with its {last.verified} documents; what was verified since waits for the "
                "next."
            )
        else:
            console.print("A round is enqueued.")
        if not live_workers(self.redis, WorkerKind.TRAIN):
            console.print(f"It waits: {NO_TRAINER}.", soft_wrap=True)

    def stop(self, console: Console, *, wait: bool) -> None:
        """Have the round end at its next step, or not begin. Raises NoRoundError where there is none."""
        taken = take_back(self.redis, self.project.id)
        if taken or not round_at_hand(self.redis, self.project.id):
            self._stop_waiting(console, taken)
            return
        ask_to_stop(self.redis, self.project.id)
        console.print("The round is asked to end at its next step.")
        if wait:
            record = self.until_ended(console)
            console.print(f"{record.state.value}: {record.reason}", soft_wrap=True)

    def _stop_waiting(self, console: Console, taken: bool) -> None:
        last, command = self.last, f"`winnow train --project {self.project.id}`"
        if last is not None and last.state is RoundState.RUNNING:
            reason = f"stopped on request, while it waited; {command} goes on with it"
            self._save(replace(last, state=RoundState.STOPPED, reason=reason, ended_at=datetime.now(UTC)))
        elif not taken:
            raise NoRoundError(f"project {self.project.id}: no round is queued or running; {command} starts one")
        console.print(f"The round that waited is stopped; {command} starts it again.", soft_wrap=True)

    def until_ended(self, console: Console, on_look: Callable[[], None] | None = None) -> RoundRecord:
        """Show the round until it has ended; its record. Raises TrainingError when it failed.

        One that was cut off, with its worker or its place in the queue, is enqueued again. Ctrl-C leaves it to go on.
        """
        before, lost = self.last, 0

        def look() -> bool:
            nonlocal lost
            if on_look:
                on_look()
            bar.update(round_progress(self.redis, self.project.id))
            if round_at_hand(self.redis, self.project.id):
                lost = 0
                return False
            last, lost = self.last, lost + 1
            if last is None or last.state is not RoundState.RUNNING:
                # Its job may be between queue and worker, where nobody has it and nothing came of it yet.
                return lost >= LOST_LOOKS or last != before or round_result(self.redis, self.project.id) is not None
            if lost >= LOST_LOOKS and enqueue_round(self.redis, self.project, resume=True):
                console.print("The round was cut off and goes on from its last checkpoint.")
            return False

        with TrainingBar(console) as bar:
            try:
                Retrying(retry=retry_if_result(lambda ended: not ended), wait=wait_fixed(LOOK_SECONDS))(look)
            except KeyboardInterrupt:
                console.print(
                    f"The round goes on: `winnow status --project {self.project.id}` shows it, "
                    f"`winnow train --project {self.project.id} --stop` ends it.",
                    soft_wrap=True,
                )
                raise
            record = self.ended(before)
            bar.end(record.state.value)
        return record

    def ended(self, before: RoundRecord | None = None) -> RoundRecord:
        """The round that ended last. Raises TrainingError when it failed, or where nothing came after ``before``."""
        known = round_result(self.redis, self.project.id)
        last = self.last
        if known is not None:
            last = load_round(rounds_folder(self.project.home, self.project.id), known)
        elif last is None or last == before:
            raise TrainingError(
                f"project {self.project.id}: the round ended before it began; see the log of the train worker"
            )
        if last is not None and last.state is RoundState.FAILED:
            raise TrainingError(f"project {self.project.id}: round {last.id} failed: {last.reason}")
        assert last is not None
        return last

    def _save(self, record: RoundRecord) -> None:
        save_round(rounds_folder(self.project.home, self.project.id), record)
