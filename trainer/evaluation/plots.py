"""Plots of a report as inline SVG: one drawing for light pages, dark ones and paper, with its content told in words.

Text and axes take the page's text colour, series the page's ``--series-1`` to ``--series-7`` (Okabe and Ito, Color
Universal Design, 2008, where the page sets none); each series has a marker of its own too. The same block gives the
same bytes.
"""

from __future__ import annotations

import io
import math
import re
import threading
import warnings
from collections.abc import Mapping, Sequence
from itertools import cycle
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

from trainer.evaluation.blocks import Bars, Format, Heatmap, Lines, Series
from trainer.evaluation.cells import NOTHING, number, text_of
from trainer.evaluation.plot_words import told

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Drawing

Plot = Heatmap | Lines | Bars

SVG = "http://www.w3.org/2000/svg"
XLINK = "http://www.w3.org/1999/xlink"
INK = "#010203"  # stands for the page's text colour while matplotlib draws
SERIES = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#8c8c8c")
MARKERS = "os^DvPX"
PALE, DEEP = (0.93, 0.95, 0.97), (0.03, 0.25, 0.44)  # ends of the heat map's scale: one hue, by lightness alone
LONGEST = 28  # characters of a name in a plot; the table beside it has it in full
NAMED = 24  # rows and columns of a heat map whose cells can hold a number
MOST_BANDS = 2  # intervals drawn as areas; of more series they would hide each other, and are lines
SETTINGS: Mapping[Any, Any] = {  # matplotlib types each key by itself
    "svg.fonttype": "none",  # text stays text: searchable, read aloud, in the page's font
    "svg.hashsalt": "winnow",
    "text.parse_math": False,  # a code may be called $x$
    "font.size": 9.0,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "axes.titlecolor": INK,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.6,
    "legend.frameon": False,
}
_DRAWING = threading.Lock()  # matplotlib's settings and the warnings' filters are the whole process's


def svg_of(block: Plot, name: str) -> str:
    """The block as an ``<svg>`` element with title and description; ``name`` begins its ids, unique in the page."""
    import matplotlib
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure as Drawing

    with _DRAWING, matplotlib.rc_context(dict(SETTINGS)), warnings.catch_warnings():
        # Widths are estimated with a font that lacks some scripts; the browser has its own.
        warnings.filterwarnings("ignore", message="Glyph .* missing")
        drawing = Drawing(figsize=_size(block), layout="constrained")
        FigureCanvasSVG(drawing)
        _draw(drawing, block)
        file = io.StringIO()
        drawing.savefig(file, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    return _inline(file.getvalue(), block, name)


def _draw(drawing: Drawing, block: Plot) -> None:
    axes = drawing.add_subplot()
    if isinstance(block, Heatmap):
        _heatmap(axes, block)
    elif isinstance(block, Lines):
        _lines(axes, block)
    else:
        _bars(axes, block)


def _size(block: Plot) -> tuple[float, float]:
    """Inches wide and high: rows and columns of a fixed size, so that text is the same size in every plot."""
    if isinstance(block, Heatmap):
        longest = max((len(_in_cell(one, block)) for row in block.values for one in row if one is not None), default=1)
        cell = 0.22 + 0.06 * longest if max(len(block.rows), len(block.columns)) <= NAMED else 0.22
        names = 0.075 * max(map(len, map(_short, block.rows)), default=0)
        above = 0.06 * max(map(len, map(_short, block.columns)), default=0)
        left, top = 0.25 * bool(block.row_title), 0.25 * bool(block.column_title)
        wide, high = names + cell * max(1, len(block.columns)) + 0.4, above + 0.34 * max(1, len(block.rows)) + 0.3
        return left + wide, top + high
    if isinstance(block, Bars):
        return 7.0, 0.7 + 0.3 * max(1, len(block.names))
    return 7.0, 3.4 + 0.16 * max(0, len(block.series) - 4)


def _heatmap(axes: Axes, block: Heatmap) -> None:
    cells = [(x, y, value) for y, row in enumerate(block.values) for x, value in enumerate(row)]
    shares = [_share(value, block) for _, _, value in cells]
    _tiles(axes, [(x, y) for x, y, _ in cells], shares)
    if max(len(block.rows), len(block.columns)) <= NAMED:
        for (x, y, value), share in zip(cells, shares, strict=True):
            text = NOTHING if value is None else _in_cell(value, block)
            colour = INK if share is None else "#ffffff" if _is_dark(share) else "#111111"
            # It is within its cell: the layout need not measure it.
            axes.text(x, y, text, ha="center", va="center", color=colour, fontsize=8, in_layout=False)
    axes.set_xlim(-0.5, max(1, len(block.columns)) - 0.5)
    axes.set_ylim(max(1, len(block.rows)) - 0.5, -0.5)
    axes.set_xticks(range(len(block.columns)), [_short(name) for name in block.columns], rotation=40, ha="left")
    axes.set_yticks(range(len(block.rows)), [_short(name) for name in block.rows])
    axes.xaxis.tick_top()
    axes.xaxis.set_label_position("top")
    axes.set(xlabel=block.column_title, ylabel=block.row_title)
    axes.tick_params(length=0)
    for spine in axes.spines.values():
        spine.set_visible(False)


def _in_cell(value: float, block: Heatmap) -> str:
    return number(value, block.format).removesuffix(" %").removesuffix(" s")


def _shade(share: float) -> tuple[float, ...]:
    """Red, green and blue of a value on the scale from 0 to 1."""
    return tuple(pale + share * (deep - pale) for pale, deep in zip(PALE, DEEP, strict=True))


def _is_dark(share: float) -> bool:
    """Whether white text stands out more than black: by relative luminance (WCAG 2.2, section 1.4.3)."""
    linear = [(part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4) for part in _shade(share)]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2] < 0.179


