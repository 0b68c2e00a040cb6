"""A section with every kind of block and cell, and names that somebody chose to break the page."""

from __future__ import annotations

from trainer.evaluation.blocks import (
    Bars,
    Column,
    Finding,
    Format,
    Heatmap,
    Lines,
    Link,
    Section,
    Series,
    Table,
    Tone,
)
from trainer.evaluation.figure import Figure, undefined

EVIL = '</td><script>alert("$x^2$")</script>'
GOOD = Figure(0.852, 1212, 0.81, 0.889)

TABLE = Table(
    "sources",
    "Sources",
    (
        Column("source", "source"),
        Column("accuracy", "accuracy", Format.PERCENT),
        Column("kappa", "kappa", Format.SHARE),
        Column("seconds", "seconds", Format.SECONDS),
        Column("n", "documents"),
        Column("task", "task"),
    ),
    (
        (EVIL, GOOD, Figure(-0.0504, 20, -0.1, 0.2), 12.345, 12345, Link("task 1", "http://127.0.0.1:8080/x?a=1&b=2")),
        ("=1+1", undefined("no document has it"), undefined("one rating in common", 1), None, float("nan"), None),
        ("-b", None, Figure(1.0, 3), 0.04, 0, Link("@bad", "javascript:alert(1)")),
    ),
    note="Run `winnow evaluate`.",
)
HEATMAP = Heatmap("agreement", "Agreement", (EVIL, "b"), (EVIL, "b"), ((1.0, 0.25), (None, float("nan"))))
LINES = Lines(
    "curve",
    "Curve",
    "documents",
    "macro-F1",
    (
        Series("measured", (10, 100, 1000), (0.3, None, 0.75), (0.2, None, 0.7), (0.4, None, 0.8)),
        Series(EVIL, (10, 1000), (0.31, 0.76)),
    ),
    log_x=True,
)
RELIABILITY = Lines("reliability", "Reliability", "said", "held", (Series("a", (0.1, 0.9), (0.2, 0.8)),), diagonal=True)
BARS = Bars("gaps", "Gaps", "alpha", (EVIL, "b", "c"), (GOOD, undefined("one rating in common"), Figure(-0.1, 12)))
PLOTS = (HEATMAP, LINES, RELIABILITY, BARS)
SECTION = Section(
    "all",
    f"All {EVIL}",
    tuple(Finding(f"{tone.value} [red]{EVIL}", tone) for tone in Tone),
    (TABLE, *PLOTS),
    ("By Krippendorff (2004).",),
)
