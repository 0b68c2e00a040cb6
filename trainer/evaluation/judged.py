"""Who is judged: sources, earlier adapters and coders, each with what they said and what is taken for true."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

import numpy as np

from label_configs.codebook import Codebook, Kind
from label_configs.records import Decision, Proposal, chosen_labels
from ml_backend.source_config import ADAPTER_SOURCE, SourceKind
from ml_backend.versions import learns
from trainer.consensus import in_order, settle
from trainer.evaluation.exclusive import exclusive
from trainer.evaluation.graded import graded
from trainer.evaluation.measured import Measured
from trainer.evaluation.multilabel import Bools, multilabel
from trainer.evaluation.resampling import SAMPLES, SEED, Floats, Ints
from trainer.evaluation.study import Study

OTHER = "(none of the codes)"
ENOUGH = 30  # random documents to rest on, where there is no holdout


class Labels(Protocol):
    """The labels that somebody chooses from: a codebook, or the codes that stand in a file."""

    @property
    def kind(self) -> Kind: ...
    @property
    def label_keys(self) -> tuple[str, ...]: ...
    @property
    def levels(self) -> tuple[str, ...]: ...


class Role(StrEnum):
    """Whose labels are judged."""

    SOURCE = "source"
    ADAPTER = "adapter"
    CODER = "coder"


@dataclass(frozen=True)
class Judged:
    """Somebody's labels on ``documents``, and the true ones: in the same order, keys of the codebook.

    ``key`` is ``source name@version`` or ``coder id``; ``label`` is for people. ``proposals`` are the source's, in the
    same order, empty for coders. ``against`` says what is taken for true, ``strange`` names the labels predicted that
    the codebook has not: they are wrong.
    """

    key: str
    label: str
    role: Role
    documents: tuple[str, ...]
    truth: tuple[tuple[str, ...], ...]
    predicted: tuple[tuple[str, ...], ...]
    against: str
    proposals: tuple[Proposal, ...] = ()
    strange: tuple[str, ...] = field(default=())

    def of(self, documents: Collection[str]) -> Judged:
        """The same on those of ``documents`` only."""
        wanted = frozenset(documents)
        chosen = [at for at, name in enumerate(self.documents) if name in wanted]
        return Judged(
            self.key, self.label, self.role, tuple(self.documents[at] for at in chosen),
            tuple(self.truth[at] for at in chosen), tuple(self.predicted[at] for at in chosen), self.against,
            tuple(self.proposals[at] for at in chosen) if self.proposals else (), self.strange,
        )  # fmt: skip


@dataclass(frozen=True)
class Basis:
    """The ``documents`` that sources are judged on; ``words`` say which of the ``usable`` ones they are.

    Usable is a document whose truth the codebook knows, exactly one code where one must hold. ``left_out`` counts the
    others with a truth, ``strange`` names the labels that the codebook has not. ``biased``: sources' doubt chose what
    was coded, and too few documents came in random order.
    """

    documents: frozenset[str]
    words: str
    usable: frozenset[str]
    strange: tuple[str, ...] = ()
    left_out: int = 0
    biased: bool = False


def measure(
    judged: Judged, codebook: Labels, *, weights: Floats | None = None, samples: int = SAMPLES, seed: int = SEED
) -> Measured:
    """All figures of one that is judged; rows of codes are in the order of ``codebook.label_keys``.

    Where several labels may hold and some that the codebook has not were predicted, one more column stands for these.
    ``weights`` [documents] are how many documents each stands for.
    """
    if codebook.kind is Kind.EXCLUSIVE:
        truth, predicted = code_numbers(judged.truth, codebook), code_numbers(judged.predicted, codebook)
        ranks = ranks_of(judged, codebook)
        keys = len(codebook.label_keys)
        return exclusive(truth, predicted, keys, ranks=ranks, weights=weights, samples=samples, seed=seed)
    true, guess = indicators_of(judged.truth, codebook), indicators_of(judged.predicted, codebook)
    if codebook.kind is Kind.GRADED:
        known = len(codebook.label_keys)
        levels = len(codebook.levels)
        return graded(true[:, :known], guess[:, :known], levels, weights=weights, samples=samples, seed=seed)
    if not guess[:, -1].any():
        true, guess = true[:, :-1], guess[:, :-1]
    return multilabel(true, guess, ranks=ranks_of(judged, codebook), weights=weights, samples=samples, seed=seed)


def code_numbers(labels: Sequence[tuple[str, ...]], codebook: Labels) -> Ints:
    """[documents]: the code's place in the codebook; -1 for no code, several, or one that it has not."""
    place = {key: at for at, key in enumerate(codebook.label_keys)}
    return np.array([place.get(own[0], -1) if len(own) == 1 else -1 for own in labels], dtype=np.int64)