def _share(value: float | None, block: Heatmap) -> float | None:
    """Where a value stands on the scale, from 0 to 1; None where it is undefined."""
    if value is None or not math.isfinite(value):
        return None
    return min(1.0, max(0.0, (value - block.low) / ((block.high - block.low) or 1.0)))


def _tiles(axes: Axes, places: Sequence[tuple[int, int]], shares: Sequence[float | None]) -> None:
    """The cells' grounds: shades of the scale, and for undefined ones an outline alone."""
    from matplotlib.collections import PolyCollection

    corners = ((-0.48, -0.47), (0.48, -0.47), (0.48, 0.47), (-0.48, 0.47))
    tiles = [[(x + right, y + down) for right, down in corners] for x, y in places]
    defined = [(tile, _shade(share)) for tile, share in zip(tiles, shares, strict=True) if share is not None]
    axes.add_collection(
        PolyCollection([tile for tile, _ in defined], facecolors=[shade for _, shade in defined], linewidths=0)
    )
    rest = [tile for tile, share in zip(tiles, shares, strict=True) if share is None]
    axes.add_collection(PolyCollection(rest, facecolors="none", edgecolors=INK, linewidths=0.3, linestyles=":"))


def _lines(axes: Axes, block: Lines) -> None:
    looks = cycle(zip(SERIES, MARKERS, strict=True))
    bands = sum(bool(one.low) for one in block.series) <= MOST_BANDS
    for one, (colour, marker) in zip(block.series, looks, strict=False):
        y = _floats(one.y)
        axes.plot(one.x, y, color=colour, marker=marker, markersize=4, linewidth=1.5, label=_short(one.name))
        _intervals(axes, one, colour, bands=bands)
    if block.diagonal:
        axes.plot([0, 1], [0, 1], color=INK, linewidth=0.8, linestyle="--", alpha=0.6)
    if block.log_x:
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter(lambda x, _: number(x, Format.AMOUNT))  # the default is mathematics: $10^2$
        axes.xaxis.set_minor_formatter(lambda *_: "")
    axes.set_xlabel(_short(block.x_title, 80))
    axes.set_ylabel(_short(block.y_title, 60))
    axes.grid(True, color=INK, alpha=0.15, linewidth=0.5)
    if len(block.series) > 1:
        axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))


