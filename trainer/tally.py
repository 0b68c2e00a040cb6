"""How many documents are verified, kept in the mirror's file: counted anew is what changed since the last time."""

from __future__ import annotations

import logging
from pathlib import Path

from ml_backend.experiment import Project
from ml_backend.log_events import LogEvent, tell
from ml_backend.prelabel import documents_of
from trainer.mirror_file import MirrorFile
from trainer.rounds import Counts, load_seen, seen_stamp
from trainer.verified import reading_of

log = logging.getLogger(__name__)

_RULES = "1"  # to be raised where what decisions come to changes with the program: all is counted anew then


class Tally:
    """The verified documents of a project, as ``reading_of`` all its annotated tasks would have them.

    What the decisions on a document come to depends on the tasks of that document alone. So only the documents are
    settled anew of which a task was written since, all of them where codebook, form or the rule of consensus is
    another than at the last time.
    """

    def __init__(self, file: MirrorFile, project: Project) -> None:
        self._file, self._project = file, project

    def counts(self, rounds: Path) -> Counts:
        """How many are verified, and how many of these the last round in the folder ``rounds`` has seen.

        Raises WireError for annotations that cannot be, EnvironmentFault, TrainingError.
        """
        with self._file.writing():
            facts = self._file.facts()
            if facts.get("counted_by") != self._rules():
                self._forget()
            self._count()
            if facts.get("seen") != (stamp := seen_stamp(rounds)):
                self._see(rounds, stamp)
            ((verified, seen, both),) = self._file.query("SELECT verified, seen, both FROM totals")
        return Counts(verified, seen, both)

    def verified(self) -> set[str]:
        """The ids that were counted last."""
        return {row[0] for row in self._file.query("SELECT document FROM verified")}

    def _rules(self) -> str:
        """All that the outcome depends on beside the tasks; the documents' texts and the holdout are not part of it."""
        project = self._project
        team = project.team and (project.team.text_name, project.team.choices_name, sorted(project.team.values.items()))
        review = project.experiment.review
        return repr((_RULES, project.codebook.fingerprint, str(project.form), str(review.consensus),
                     project.experiment.text, team))  # fmt: skip

    def _forget(self) -> None:
        tell(log, LogEvent.COUNTED_ANEW, project=self._project.id)
        for table in ("counted", "verified"):
            # With a condition triggers are sure to be heard.
            self._file.query(f"DELETE FROM {table} WHERE true")  # nosec B608 # one of the two names above
        self._file.query("INSERT OR IGNORE INTO uncounted SELECT id FROM tasks WHERE annotated > 0")
        self._file.set_facts({"counted_by": self._rules()})

    def _count(self) -> None:
        touched: set[str] = set()
        for (task_id,) in self._file.query("SELECT task FROM uncounted"):
            touched |= self._place(task_id)
        for document in touched:
            self._settle(document)
        self._file.query("DELETE FROM uncounted")

    def _place(self, task_id: int) -> set[str]:
        """Note which document a task is of; the ids of the documents that this may change."""
        before = {row[0] for row in self._file.query("SELECT document FROM counted WHERE task = ?", task_id)}
        task = self._file.task(task_id)
        pairs, _ = documents_of([task] if task and task["annotations"] else [], self._project.experiment.text)
        now = {document.id for _, document in pairs}
        if now != before:
            self._file.query("DELETE FROM counted WHERE task = ?", task_id)
            for document in now:
                self._file.query("INSERT INTO counted VALUES (?, ?)", task_id, document)
        return before | now

    def _settle(self, document: str) -> None:
        ids = [
            row[0] for row in self._file.query("SELECT task FROM counted WHERE document = ? ORDER BY task", document)
        ]
        tasks = (task for task_id in ids if (task := self._file.task(task_id)) is not None)
        if reading_of(tasks, self._project).examples:
            self._file.query("INSERT OR IGNORE INTO verified VALUES (?)", document)
        else:
            self._file.query("DELETE FROM verified WHERE document = ?", document)

    def _see(self, rounds: Path, stamp: str) -> None:
        """Once after every round: this costs as much as the round has documents."""
        self._file.query("DELETE FROM seen WHERE true")
        for document in load_seen(rounds):
            self._file.query("INSERT INTO seen VALUES (?)", document)
        self._file.set_facts({"seen": stamp})