def indicators_of(labels: Sequence[tuple[str, ...]], codebook: Labels) -> Bools:
    """[documents, labels + 1]: which hold; the last column is for labels that the codebook has not."""
    place = {key: at for at, key in enumerate(codebook.label_keys)}
    found = np.zeros((len(labels), len(place) + 1), dtype=np.bool_)
    for row, own in enumerate(labels):
        for key in own:
            found[row, place.get(key, -1)] = True
    return found


def ranks_of(judged: Judged, codebook: Labels) -> Ints | None:
    """[documents]: place of the first true label among the proposal's, from 1, 0 for none; None for coders."""
    if not judged.proposals:
        return None
    known = set(codebook.label_keys)
    found = np.zeros(len(judged.documents), dtype=np.int64)
    for row, (proposal, truth) in enumerate(zip(judged.proposals, judged.truth, strict=True)):
        true = known.intersection(truth)
        found[row] = next((at for at, one in enumerate(proposal.labels, 1) if one.label in true), 0)
    return found


def basis_of(study: Study) -> Basis:
    """What sources are judged on: the holdout where some of it has a truth, since nothing was trained on it.

    Else the documents that were coded in random order, where there are 30 of them, else all that have a truth.
    """
    truths, strange = _usable(study)
    usable = frozenset(name for name in truths if name in study.documents)
    holdout = frozenset(name for name in usable if study.documents[name].holdout)
    drawn = frozenset(name for name in usable if study.documents[name].random)
    biased = False
    if holdout:
        chosen, words = holdout, "holdout documents, which nothing was trained on"
    elif drawn == usable or len(drawn) < ENOUGH:
        chosen, words, biased = usable, "documents with a truth", drawn != usable
    else:
        chosen, words = drawn, "documents that were coded in random order"
    return Basis(chosen, words, usable, strange, len(study.truth) - len(usable), biased)


def judged_sources(study: Study, documents: Collection[str]) -> list[Judged]:
    """Every source in its version in force, and every other version of the adapter that proposed, on ``documents``.

    One without a proposal for any of them has no document: its figures are undefined. Order: as sources first appear.
    """
    wanted = frozenset(documents)
    by_version: dict[tuple[str, str], dict[str, Proposal]] = {}
    for proposal in study.proposals:
        by_version.setdefault((proposal.source, proposal.version), {})[proposal.document_id] = proposal
    found = []
    for source in dict.fromkeys([source for source, _ in by_version] + list(study.versions)):
        versions = [version for name, version in by_version if name == source]
        in_force = study.versions.get(source) or versions[-1]
        earlier = [version for version in versions if version != in_force] if source == ADAPTER_SOURCE else []
        for version in [in_force, *earlier]:
            own = by_version.get((source, version), {})
            label = source if version == in_force else f"{source} {version.rpartition('@')[2]}"
            role = Role.ADAPTER if source == ADAPTER_SOURCE else Role.SOURCE
            chosen = {name: one for name, one in own.items() if name in wanted and name in study.truth}
            found.append(_source(study, f"{source}@{version}", label, role, chosen))
    return found