def _intervals(axes: Axes, one: Series, colour: str, *, bands: bool) -> None:
    if not (one.low and one.high):
        return
    low, high = _floats(one.low), _floats(one.high)
    if bands:
        axes.fill_between(one.x, low, high, color=colour, alpha=0.18, linewidth=0)
    else:
        axes.vlines(one.x, low, high, colors=colour, alpha=0.45, linewidth=1.0)


def _bars(axes: Axes, block: Bars) -> None:
    for row, figure in enumerate(block.figures):
        if figure.value is not None:
            axes.barh(row, figure.value, height=0.6, color=SERIES[0], alpha=0.75)
            if figure.low is not None and figure.high is not None:
                axes.plot([figure.low, figure.high], [row, row], color=INK, linewidth=1.2, marker="|", markersize=6)
        axes.text(
            1.01, row, _short(_beside(block, row), 44), transform=axes.get_yaxis_transform(), va="center", fontsize=8
        )
    axes.axvline(0, color=INK, linewidth=0.6)
    axes.set_yticks(range(len(block.names)), [_short(name) for name in block.names])
    axes.set_ylim(len(block.names) - 0.4, -0.6)
    axes.set_xlabel(_short(block.x_title, 80))
    axes.tick_params(axis="y", length=0)


def _beside(block: Bars, row: int) -> str:
    figure = block.figures[row]
    if figure.value is None:
        return text_of(figure)
    return f"{number(figure.value, block.format)}  n = {figure.n:,}"


def _floats(values: Sequence[float | None]) -> list[float]:
    return [float("nan") if value is None else value for value in values]


def _short(name: str, longest: int = LONGEST) -> str:
    """A name as a plot can show it: of one line, without what XML cannot hold."""
    plain = "".join(letter if letter.isprintable() else " " for letter in name)
    return plain if len(plain) <= longest else f"{plain[: longest - 1]}…"


def _inline(svg: str, block: Plot, name: str) -> str:
    """matplotlib's file as an element of a page: named, described, with ids of its own and the page's colours."""
    ElementTree.register_namespace("", SVG)
    ElementTree.register_namespace("xlink", XLINK)
    root = ElementTree.fromstring(svg)  # nosec B314 # matplotlib's own
    for metadata in root.findall(f"{{{SVG}}}metadata"):
        root.remove(metadata)
    _own_ids(root, name)
    title, description = ElementTree.Element(f"{{{SVG}}}title"), ElementTree.Element(f"{{{SVG}}}desc")
    title.set("id", f"{name}.title")
    description.set("id", f"{name}.desc")
    title.text, description.text = _short(block.title, 200), told(block)
    root.insert(0, title)
    root.insert(1, description)
    root.set("role", "img")
    root.set("aria-labelledby", f"{name}.title {name}.desc")
    return _page_colours(ElementTree.tostring(root, encoding="unicode"))


def _own_ids(root: ElementTree.Element, name: str) -> None:
    """Ids that something refers to begin with ``name``; the others, matplotlib's names of parts, go."""
    used = set(re.findall(r"#([\w-]+)", " ".join(" ".join(element.attrib.values()) for element in root.iter())))
    for element in root.iter():
        if element.attrib.get("id") not in used:
            element.attrib.pop("id", None)
        for key, value in element.attrib.items():
            if key == "id":
                element.set(key, f"{name}.{value}")
            elif key == f"{{{XLINK}}}href" and value.startswith("#"):
                element.set(key, f"#{name}.{value[1:]}")
            elif "url(#" in value:
                element.set(key, value.replace("url(#", f"url(#{name}."))


def _page_colours(svg: str) -> str:
    """Colours in style attributes alone: a code may be called #010203."""

    def of_page(style: re.Match[str]) -> str:
        found = style[0].replace(INK, "currentColor")
        for index, colour in enumerate(SERIES, start=1):
            found = found.replace(colour, f"var(--series-{index}, {colour})")
        return found

    return re.sub(r'style="[^"]*"', of_page, svg)
