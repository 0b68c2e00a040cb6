"""What a round says of all sources on its holdout, for ``ml_backend.leading``, and what coders say of them since."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime

import numpy as np

from label_configs.codebook import Codebook
from label_configs.records import Decision, Proposal, chosen_labels
from ml_backend.experiment import Project
from ml_backend.leading import Judged, Standing, identity_of, save_standing
from ml_backend.mixing import Evidence
from ml_backend.source_config import ADAPTER_SOURCE
from ml_backend.versions import active_sources
from trainer.bars import CHEAP, bars_of
from trainer.fine_tuning import FineTuned
from trainer.gate_metrics import LabelSets, LabelTable
from trainer.tuning import FineTuning

Asked = tuple[tuple[str, str], LabelSets]  # a source and its identity, what it chose for each holdout document

_DIGITS = 6  # of evidence, as the weights' file has it


def keep_standing(project: Project, tuning: FineTuning, tuned: FineTuned, proposals: Iterable[Proposal]) -> None:
    """Keep what the round found of the sources; where it could tell nothing, what an earlier one found stays.

    ``proposals`` are those read with the examples: a source that is no bar is judged by those of its present version,
    where there is one for every holdout document. Raises EnvironmentFault or TrainingError.
    """
    truth, gate = tuning.truth, tuning.gate
    if len(truth) < gate.minimum:
        return
    asked = dict([*_adapters(tuning, tuned), *_bars(project, tuning, tuned), *_others(project, tuning, proposals)])
    table = LabelTable.of(truth, list(asked.values()), tuning.codebook.kind)
    values = table.scores(gate.metric, np.ones((1, len(truth))))[:, 0]
    if np.isnan(values).any():
        return
    judged = tuple(Judged(*who, float(value)) for who, value in zip(asked, values, strict=True))
    save_standing(
        project.folder,
        Standing(tuning.id, gate.metric, len(truth), datetime.now(UTC), tuning.codebook.fingerprint, judged),
    )


def _adapters(tuning: FineTuning, tuned: FineTuned) -> Iterator[Asked]:
    if tuning.current is not None:
        yield (ADAPTER_SOURCE, tuning.current), tuned.current
    yield (ADAPTER_SOURCE, tuned.adapter.id), tuned.new


def _bars(project: Project, tuning: FineTuning, tuned: FineTuned) -> Iterator[Asked]:
    """A probe among them that waits for its first snapshot, too: it proposes as soon as there is one.

    A source that winnow.yaml has no longer, or otherwise, since the round began is left out.
    """
    configs = {config.name: config for config in project.experiment.sources}
    unchanged = set(tuning.bars).intersection(bars_of(configs.values(), project.home))
    for bar in (bar for bar in tuning.bars if bar in unchanged and bar.key in tuned.predicted):
        yield (bar.name, identity_of(configs[bar.name])), tuned.predicted[bar.key]


def _others(project: Project, tuning: FineTuning, proposals: Iterable[Proposal]) -> Iterator[Asked]:
    """Sources that have proposed for every holdout document in their present version."""
    documents = [example.document_id for example in tuning.examples if example.holdout]
    made = {(one.source, one.version, one.document_id): one for one in proposals}
    for active in active_sources(project, None, pushed=True):
        name = active.config.name
        if active.config.kind in CHEAP or not all((name, active.version, one) in made for one in documents):
            continue
        own = [made[name, active.version, one] for one in documents]
        yield (name, identity_of(active.config, active.adapter_id)), [_chosen(one, tuning.codebook) for one in own]


def _chosen(proposal: Proposal, codebook: Codebook) -> tuple[str, ...]:
    return tuple(label for label in chosen_labels(proposal, kind=codebook.kind) if label in codebook.label_keys)


def firsts_since(decisions: Sequence[Decision], standing: Standing, adapter_id: str | None) -> Mapping[str, Evidence]:
    """By source, on how many documents coders judged it since the round, and kept what it put first among them.

    A document counts once, however many coders decided on it. Of adapters only the one in use counts.
    """
    since = [d for d in decisions if d.shown and d.updated_at and d.updated_at >= standing.judged_at]
    coders: dict[str, int] = {}
    for decision in since:
        coders[decision.document_id] = coders.get(decision.document_id, 0) + 1
    found: dict[str, Evidence] = {}
    for decision in since:
        part = 1 / coders[decision.document_id]
        for source, label in _firsts(decision, adapter_id).items():
            found[source] = found.get(source, Evidence()) + Evidence(part * (label in decision.kept), part)
    return {name: Evidence(round(one.kept, _DIGITS), round(one.shown, _DIGITS)) for name, one in found.items()}


def _firsts(decision: Decision, adapter_id: str | None) -> dict[str, str]:
    """source -> the candidate to which it gave most."""
    most: dict[str, tuple[float, str]] = {}
    for candidate in decision.shown.candidates if decision.shown else ():
        for by in candidate.proposers:
            if by.source == ADAPTER_SOURCE and not by.version.endswith(f"@{adapter_id}"):
                continue
            if by.source not in most or by.probability > most[by.source][0]:
                most[by.source] = by.probability, candidate.label
    return {source: label for source, (_, label) in most.items()}
