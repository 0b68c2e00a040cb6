"""The report in plain words: what is good enough, what is not, what to do next.

The sentences of all sections that are good news, bad news or advice are gathered, and these rules add what no section
can say alone:

    leader        the source in force with the highest accuracy, by its agreement with the truth beyond chance (Cohen's
                  kappa, in a codebook of several codes the mean over codes): from .800 on good enough to rely on, from
                  .667 on for tentative conclusions, below that a person has to see every document. The limits are
                  Krippendorff's for coders (Content Analysis, 2004, page 241); a source is held to the same.
    as a coder    the leader's accuracy against the median of the coders', each judged by the other coders.
    rivals        sources in force whose interval of accuracy overlaps the leader's, and that no paired test (McNemar,
                  Holm) has told apart from it: the cheapest of them may do.
    precision     documents to code until the interval of the leader's accuracy, and of the coders' alpha, is ±5 points:
                  it shrinks with the square root of the documents (Efron and Tibshirani, 1993, chapter 6).
    first         while nothing is verified: the next steps on the way there, and nothing else.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from statistics import median

from trainer.evaluation.agreement_words import RELIABLE, TENTATIVE
from trainer.evaluation.block_tables import by_key
from trainer.evaluation.blocks import Cell, Finding, Section, Table, Tone
from trainer.evaluation.figure import Figure
from trainer.evaluation.performance import FEW
from trainer.evaluation.study import Study

MOST = 8  # sentences of one kind; the sections have the others
HALF_WIDTH = 0.05  # of an interval that is narrow enough
ALPHA = 0.05  # of a paired test
CODER = "coder"  # role of those in the table of performance who are no sources
PLAIN_OF = ("effort", "costs")  # sections whose first plain sentence is worth a manager's while

Row = dict[str, Cell]


def summary_of(study: Study, sections: Sequence[Section]) -> Section:
    """A section whose findings are by tone: good, bad, warnings, what to do, the rest; at most ``MOST`` of each."""
    title = "In short"
    if not study.truth:
        return Section("summary", title, tuple(_first(study)))
    gathered = [*_of_figures(study, sections), *(finding for section in sections for finding in _worth(section))]
    found, left_out = [], 0
    for tone in (Tone.GOOD, Tone.BAD, Tone.WARNING, Tone.NEXT, Tone.PLAIN):
        own = list(dict.fromkeys(finding for finding in gathered if finding.tone is tone))
        found += own[:MOST]
        left_out += len(own[MOST:])
    notes = (f"{left_out} more findings stand in the sections.",) if left_out else ()
    return Section("summary", title, tuple(found), (), notes)


def _worth(section: Section) -> Iterator[Finding]:
    plain = [finding for finding in section.findings if finding.tone is Tone.PLAIN]
    yield from (finding for finding in section.findings if finding.tone is not Tone.PLAIN)
    yield from plain[:1] if section.key in PLAIN_OF else ()


def _first(study: Study) -> Iterator[Finding]:
    """What to do where nothing is verified yet."""
    project = study.project_id if study.project_id is not None else "N"
    yield Finding("No document is verified yet: nothing can be judged.", Tone.WARNING)
    if not study.documents:
        yield Finding(f"Import documents: `winnow import FILE --project {project}`.", Tone.NEXT)
    if not study.proposals:
        yield Finding(f"Have the sources propose codes: `winnow prelabel --project {project}`.", Tone.NEXT)
    if any(not decision.skipped for decision in study.decisions):
        yield Finding(
            f"Coders have decided, but nothing of it is settled: `winnow review --project {project}` lists ties and "
            "what cannot be used.", Tone.NEXT,
        )  # fmt: skip
    else:
        yield Finding(
            f"Have two coders code the same {FEW} documents, the holdout among them: then sources and coders can be "
            "judged.", Tone.NEXT,
        )  # fmt: skip


def _of_figures(study: Study, sections: Sequence[Section]) -> Iterator[Finding]:
    found = by_key(sections)
    rows = _rows(found.get("performance"), "performance")
    sources = [row for row in rows if _in_force(row, study) and _value(row, "accuracy") is not None]
    if sources:
        leader = max(sources, key=lambda row: _value(row, "accuracy") or 0.0)
        yield from _leader(leader)
        yield from _as_coder(leader, [row for row in rows if row.get("role") == CODER])
        yield from _rivals(leader, sources, _rows(found.get("comparison"), "comparison"))
        accuracy = leader["accuracy"]
        if isinstance(accuracy, Figure) and accuracy.n >= FEW and (more := _more(accuracy)):
            yield Finding(
                f"Code about {more:,} more holdout documents to know the accuracy of {leader['who']} within "
                f"{100 * HALF_WIDTH:g} points.", Tone.NEXT,
            )  # fmt: skip
    yield from _alpha(_rows(found.get("agreement"), "overall"))


def _in_force(row: Row, study: Study) -> bool:
    """Whether a row is of a source as it proposes now: others are called by their version too."""
    return row.get("role") != CODER and (not study.versions or row["who"] in study.versions)


def _leader(row: Row) -> Iterator[Finding]:
    kappa = row.get("kappa", row.get("macro_kappa"))
    if not isinstance(kappa, Figure) or kappa.value is None:
        return
    text = f"{row['who']} agrees with the truth beyond chance by a kappa of {_share(kappa)}: "
    if kappa.value >= RELIABLE:
        yield Finding(f"{text}good enough to rely on (from {_bare(RELIABLE)} on).", Tone.GOOD)
    elif kappa.value >= TENTATIVE:
        yield Finding(f"{text}good enough to propose, and for tentative conclusions, not to code alone.", Tone.WARNING)
    else:
        yield Finding(f"{text}not good enough to rely on; a person has to see every document.", Tone.BAD)


def _as_coder(leader: Row, coders: Iterable[Row]) -> Iterator[Finding]:
    own, others = leader["accuracy"], [value for row in coders if (value := _value(row, "accuracy")) is not None]
    if not isinstance(own, Figure) or own.value is None or own.high is None or not others:
        return
    middle = median(others)
    text = f"{leader['who']} is right on {_percent(own.value)} of documents; the coders, by the others', on "
    text = f"{text}{_percent(middle)} (median of {len(others)})"
    if own.value >= middle:
        yield Finding(f"{text}: it does as well as a coder.", Tone.GOOD)
    elif own.high >= middle:
        yield Finding(
            f"{text}: it may do as well as a coder, its interval reaches to {_percent(own.high)}.", Tone.PLAIN
        )
    else:
        yield Finding(f"{text}: it does worse than a coder.", Tone.WARNING)


def _rivals(leader: Row, sources: Sequence[Row], compared: Iterable[Row]) -> Iterator[Finding]:
    told = {
        frozenset((row["first"], row["second"]))
        for row in compared
        if isinstance(row.get("holm"), int | float) and float(str(row["holm"])) < ALPHA
    }
    low = leader["accuracy"].low if isinstance(leader["accuracy"], Figure) else None
    rivals = [
        str(row["who"])
        for row in sources
        if row is not leader and frozenset((leader["who"], row["who"])) not in told and _reaches(row, low)
    ]
    if rivals:
        named = ", ".join(rivals[:MOST])
        yield Finding(
            f"{leader['who']} leads, but its interval overlaps with that of {named}: they may be as good, the cheapest "
            "may do. Code more of the holdout to tell them apart.", Tone.PLAIN,
        )  # fmt: skip


def _alpha(rows: Iterable[Row]) -> Iterator[Finding]:
    for row in rows:
        figure = row.get("value")
        if "alpha" in str(row.get("coefficient")) and isinstance(figure, Figure) and (more := _more(figure)):
            yield Finding(
                f"Have about {more:,} more documents coded by two coders or more to know {row['coefficient']} within "
                f"±{_bare(HALF_WIDTH)}; now it is {_share(figure)} from {figure.n:,}.", Tone.NEXT,
            )  # fmt: skip
            return


def _more(figure: Figure) -> int:
    """Documents until the interval's half is ``HALF_WIDTH``, rounded up to tens; 0 where it is, or is not known."""
    if figure.low is None or figure.high is None or not figure.n:
        return 0
    more = figure.n * (((figure.high - figure.low) / 2 / HALF_WIDTH) ** 2 - 1)
    return max(0, 10 * math.ceil(round(more / 10, 6)))


def _reaches(row: Row, low: float | None) -> bool:
    figure = row["accuracy"]
    return isinstance(figure, Figure) and low is not None and figure.high is not None and figure.high >= low


def _rows(section: Section | None, key: str) -> list[Row]:
    """Rows of one of a section's tables by column key; none where there is no such table."""
    block = by_key(section.blocks).get(key) if section else None
    if not isinstance(block, Table):
        return []
    return [{column.key: cell for column, cell in zip(block.columns, row, strict=True)} for row in block.rows]


def _value(row: Row, key: str) -> float | None:
    cell = row.get(key)
    return cell.value if isinstance(cell, Figure) else None


def _share(figure: Figure) -> str:
    """``.76 (.60 to .90)``"""
    between = "" if figure.low is None or figure.high is None else f" ({_bare(figure.low)} to {_bare(figure.high)})"
    return f"{_bare(figure.value or 0.0)}{between}"


def _bare(value: float) -> str:
    return f"{value:.2f}".replace("0.", ".", 1) if abs(value) < 0.995 else f"{value:.2f}"


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"
