"""Figures of projects for Prometheus: all read from what is kept, so that a scrape costs milliseconds."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from label_configs.errors import WinnowError
from ml_backend import promotions
from ml_backend.experiment import Project
from ml_backend.log_events import LogEvent, tell
from ml_backend.registered_projects import load_project, registered
from trainer.dashboard.kept_report import load_report
from trainer.dashboard.next_round import counted, next_round
from trainer.rounds import RoundState, list_rounds, rounds_folder

log = logging.getLogger(__name__)


@dataclass
class _Figures:
    """The gauges, to be filled project by project."""

    verified: GaugeMetricFamily = field(
        default_factory=lambda: _gauge("winnow_verified_documents", "Verified documents")
    )
    to_next: GaugeMetricFamily = field(
        default_factory=lambda: _gauge("winnow_documents_to_next_round", "Documents to verify until a round is due")
    )
    adapter: GaugeMetricFamily = field(
        default_factory=lambda: _gauge("winnow_adapter_info", "1 for the adapter in force", "adapter")
    )
    state: GaugeMetricFamily = field(
        default_factory=lambda: _gauge("winnow_round_state", "1 for the state of the last round", "state")
    )
    rounds: GaugeMetricFamily = field(default_factory=lambda: _gauge("winnow_rounds", "Rounds by state", "state"))
    kept: GaugeMetricFamily = field(
        default_factory=lambda: _gauge("winnow_source_kept_ratio", "Share of a source's candidates kept", "source")
    )
    made: GaugeMetricFamily = field(
        default_factory=lambda: _gauge("winnow_report_timestamp_seconds", "When the dashboard's report was made")
    )

    def all(self) -> Iterator[GaugeMetricFamily]:
        yield from (self.verified, self.to_next, self.adapter, self.state, self.rounds, self.kept, self.made)


class ProjectCollector(Collector):
    """Verified documents, the way to the next round, the adapter in force, rounds by state, kept rates by source."""

    def __init__(self, home: Path) -> None:
        self._home = home

    @staticmethod
    def describe() -> Iterator[GaugeMetricFamily]:
        """The figures without values."""
        yield from _Figures().all()

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Read the figures of this moment; a project that cannot be read is left out and told in the log."""
        figures = _Figures()
        for project_id in registered(self._home):
            try:
                _fill(figures, load_project(self._home, project_id))
            except WinnowError as error:
                tell(log, LogEvent.METRICS_MISSING, project=project_id, reason=error)
        yield from figures.all()


def _fill(figures: _Figures, project: Project) -> None:
    name = str(project.id)
    step = next_round(project, counted(project.folder))
    for gauge, value in ((figures.verified, step.verified), (figures.to_next, step.to_next)):
        if value is not None:
            gauge.add_metric([name], value)
    if (current := promotions.current(project.folder)) is not None:
        figures.adapter.add_metric([name, current], 1)
    records = list_rounds(rounds_folder(project.home, project.id))
    for state in RoundState:
        figures.state.add_metric([name, state.value], float(bool(records) and records[-1].state is state))
        figures.rounds.add_metric([name, state.value], sum(record.state is state for record in records))
    report = load_report(project.folder)
    if report is not None:
        figures.made.add_metric([name], report.made_at.timestamp())
        for source, rate in report.kept_rates.items():
            if rate is not None:
                figures.kept.add_metric([name, source], rate)


def _gauge(name: str, text: str, *labels: str) -> GaugeMetricFamily:
    return GaugeMetricFamily(name, text, labels=["project", *labels])
