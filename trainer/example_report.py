"""What a round learns from and is judged on: documents per label and side, leaks, rare codes, silver."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from label_configs.codebook import Codebook
from label_configs.codes import Kind
from label_configs.records import VerifiedExample
from ml_backend.atomic import write_atomically
from trainer.leaks import LEAKS_FILE, Leak, write_leaks
from trainer.silver import SilverTested

REPORT_FILE = "examples.json"
RARE = 10  # training documents; a label with fewer is called rare
SHOWN = 20  # leaks on the screen; the file has them all


@dataclass(frozen=True, slots=True)
class LabelCount:
    """How many documents carry a label: verified ones trained on, of the holdout, silver ones; shares of each side.

    ``rejected`` counts the training documents whose coders were shown it and struck it out.
    """

    label: str
    training: int
    training_share: float | None
    holdout: int
    holdout_share: float | None
    silver: int
    rejected: int


@dataclass(frozen=True)
class ExampleReport:
    """Counts of documents; ``unlabelled`` are those that no code of the codebook holds for, by side.

    ``tested`` says how often the silver of earlier rounds was right, None where there is no silver; ``notes`` say in
    words what hinders learning or judging.
    """

    training: int
    holdout: int
    silver: int
    unlabelled: Mapping[str, int]
    labels: tuple[LabelCount, ...]
    leaks: tuple[Leak, ...]
    tested: SilverTested | None
    notes: tuple[str, ...]

    @classmethod
    def of(
        cls,
        examples: Sequence[VerifiedExample],
        codebook: Codebook,
        leaks: Sequence[Leak] = (),
        tested: SilverTested | None = None,
        notes: Sequence[str] = (),
    ) -> ExampleReport:
        """The report of ``examples``, which are without the training copies of ``leaks``."""
        sides: dict[str, list[VerifiedExample]] = {"training": [], "holdout": [], "silver": []}
        for one in examples:
            sides["holdout" if one.holdout else "silver" if one.silver else "training"].append(one)
        carried = {side: Counter(label for one in own for label in set(one.labels)) for side, own in sides.items()}
        struck = Counter(label for one in sides["training"] for label in set(one.rejected))
        training, holdout = len(sides["training"]), len(sides["holdout"])
        labels = tuple(
            LabelCount(
                key, carried["training"][key], _share(carried["training"][key], training), carried["holdout"][key],
                _share(carried["holdout"][key], holdout), carried["silver"][key], struck[key],
            )
            for key in codebook.label_keys
        )  # fmt: skip
        unlabelled = {side: sum(not one.labels for one in own) for side, own in sides.items()}
        told = (*_notes(labels, training, holdout), *notes)
        return cls(
            training, holdout, len(sides["silver"]), unlabelled if codebook.kind is not Kind.EXCLUSIVE else {},
            labels, tuple(leaks), tested, told,
        )  # fmt: skip

    def as_json(self) -> dict[str, Any]:
        """Plain data for ``json.dumps``; what is undefined is null."""
        data = asdict(self)
        if self.tested is not None:
            data["tested"] |= {"share": self.tested.share}
        return data

    def save(self, folder: Path) -> None:
        """Write ``examples.json`` and ``leaks.csv``. Raises EnvironmentFault where they cannot be written."""
        write_atomically(folder / REPORT_FILE, json.dumps(self.as_json(), indent=2, ensure_ascii=False) + "\n")
        write_leaks(folder / LEAKS_FILE, self.leaks)

    def as_text(self) -> RenderableType:
        """For a terminal: the labels as a table, below it leaks and what there is to say."""
        with_silver, with_rejected = self.silver > 0, any(one.rejected for one in self.labels)
        table = Table()
        table.add_column("label", overflow="fold")
        for name in ("training", "share", "holdout", "share"):
            table.add_column(name, justify="right")
        for name, there in (("silver", with_silver), ("rejected", with_rejected)):
            if there:
                table.add_column(name, justify="right")
        for one in self.labels:
            more = [str(one.silver)] * with_silver + [str(one.rejected)] * with_rejected
            table.add_row(
                one.label, str(one.training), _percent(one.training_share), str(one.holdout),
                _percent(one.holdout_share), *more,
            )  # fmt: skip
        head = f"{self.training} verified documents to train on, {self.holdout} to judge on."
        return Group(Text(head), table, *(Text(line, overflow="fold") for line in self._lines()))

    def _lines(self) -> Iterator[str]:
        if any(self.unlabelled.values()):
            training, holdout = self.unlabelled["training"], self.unlabelled["holdout"]
            yield f"No code holds for {training} of those to train on and {holdout} of those to judge on."
        yield f"{len(self.leaks)} leaks: training documents that are like one of the holdout, left out of training."
        for leak in self.leaks[:SHOWN]:
            yield f"  {leak.training_id} is like {leak.holdout_id} ({leak.likeness.value}, {leak.similarity:g})"
        if len(self.leaks) > SHOWN:
            yield f"  and {len(self.leaks) - SHOWN} more"
        if self.silver:
            yield f"{self.silver} silver documents, which no coder saw, are trained on too."
        if self.tested is not None and self.tested.documents:
            yield (
                f"Of {self.tested.documents} documents that were silver in earlier rounds coders verified "
                f"{self.tested.verified}; silver was right for {self.tested.right} of these."
            )
        yield from self.notes


def report_files(folder: Path) -> list[str]:
    """The names of the files that ``ExampleReport.save`` wrote to ``folder``: they are kept beside the adapter."""
    return [name for name in (REPORT_FILE, LEAKS_FILE) if (folder / name).exists()]


def _notes(labels: Sequence[LabelCount], training: int, holdout: int) -> Iterator[str]:
    without_training = [one.label for one in labels if not one.training]
    without_holdout = [one.label for one in labels if one.training and not one.holdout]
    rare = [f"{one.label} ({one.training})" for one in labels if 0 < one.training < RARE]
    if without_training:
        yield f"Without a training document, so never learned: {', '.join(without_training)}."
    if without_holdout:
        yield f"Without a holdout document, so never judged: {', '.join(without_holdout)}."
    if rare:
        yield (
            f"Rare, with fewer than {RARE} training documents: {', '.join(rare)}; `training.balance`, weights or "
            "sampling, makes them count more."
        )
    if not training or not holdout:
        side = "holdout" if training else "training"
        yield f"There is no {side} document: verify more, or change `training.holdout_share`."


def _share(count: int, total: int) -> float | None:
    return round(count / total, 4) if total else None


def _percent(share: float | None) -> str:
    return "–" if share is None else f"{100 * share:.1f} %"
