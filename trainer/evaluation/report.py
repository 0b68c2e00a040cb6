"""How good is every source, the adapter among them, what does it cost, and how much work did its candidates save?"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from label_configs.codebook import Codebook
from label_configs.records import Arm, CandidateSet, Decision, Proposal, VerifiedExample, chosen_labels
from ml_backend.calibration import TemperatureFit, temperature_fit
from ml_backend.probabilities import probabilities_of
from ml_backend.source_config import SourceConfig, SourceKind
from trainer.evaluation.costs import Costs, costs_of
from trainer.evaluation.effort import EffortRow, effort_by_arm
from trainer.evaluation.metrics import Metrics, measure
from trainer.evaluation.mixing import MixingReport
from trainer.evaluation.verdicts import GateReport

NAMED = 5  # labels in a note


@dataclass(frozen=True, slots=True)
class SourceRow:
    """A source in one version. ``covered`` counts the holdout documents that it proposed for; ``metrics`` and
    ``calibration`` are over those that every source proposed for."""

    name: str
    version: str
    covered: int
    metrics: Metrics
    calibration: TemperatureFit

    @property
    def n(self) -> int:
        """Number of documents that the figures rest on, the same for every source."""
        return self.metrics.n

    @property
    def accuracy(self) -> float | None:
        """Share of documents whose whole set of labels is right."""
        return self.metrics.accuracy

    @property
    def macro_f1(self) -> float | None:
        """Mean F1 of the labels with support in the truth."""
        return self.metrics.macro_f1

    @property
    def balanced_accuracy(self) -> float | None:
        """See ``metrics.measure``."""
        return self.metrics.balanced_accuracy


@dataclass(frozen=True, slots=True)
class CostRow:
    """What a source costs, over all documents that it proposed for in its version, the holdout and others."""

    name: str
    costs: Costs


@dataclass(frozen=True, slots=True)
class KeptRow:
    """What coders did with a source's candidates: ``proposed`` of them were shown, ``kept`` were kept."""

    name: str
    proposed: int
    kept: int

    @property
    def rate(self) -> float | None:
        """kept / proposed."""
        return self.kept / self.proposed if self.proposed else None


