"""Figures for Prometheus, read from Redis when they are asked for, so that every web process gives the same."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from prometheus_client import CollectorRegistry
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.registry import Collector
from redis import Redis

from ml_backend import queue
from ml_backend.prelabel_progress import TaskState, prelabel_progress


class QueueCollector(Collector):
    """Jobs per queue and state, and pushed tasks per project and state."""

    def __init__(self, redis: Redis, projects: Sequence[int]) -> None:
        self._redis = redis
        self._projects = projects

    @staticmethod
    def describe() -> tuple[GaugeMetricFamily, GaugeMetricFamily]:
        """The figures without values."""
        return (
            GaugeMetricFamily("winnow_jobs", "Jobs in a queue", labels=["queue", "state"]),
            GaugeMetricFamily("winnow_prelabel_tasks", "Tasks of the last push", labels=["project", "state"]),
        )

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Read the figures of this moment."""
        jobs, tasks = self.describe()
        with queue.redis_errors():
            for kind in (queue.PROPOSE, queue.TRAIN):
                for line in queue.queues(self._redis, kind):
                    jobs.add_metric([line.name, "queued"], line.count)
                    jobs.add_metric([line.name, "started"], line.started_job_registry.count)
                    jobs.add_metric([line.name, "failed"], line.failed_job_registry.count)
        yield jobs
        for project in self._projects:
            progress = prelabel_progress(self._redis, project)
            if progress.version:
                tasks.add_metric([str(project), "total"], progress.total)
                for state in TaskState:
                    tasks.add_metric([str(project), state.value], progress[state])
        yield tasks


def render_metrics(redis: Redis, projects: Sequence[int], further: Sequence[Collector] = ()) -> tuple[bytes, str]:
    """The figures in Prometheus' text format, those of ``further`` collectors too, and its content type."""
    registry = CollectorRegistry()
    for collector in (QueueCollector(redis, projects), *further):
        registry.register(collector)
    return generate_latest(registry), CONTENT_TYPE_LATEST