def judged_coders(study: Study) -> list[Judged]:
    """Every coder against the gold file, or against what the *other* coders of each document agree on.

    A coder's last decision on each document counts, first ones only (no repeats), and none that is itself ground
    truth. Without another coder there is nothing to judge by: no document, figures undefined.
    """
    gold = "gold" in study.truth_from
    against = study.truth_from if gold else "what the other coders of each document agree on"
    usable, _ = _usable(study)
    by_document: dict[str, list[Decision]] = {}
    for decision in study.decisions:
        by_document.setdefault(decision.document_id, []).append(decision)
    rows: dict[str, list[tuple[str, tuple[str, ...], tuple[str, ...]]]] = {coder: [] for coder in study.coders}
    for name, decisions in by_document.items():
        for coder, own in _votes(decisions).items():
            truth = usable.get(name) if gold else _others(study.codebook, decisions, coder)
            if truth is not None and _fits(truth, study.codebook):
                rows[coder].append((name, truth, own))
    known = set(study.codebook.label_keys)
    return [
        Judged(
            f"coder {coder}", study.coder_name(coder), Role.CODER, *_columns(own), against,
            strange=_unknown((labels for _, _, labels in own), known),
        )
        for coder, own in rows.items()
    ]  # fmt: skip


def learned(study: Study, judged: Judged) -> bool:
    """Whether a source was made from what coders decided: an adapter, a probe, a prompt that shows examples.

    One whose configuration is not known is taken not to be.
    """
    source = judged.key.partition("@")[0]
    config = study.configs.get(source)
    if judged.role is Role.ADAPTER:
        return True
    return judged.role is Role.SOURCE and config is not None and (config.kind is SourceKind.ADAPTER or learns(config))


def _source(study: Study, key: str, label: str, role: Role, own: Mapping[str, Proposal]) -> Judged:
    predicted = tuple(tuple(dict.fromkeys(chosen_labels(one, kind=study.codebook.kind))) for one in own.values())
    strange = _unknown(predicted, set(study.codebook.label_keys))
    truth = tuple(tuple(study.truth[name]) for name in own)
    return Judged(key, label, role, tuple(own), truth, predicted, study.truth_from, tuple(own.values()), strange)


def _usable(study: Study) -> tuple[dict[str, tuple[str, ...]], tuple[str, ...]]:
    """Truths that the codebook knows, and the labels of others."""
    usable = {name: labels for name, labels in study.truth.items() if _fits(labels, study.codebook)}
    return usable, _unknown(study.truth.values(), set(study.codebook.label_keys))


def _fits(labels: Sequence[str], codebook: Labels) -> bool:
    several = codebook.kind is not Kind.EXCLUSIVE
    return (several or len(labels) == 1) and set(labels) <= set(codebook.label_keys)


def _unknown(labels: Iterable[Sequence[str]], known: set[str]) -> tuple[str, ...]:
    return tuple(sorted({key for own in labels for key in own} - known))


def _votes(decisions: Sequence[Decision]) -> dict[str, tuple[str, ...]]:
    usable = [one for one in decisions if one.verified and not one.repeat and not one.ground_truth]
    return {one.coder: tuple(dict.fromkeys(one.labels)) for one in in_order(usable)}


def _others(codebook: Codebook, decisions: Sequence[Decision], coder: str) -> tuple[str, ...] | None:
    others = [one for one in decisions if one.coder != coder]
    return settle(others, kind=codebook.kind, max_codes=codebook.max_codes).labels if others else None


Rows = Sequence[tuple[str, tuple[str, ...], tuple[str, ...]]]
Columns = tuple[tuple[str, ...], tuple[tuple[str, ...], ...], tuple[tuple[str, ...], ...]]


def _columns(rows: Rows) -> Columns:
    names, truths, labels = tuple(zip(*rows, strict=True)) if rows else ((), (), ())
    return names, truths, labels