@dataclass(frozen=True, slots=True)
class HeldTruth:
    """Of ``n`` documents with verified labels and a record of what was shown, ``hits`` had them all shown."""

    hits: int
    n: int

    @property
    def rate(self) -> float | None:
        """hits / n."""
        return self.hits / self.n if self.n else None


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Sources on the same ``n`` of ``holdout`` documents, what they cost, and candidates as coders judged them.

    ``effort`` is the coders', by arm. Candidates are judged by first decisions, not by those on documents shown again.
    In words, ``notes`` say what the figures rest on, ``advice`` what would make a source's probabilities truer.
    ``mixing`` is None where all sources weigh the same, ``gate`` before the first round.
    """

    holdout: int
    n: int
    sources: tuple[SourceRow, ...]
    costs: tuple[CostRow, ...]
    kept: tuple[KeptRow, ...]
    effort: tuple[EffortRow, ...]
    candidates_held_truth: HeldTruth
    mean_candidates: float | None
    notes: tuple[str, ...]
    advice: tuple[str, ...]
    mixing: MixingReport | None = None
    gate: GateReport | None = None

    def as_json(self) -> dict[str, Any]:
        """Plain data for ``json.dumps``; what is undefined is null."""
        return asdict(self) | {
            "kept": [asdict(row) | {"rate": row.rate} for row in self.kept],
            "candidates_held_truth": asdict(self.candidates_held_truth) | {"rate": self.candidates_held_truth.rate},
            "mixing": self.mixing.as_json() if self.mixing else None,
            "gate": self.gate.as_json() if self.gate else None,
        }


def evaluate(
    examples: Iterable[VerifiedExample],
    proposals: Iterable[Proposal],
    decisions: Iterable[Decision],
    *,
    codebook: Codebook,
    versions: Mapping[str, str] | None = None,
    configs: Mapping[str, SourceConfig] | None = None,
    mixing: MixingReport | None = None,
    gate: GateReport | None = None,
) -> Evaluation:
    """Judge every source on one and the same holdout, and the candidates on every verified document.

    ``examples`` are all verified examples; a source is measured on the holdout ones for which *every* source has a
    proposal, so that no figure rests on other documents than the next one. Each source counts in one version: that of
    ``versions``, else its newest, a version being newer than those before it in a document's list of proposals.
    A source without any proposal on the holdout is left out, and a note says so. ``configs`` are the sources as
    winnow.yaml has them, for prices and temperatures; ``mixing`` and ``gate`` go into the report as they are. Proposals
    and examples with a label that the codebook has not are left out, and a note says so.
    """
    examples, decisions, configs = list(examples), list(decisions), configs or {}
    examples, proposals, strange = _of_codebook(examples, list(proposals), codebook)
    holdout = {example.document_id: example for example in examples if example.holdout}
    chosen = _one_version_each(proposals, versions or {})
    on_holdout = {
        name: {document_id: proposal for document_id, proposal in own.items() if document_id in holdout}
        for name, (_, own) in chosen.items()
    }
    present = {name: own for name, own in on_holdout.items() if own}
    common = sorted(set.intersection(*(set(own) for own in present.values()))) if present else []
    truth = [holdout[document_id].labels for document_id in common]
    rows = []
    for name, own in present.items():
        asked = [own[document_id] for document_id in common]
        predicted = [chosen_labels(proposal, kind=codebook.kind) for proposal in asked]
        metrics = measure(truth, predicted, codebook.label_keys, kind=codebook.kind)
        fit = temperature_fit(probabilities_of(asked, codebook), truth, codebook)
        rows.append(SourceRow(name, chosen[name][0], len(own), metrics, fit))
    judged = [decision for decision in decisions if decision.arm is Arm.REVIEW and not decision.repeat]
    shown = _shown(judged)
    return Evaluation(
        holdout=len(holdout),
        n=len(common),
        sources=tuple(rows),
        costs=tuple(
            CostRow(name, costs_of(list(own.values()), configs[name].price if name in configs else None))
            for name, (_, own) in chosen.items()
        ),
        kept=_kept(judged),
        effort=effort_by_arm(decisions),
        candidates_held_truth=_held_truth(examples, shown),
        mean_candidates=sum(len(one.candidates) for one in shown.values()) / len(shown) if shown else None,
        notes=(
            *strange,
            *_notes({name: len(own) for name, own in on_holdout.items()}, len(holdout), len(common)),
            *_tempered(
                row.name
                for row in rows
                if row.name in configs
                and configs[row.name].kind is SourceKind.ADAPTER
                and configs[row.name].temperature != 1
            ),
        ),
        advice=tuple(line for row in rows if (line := _advice(row, configs.get(row.name)))),
        mixing=mixing,
        gate=gate,
    )


def _of_codebook(
    examples: Sequence[VerifiedExample], proposals: Sequence[Proposal], codebook: Codebook
) -> tuple[list[VerifiedExample], list[Proposal], list[str]]:
    """Those whose labels are all the codebook's, and notes on the others: a project may have had another codebook."""
    known = set(codebook.label_keys)
    verified = [one for one in examples if known.issuperset(one.labels)]
    proposed = [one for one in proposals if known.issuperset(scored.label for scored in one.labels)]
    labels = {label for one in examples for label in one.labels}
    labels |= {scored.label for one in proposals for scored in one.labels}
    counts = (
        (len(examples) - len(verified), "verified documents"), (len(proposals) - len(proposed), "proposals")
    )  # fmt: skip
    named = ", ".join(sorted(labels - known)[:NAMED])
    return verified, proposed, [
        f"{count} {what} have labels that codebook {codebook.name} has not ({named}) and are left out"
        for count, what in counts
        if count
    ]  # fmt: skip


