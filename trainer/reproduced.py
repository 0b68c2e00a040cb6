"""What came of building an adapter again: bit for bit the same, or how far from it in weights, codes and figures."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from rich.console import Group
from rich.table import Table
from rich.text import Text

from trainer.adapter_list import FIGURES, figure
from trainer.circumstances import Difference
from trainer.compared_weights import ComparedWeights
from trainer.evaluation.metrics import measure
from trainer.fine_tuning import predictions_in
from trainer.tuning import FineTuning

Figures = Mapping[str, float | None]


@dataclass(frozen=True)
class ComparedAnswers:
    """What both adapters say of ``documents`` held out: ``same`` of them get the same codes from both.

    Figures on the holdout: ``recorded`` in the manifest (empty where it has none), of the ``published`` adapter asked
    now, of the ``rebuilt`` one.
    """

    documents: int
    same: int
    recorded: Figures
    published: Figures
    rebuilt: Figures

    @property
    def share(self) -> float | None:
        """Share of the documents with the same codes; None without any."""
        return self.same / self.documents if self.documents else None


@dataclass(frozen=True)
class Reproduced:
    """An adapter built again in ``folder``, compared with the published one; ``tolerance`` bounds ``relative``."""

    adapter_id: str
    folder: str
    weights: ComparedWeights
    tolerance: float
    holdout: ComparedAnswers
    differences: tuple[Difference, ...]
    notes: tuple[str, ...]
    seconds: float

    @property
    def within(self) -> bool:
        """Whether the weights are the same, or as near as the tolerance asks for."""
        relative = self.weights.relative
        return self.weights.equal or (relative is not None and relative <= self.tolerance)

    def as_json(self) -> dict[str, Any]:
        """Plain data, with what follows from it: ``equal``, ``within``, ``share``."""
        data = asdict(self) | {"equal": self.weights.equal, "within": self.within}
        data["holdout"]["share"] = self.holdout.share
        return data

    def as_text(self) -> Group:
        """The verdict, the figures side by side, and what differed."""
        holdout = self.holdout
        table = Table("", "recorded", "published, asked now", "rebuilt", title=f"{holdout.documents} holdout documents")
        for name in FIGURES:
            row = [figure(figures.get(name)) for figures in (holdout.recorded, holdout.published, holdout.rebuilt)]
            table.add_row(name.replace("_", " "), *row)
        return Group(table, *(Text(line, overflow="fold") for line in self._lines()))

    def _lines(self) -> Iterator[str]:
        weights = self.weights
        if weights.equal:
            yield f"Adapter {self.adapter_id} is reproduced bit for bit: SHA-256 {weights.rebuilt}."
        elif weights.relative is None or weights.largest is None:
            yield f"Adapter {self.adapter_id} is not reproduced: the rebuilt one has other tensors."
        else:
            told = "within" if self.within else "beyond"
            yield (
                f"Adapter {self.adapter_id} is not reproduced bit for bit: its weights differ by {weights.largest:.3g} "
                f"at most, by {weights.relative:.3g} relatively (Frobenius norm), {told} the tolerance of "
                f"{self.tolerance:g}."
            )
        if weights.settings:
            yield f"Of adapter_config.json differ: {', '.join(weights.settings)}."
        yield f"{self.holdout.same} of {self.holdout.documents} holdout documents get the same codes from both."
        yield from (f"Then and now: {difference}." for difference in self.differences)
        if not self.differences and not weights.equal:
            yield "Nothing is known to differ between then and now; was the manifest, or this machine, changed by hand?"
        yield f"Built in {self.seconds:.0f} s; it lies in {self.folder}."


def compared_answers(tuning: FineTuning, outcome: Mapping[str, Any], manifest: Mapping[str, Any]) -> ComparedAnswers:
    """What ``outcome``'s two adapters, the new one and the published, said of the holdout of ``tuning``."""
    predicted = predictions_in(outcome)
    rebuilt, published = predicted["new"], predicted["current"]
    same = sum(set(one) == set(other) for one, other in zip(rebuilt, published, strict=True))
    codebook = tuning.codebook

    def figures(labels: list[tuple[str, ...]]) -> Figures:
        return _chosen(asdict(measure(tuning.truth, labels, codebook.label_keys, kind=codebook.kind)))

    recorded = (manifest.get("metrics") or {}).get("new")
    return ComparedAnswers(
        len(tuning.truth), same, _chosen(recorded) if recorded else {}, figures(published), figures(rebuilt)
    )


def _chosen(metrics: Mapping[str, Any]) -> Figures:
    return {name: metrics.get(name) for name in FIGURES}
