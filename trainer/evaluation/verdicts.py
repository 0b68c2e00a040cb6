"""The gate's last verdicts, and which source leads the candidates and why."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from ml_backend.experiment import Project
from ml_backend.leading import Rate, Standing, leader_of, rates, standing_in_force
from ml_backend.versions import ActiveSource
from ml_backend.weights_file import weights_in_force
from trainer.gate_metrics import NAMES
from trainer.rounds import RoundRecord, list_rounds, rounds_folder

SHOWN = 3  # rounds


@dataclass(frozen=True, slots=True)
class LastVerdict:
    """What a round came to: ``state`` as its record has it, the adapter it made (empty where it failed), and why."""

    round: str
    state: str
    adapter_id: str
    reason: str


@dataclass(frozen=True, slots=True)
class Lead:
    """Who leads (``source``, empty for nobody) by the holdout of a round and by coders' decisions since.

    ``rates`` has a row for each source that proposes now; ``metric`` and ``n`` are of the round's holdout.
    """

    source: str
    round: str
    metric: str
    n: int
    rates: tuple[Rate, ...]

    @property
    def why(self) -> str:
        """One sentence with figures, without a stop."""
        name = NAMES.get(self.metric, self.metric)
        found = {row.source: row for row in self.rates if row.rate is not None}
        if not self.source:
            return "no source leads the candidates: fewer than two of those that propose now were judged"
        first, *others = sorted(found.values(), key=lambda row: (row.source != self.source, -(row.rate or 0.0)))
        beside = " and ".join(f"{row.rate:.3f} of {row.source}" for row in others)
        since = f" and what coders kept of {first.firsts.shown:g} documents since" if first.firsts.shown else ""
        return (
            f"{first.source} leads the candidates: {first.rate:.3f} against {beside}, by {name} on {self.n} holdout "
            f"documents{since}"
        )


@dataclass(frozen=True, slots=True)
class GateReport:
    """The newest verdicts, the last one first, and the lead; ``lead`` is None before a round could judge."""

    verdicts: tuple[LastVerdict, ...]
    lead: Lead | None

    def as_json(self) -> dict[str, Any]:
        """Plain data for ``json.dumps``."""
        found = asdict(self)
        return found | {"lead": found["lead"] | {"why": self.lead.why}} if self.lead else found


def gate_report(project: Project, sources: Sequence[ActiveSource]) -> GateReport | None:
    """What the project's rounds found, for the ``sources`` that propose now; None before the first round.

    Raises TrainingError where a record is damaged.
    """
    ended = [record for record in list_rounds(rounds_folder(project.home, project.id)) if record.ended_at]
    standing = standing_in_force(project.folder, project.codebook)
    if not ended:
        return None
    verdicts = tuple(_verdict(record) for record in ended[::-1][:SHOWN])
    return GateReport(verdicts, _lead(project, standing, sources) if standing else None)


def _verdict(record: RoundRecord) -> LastVerdict:
    return LastVerdict(record.id, record.state.value, record.adapter_id, record.reason)


def _lead(project: Project, standing: Standing, sources: Sequence[ActiveSource]) -> Lead:
    found = rates(standing, sources, weights_in_force(project.folder).weights)
    return Lead(leader_of(found, sources), standing.round, standing.metric, standing.n, tuple(found))