def _one_version_each(
    proposals: Sequence[Proposal], versions: Mapping[str, str]
) -> dict[str, tuple[str, dict[str, Proposal]]]:
    """source -> (version, document id -> proposal), sources in the order in which they first appear."""
    by_source: dict[str, list[Proposal]] = {}
    for proposal in proposals:
        by_source.setdefault(proposal.source, []).append(proposal)
    chosen = {}
    for name, own in by_source.items():
        version = versions.get(name) or _newest_version(own)
        chosen[name] = (version, {proposal.document_id: proposal for proposal in own if proposal.version == version})
    return chosen


def _newest_version(proposals: Sequence[Proposal]) -> str:
    """The version that no other follows in any document's list; of several such, the last to appear."""
    latest: dict[str, str] = {}
    superseded: set[str] = set()
    for proposal in proposals:
        before = latest.get(proposal.document_id, proposal.version)
        if before != proposal.version:
            superseded.add(before)
        latest[proposal.document_id] = proposal.version
    # Documents are listed one after the other, so the last proposal of all may be one that was never renewed.
    newest = [proposal.version for proposal in proposals if proposal.version not in superseded]
    return newest[-1] if newest else proposals[-1].version


def _kept(decisions: Iterable[Decision]) -> tuple[KeptRow, ...]:
    proposed: Counter[str] = Counter()
    kept: Counter[str] = Counter()
    for decision in decisions:
        if not decision.verified or decision.shown is None:
            continue
        for candidate in decision.shown.candidates:
            for proposer in candidate.proposers:
                proposed[proposer.source] += 1
                kept[proposer.source] += candidate.label in decision.kept
    return tuple(KeptRow(name, proposed[name], kept[name]) for name in proposed)


def _shown(decisions: Iterable[Decision]) -> dict[str, CandidateSet]:
    """document id -> what the coder of its last decision saw."""
    return {
        decision.document_id: decision.shown
        for decision in decisions
        if decision.verified and decision.shown is not None
    }


def _held_truth(examples: Iterable[VerifiedExample], shown: Mapping[str, CandidateSet]) -> HeldTruth:
    hits = [
        set(example.labels) <= {candidate.label for candidate in shown[example.document_id].candidates}
        for example in examples
        # No label at all would be held by any candidates, even by none.
        if example.labels and example.document_id in shown
    ]
    return HeldTruth(sum(hits), len(hits))


def _advice(row: SourceRow, config: SourceConfig | None) -> str:
    """What temperature would help; empty where none does, or where an adapter's manifest says it."""
    fit = row.calibration
    if fit.temperature is None or config is None or config.kind is SourceKind.ADAPTER:
        return ""
    # The proposals were made at the source's present temperature: the fitted one comes on top of it.
    temperature = round(config.temperature * fit.temperature, 3)
    return (
        f"source {row.name}: `temperature: {temperature:g}` in winnow.yaml lowers ECE from {fit.ece:.3f} to "
        f"{fit.ece_tempered:.3f} (cross-fitted)"
    )


def _tempered(adapters: Iterable[str]) -> Iterable[str]:
    for name in adapters:
        yield (
            f"{name} proposes at the temperature that its round fitted on the holdout, so its ECE here is a little too "
            "good; its manifest has the cross-fitted one"
        )


def _notes(covered: Mapping[str, int], holdout: int, common: int) -> tuple[str, ...]:
    notes = [
        f"{name} has no proposals for the holdout and is left out"
        if count == 0
        else f"{name} has proposals for {count} of {holdout} holdout documents"
        for name, count in covered.items()
        if count < holdout
    ]
    if notes and common < holdout and any(covered.values()):
        notes.append(f"all are measured on the {common} documents that they share")
    if not holdout:
        notes.append("no holdout document is verified yet")
    return tuple(notes)
