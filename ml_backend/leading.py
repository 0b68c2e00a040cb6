"""Which source leads: the codes that it stands for come first among the candidates of a document.

Each fine-tuning round judges the adapters, the bars beside them (a probe, the similarity to definitions) and every
other source that has proposed for the whole holdout, on the same n documents by the gate's metric. These figures are
kept in the project's folder, ``standing.json``. From then on coders judge the sources as well: of the documents that
they decide on since, N_s is the number for which source s had a candidate, and K_s that of those for which they kept
the one that s put first. The source of the highest pooled rate leads:

    r_s = (n m_s + K_s) / (n + N_s)

with m_s its metric on the holdout. So at first the better one on the holdout leads, and its lead there, in documents,
is what coders' decisions have to make up for to put another in front. A source that the round could not judge (n = 0)
takes part once coders judged it on ``ENOUGH`` documents. An equal rate goes to the adapter, then to the source that
winnow.yaml names first. Nobody leads before the first round, after a change of the codebook, and where fewer than two
sources can be compared.

An adapter is judged by its own decisions alone, a probe by those on all that it was since the round: it only learns.
The holdout is not trained on for this, yet it chooses: figures of a *mixture* on the same documents would be biased,
those of single sources are not.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from label_configs.codebook import Codebook
from label_configs.errors import TrainingError
from ml_backend import shared_projects
from ml_backend.mixing import Evidence, MixingWeights
from ml_backend.source_config import SourceConfig
from ml_backend.versions import ActiveSource, source_version

ENOUGH = 20  # documents
_FILE = "standing.json"
_DIGITS = 9  # of a rate: equal ones are equal whatever the order of the sums


@dataclass(frozen=True, slots=True)
class Judged:
    """A source's ``value`` of the metric on the holdout; ``identity`` says in which make, see ``identity_of``."""

    source: str
    identity: str
    value: float


@dataclass(frozen=True, slots=True)
class Standing:
    """What a ``round`` found of the sources on its ``n`` holdout documents, by the ``metric``, at ``judged_at``."""

    round: str
    metric: str
    n: int
    judged_at: datetime
    codebook: str
    sources: tuple[Judged, ...]


@dataclass(frozen=True, slots=True)
class Rate:
    """A source that proposes now: its ``value`` on the holdout, what coders kept since of what it put first, and the
    pooled ``rate``; None where it was not judged, or not enough."""

    source: str
    value: float | None
    firsts: Evidence
    rate: float | None


def identity_of(config: SourceConfig, adapter_id: str | None = None) -> str:
    """The adapter's id, or the source's version without what it learned and how its probabilities are tempered."""
    return adapter_id or source_version(replace(config, temperature=1.0), None)


def save_standing(project_folder: Path, standing: Standing) -> None:
    """Keep what a round found, in place of what one before it did. Raises EnvironmentFault where that fails."""
    data = asdict(standing) | {"judged_at": standing.judged_at.isoformat()}
    path, text = project_folder / _FILE, json.dumps(data, indent=1)
    shared_projects.write(path, text)


def standing_in_force(project_folder: Path, codebook: Codebook) -> Standing | None:
    """What the last round found by this codebook, None before it. Raises TrainingError where the file is damaged."""
    path = project_folder / _FILE
    try:
        found = _standing(json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError):
        raise TrainingError(f"{path}: damaged; delete it, the next round writes it anew") from None
    return found if found.codebook == codebook.fingerprint else None


def _standing(data: Mapping[str, Any]) -> Standing:
    judged = tuple(Judged(str(one["source"]), str(one["identity"]), float(one["value"])) for one in data["sources"])
    at = datetime.fromisoformat(data["judged_at"])
    return Standing(str(data["round"]), str(data["metric"]), int(data["n"]), at, str(data["codebook"]), judged)


def rates(standing: Standing, sources: Sequence[ActiveSource], weights: MixingWeights) -> list[Rate]:
    """A row for each source that proposes now, in their order."""
    values = {(one.source, one.identity): one.value for one in standing.sources}
    rows = []
    for active in sources:
        name = active.config.name
        value = values.get((name, identity_of(active.config, active.adapter_id)))
        firsts = weights.firsts.get(name, Evidence()) if weights.since == standing.round else Evidence()
        n = 0 if value is None else standing.n
        known = n or firsts.shown >= ENOUGH
        rate = round((n * (value or 0.0) + firsts.kept) / (n + firsts.shown), _DIGITS) if known else None
        rows.append(Rate(name, value, firsts, rate))
    return rows


def leader_of(rows: Sequence[Rate], sources: Sequence[ActiveSource]) -> str:
    """The name of the source that leads, empty where nobody does; ``rows`` are the rates of ``sources``."""
    compared = [(row, active) for row, active in zip(rows, sources, strict=True) if row.rate is not None]
    if len(compared) < 2:
        return ""
    return max(compared, key=lambda pair: (pair[0].rate or 0.0, pair[1].adapter_id is not None))[0].source


def leader(project_folder: Path, codebook: Codebook, sources: Sequence[ActiveSource], weights: MixingWeights) -> str:
    """Who leads among the sources that propose now, with the weights in force; empty where nobody does.

    Raises TrainingError as ``standing_in_force`` does.
    """
    standing = standing_in_force(project_folder, codebook)
    return leader_of(rates(standing, sources, weights), sources) if standing else ""
