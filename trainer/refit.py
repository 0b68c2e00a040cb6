"""What coders verified reaches the sources that learn by it: a snapshot at every reconciliation that finds news.

A probe is fitted, and a few-shot prompt filled, where a source is first asked with a new snapshot. Documents outside of
Label Studio are classified with the newest at once. Label Studio shows one version of predictions to all, so there a
newer snapshot means new proposals for every open task: they are made when it has outgrown the one before. The weights
that several sources are mixed by are learned from the same reading and take over by the same rule.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence

from redis import Redis

from label_configs.drawing import is_holdout
from label_configs.records import VerifiedExample
from ml_backend import queue
from ml_backend.experiment import Project
from ml_backend.labelstudio import LabelStudioClient
from ml_backend.log_events import LogEvent, tell
from ml_backend.prelabel import enqueue_prelabel, enqueue_tasks
from ml_backend.proposing import Plan
from ml_backend.pushing import Scope
from ml_backend.snapshot import (
    is_published,
    latest_snapshot,
    publish_snapshot,
    pushed_snapshot,
    read_examples,
    taking_over,
)
from ml_backend.training_config import Training
from ml_backend.versions import learns
from ml_backend.weights_file import taking_over as weights_taking_over
from trainer import source_weights
from trainer.leaks import leaks, without_leaks
from trainer.verified import Look, Reading

log = logging.getLogger(__name__)

# Share of the examples that has to be new or changed before open tasks are proposed anew. From 20 to 1,000 verified
# documents these are some 20 pushes, where one for every reconciliation would be hundreds, each of them patching
# thousands of tasks under the coders' hands. From 100 to 200 documents a probe's accuracy on Reuters R8 rises by two
# points, so what a fifth more would have added is small.
GROWTH = 0.2


class Refitting:
    """Keeps the snapshots of projects up to date; remembers what it saw, so that quiet projects cost one request."""

    def __init__(self, redis: Redis, client: LabelStudioClient, *, chunk: int) -> None:
        self._redis = redis
        self._client = client
        self._chunk = chunk
        self._seen: dict[int, tuple[object, ...]] = {}

    def look(self, project: Project, at: Look | None = None) -> bool:
        """Publish what is verified, where it may have changed; whether open tasks are proposed anew.

        While predictions are still being pushed, newer ones wait. Raises LabelStudioError, QueueError, TrainingError.
        """
        learning = any(learns(source) for source in project.experiment.sources)
        if not learning and not source_weights.mixes(project):
            return False
        at = at or Look(self._client, project)
        state = (at.revision, _holdout_share(project), project.codebook.fingerprint)
        if self._seen.get(project.id) == state and (is_published(project.folder) or not learning):
            return False
        reading = at.reading
        publish(project, reading.examples)
        weights = source_weights.learn_weights(project, reading)
        if outgrown(project, reading.examples) or source_weights.outgrown(project, reading, weights, GROWTH):
            if queue.pushing(self._redis, project.id):
                tell(log, LogEvent.EXAMPLES_WAIT, project=project.id)
                return False  # looked at again, since this state counts as not seen
            total = propose_anew(self._redis, self._client, project, reading, chunk=self._chunk)
            tell(log, LogEvent.PROPOSED_ANEW, project=project.id, tasks=total)
            self._seen[project.id] = state
            return True
        self._seen[project.id] = state
        return False


def publish(project: Project, examples: Sequence[VerifiedExample]) -> None:
    """Publish the training side of the examples, less what is also in the holdout under another id.

    Nothing happens in a project none of whose sources learns by examples.
    """
    if not any(learns(source) for source in project.experiment.sources):
        return
    path = publish_snapshot(project.folder, without_leaks(examples), codebook=project.codebook.fingerprint)
    tell(log, LogEvent.EXAMPLES_PUBLISHED, project=project.id, documents=len(examples), snapshot=path.stem)


def propose_anew(redis: Redis, client: LabelStudioClient, project: Project, reading: Reading, *, chunk: int) -> int:
    """Enqueue all open tasks, and the coded holdout to be judged on, with the newest examples; how many are open.

    The weights of the sources are learned anew as well. Where that fails, tasks are proposed with the examples and
    weights of before: else nobody would notice that it was not done.
    """
    coded = _coded_holdout(reading)
    weights = source_weights.learn_weights(project, reading)
    with taking_over(project.folder), weights_taking_over(project.folder, weights):
        total = enqueue_prelabel(redis, client, project, chunk=chunk, coded=coded)
    # Enqueuing takes a while. What was coded meanwhile is no open task any more, and would wait for the next push.
    meanwhile = [one for one in _coded_holdout(Look(client, project).reading) if one not in set(coded)]
    enqueue_tasks(redis, Plan.of(project), meanwhile, Scope.SOURCES, chunk=chunk)
    return total


def _coded_holdout(reading: Reading) -> list[int]:
    return [example.task_id for example in reading.examples if example.holdout and example.task_id is not None]


def outgrown(project: Project, examples: Iterable[VerifiedExample]) -> bool:
    """Whether open tasks should be proposed anew with the snapshot published last; ``examples`` are those verified now.

    So it is where a fifth of the examples came, went or changed their labels, and at once where some that were learned
    from are held out now: what was judged on them would be worth nothing.
    """
    latest, pushed = latest_snapshot(project.folder), pushed_snapshot(project.folder)
    if latest == pushed:
        return False
    if latest is None or pushed is None:
        return True
    now, before = _labels_of(read_examples(latest)), _labels_of(read_examples(pushed))
    share = _holdout_share(project)
    leaked = {leak.training_id for leak in leaks(examples)}
    if any(is_holdout(document_id, share) or document_id in leaked for document_id in before):
        return True
    changed = sum(now.get(document_id) != before.get(document_id) for document_id in now.keys() | before.keys())
    return changed >= GROWTH * len(before)


def _labels_of(examples: Iterable[VerifiedExample]) -> dict[str, tuple[str, frozenset[str]]]:
    return {example.document_id: (example.text, frozenset(example.labels)) for example in examples}


def _holdout_share(project: Project) -> float:
    return (project.experiment.training or Training(base="")).holdout_share
