"""How good each code is, and which are taken for one another."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from label_configs.codes import LEVEL_MARK
from trainer.evaluation.blocks import Block, Cell, Column, Finding, Format, Heatmap, Section, Table, Tone
from trainer.evaluation.code_rates import RATES as NAMES
from trainer.evaluation.definitions import RATES, columns
from trainer.evaluation.judged import OTHER, Judged, Labels, Role
from trainer.evaluation.measured import Measured

WORST = 3  # codes named in a finding
CONFUSED = 15  # pairs of codes in a table
LEAST = 10  # documents of a code that a finding may rest on

Rows = Sequence[tuple[Judged, Measured]]


def code_section(rows: Rows, codebook: Labels) -> Section:
    """A table for each that is judged, a row for each label; for graded codebooks one of the codes' presence too."""
    blocks: list[Table] = []
    for one, measured in rows:
        if not measured.n:
            continue
        keys = [*codebook.label_keys, OTHER][: len(measured.codes)]
        blocks.append(_table(f"codes_{one.key}", f"Codes: {one.label}", keys, measured, NAMES))
        if measured.presence:
            codes = list(dict.fromkeys(key.rpartition(LEVEL_MARK)[0] for key in codebook.label_keys))
            blocks.append(_presence(f"presence_{one.key}", one.label, codes, measured))
    return Section(
        "performance_codes",
        "Performance by code",
        tuple(_worst(rows, codebook)),
        tuple(blocks),
        ("Documents are those with the code in the truth; a code without any is undefined, n = 0, whatever is "
         "predicted.",) if blocks else ("Nobody can be judged yet.",),
    )  # fmt: skip


def confusion_section(rows: Rows, codebook: Labels) -> Section:
    """Exclusive: a matrix of truths and predictions and the pairs most often confused; else TP, FP, FN, TN."""
    blocks: list[Block] = []
    for one, measured in rows:
        if not measured.n:
            continue
        if measured.confusion is not None:
            blocks += _matrix(one, measured, codebook)
        else:
            blocks.append(_cells(one, measured, [*codebook.label_keys, OTHER]))
    return Section(
        "confusion",
        "Confusions",
        blocks=tuple(blocks),
        notes=("Truth in rows, what was said in columns, in documents.",) if blocks else ("Nobody can be judged yet.",),
    )


def _table(key: str, title: str, keys: Sequence[str], measured: Measured, names: Sequence[str]) -> Table:
    heads = (Column("code", "code"), Column("documents", "documents"), Column("predicted", "predicted"))
    cells: tuple[tuple[Cell, ...], ...] = tuple(
        (label, held, called, *(row[name] for name in names))
        for label, held, called, row in zip(
            keys, measured.truth.tolist(), measured.predicted.tolist(), measured.codes, strict=True
        )
    )
    return Table(key, title, (*heads, *columns(RATES, names)), cells)


def _presence(key: str, label: str, codes: Sequence[str], measured: Measured) -> Table:
    names = (*NAMES, "quadratic_kappa")
    cells: tuple[tuple[Cell, ...], ...] = tuple(
        (code, *(row[name] for name in names)) for code, row in zip(codes, measured.presence, strict=True)
    )
    return Table(key, f"Codes whatever their level: {label}", (Column("code", "code"), *columns(RATES, names)), cells)


def _matrix(one: Judged, measured: Measured, codebook: Labels) -> list[Block]:
    matrix = measured.confusion
    assert matrix is not None
    shown = matrix if matrix[:, -1].any() else matrix[:, :-1]
    names = [*codebook.label_keys, OTHER]
    values = tuple(tuple(float(count) for count in row) for row in shown.tolist())
    heat = Heatmap(
        f"confusion_{one.key}", f"Confusions: {one.label}", codebook.label_keys, tuple(names[: shown.shape[1]]), values,
        0.0, float(max(1, shown.max())), Format.PLAIN, row_title="truth", column_title="said",
    )  # fmt: skip
    wrong = [(int(matrix[true, said]), true, said) for true, said in np.argwhere(matrix > 0).tolist() if true != said]
    if not wrong:
        return [heat]
    heads = (Column("truth", "truth"), Column("said", "said"), Column("documents", "documents"))
    rows: list[tuple[Cell, ...]] = [
        (names[true], names[said], count, count / int(measured.truth[true]))
        for count, true, said in sorted(wrong, key=lambda pair: (-pair[0], pair[1], pair[2]))[:CONFUSED]
    ]
    share = Column("share", "share of the code", Format.PERCENT)
    return [heat, Table(f"confused_{one.key}", f"Most often confused: {one.label}", (*heads, share), tuple(rows))]


def _cells(one: Judged, measured: Measured, names: Sequence[str]) -> Table:
    heads = ("code", "TP", "FP", "FN", "TN")
    both = zip(names, measured.hits.tolist(), measured.truth.tolist(), measured.predicted.tolist(), strict=False)
    rows = tuple(
        (name, hits, called - hits, held - hits, measured.n - held - called + hits) for name, hits, held, called in both
    )
    own = tuple(Column(head.lower(), head) for head in heads)
    return Table(f"confusion_{one.key}", f"Right and wrong by code: {one.label}", own, rows)


def _worst(rows: Rows, codebook: Labels) -> list[Finding]:
    """The codes that the best source is worst at."""
    sources = [(one, m) for one, m in rows if one.role is not Role.CODER and m.overall["accuracy"].value is not None]
    if not sources:
        return []
    best, measured = max(sources, key=lambda pair: pair[1].overall["accuracy"].value or 0.0)
    scored = [
        (row["f1"].value, key, held)
        for row, key, held in zip(measured.codes, codebook.label_keys, measured.truth.tolist(), strict=False)
        if row["f1"].value is not None and held >= LEAST
    ]
    found = []
    if scored:
        named = ", ".join(f"{key} ({f1:.2f}, {held} documents)" for f1, key, held in sorted(scored)[:WORST])
        found.append(Finding(f"{best.label} is worst at {named}, by F1."))
    few = [key for key, held in zip(codebook.label_keys, measured.truth.tolist(), strict=False) if held < LEAST]
    if few:
        more = f" and {len(few) - 5} more" if len(few) > 5 else ""
        found.append(
            Finding(
                f"Fewer than {LEAST} documents to judge these codes by: {', '.join(few[:5])}{more}; code more of them.",
                Tone.NEXT,
            )
        )
    return found
