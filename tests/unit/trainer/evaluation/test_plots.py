from __future__ import annotations

import re
from dataclasses import replace
from xml.etree import ElementTree

import pytest

from tests.unit.trainer.evaluation.blocks_of_all_kinds import BARS, HEATMAP, LINES, PLOTS
from trainer.evaluation.blocks import Bars, Heatmap, Lines, Series
from trainer.evaluation.plots import SVG, Plot, svg_of


@pytest.fixture(scope="module")
def drawn() -> dict[str, str]:
    return {plot.key: svg_of(plot, f"s.{plot.key}") for plot in PLOTS}


def texts(svg: str) -> list[str]:
    return [element.text or "" for element in ElementTree.fromstring(svg).iter(f"{{{SVG}}}text")]


def test_plots_have_a_title_and_say_what_they_show(drawn: dict[str, str]) -> None:
    told = {}
    for key, svg in drawn.items():
        root = ElementTree.fromstring(svg)
        assert root.get("role") == "img"
        assert root.get("aria-labelledby") == f"s.{key}.title s.{key}.desc"
        title, description = root[0], root[1]
        assert (title.get("id"), description.get("id")) == (f"s.{key}.title", f"s.{key}.desc")
        told[key] = description.text or ""
    assert "from 0.3 at 10 to 0.75 at 1,000" in told["curve"]
    assert ".852 [.810, .889]  n = 1,212" in told["gaps"]
    assert "– (one rating in common)" in told["gaps"]
    assert "Off the diagonal the highest is .250" in told["agreement"]


def test_names_are_text_and_nothing_else(drawn: dict[str, str]) -> None:
    for svg in drawn.values():
        assert "<script" not in svg
        assert "mathdefault" not in svg
    assert '</td><script>alert("$x^2$")…' in texts(drawn["agreement"])
    assert any("alert" in text for text in texts(drawn["curve"])), "in the legend"


def test_the_page_gives_the_colours(drawn: dict[str, str]) -> None:
    for svg in drawn.values():
        styles = " ".join(re.findall(r'style="([^"]*)"', svg))
        assert "currentColor" in styles
        assert "#010203" not in styles
        assert "#000000" not in styles
        assert "#ffffff" not in styles.replace("fill: #ffffff", ""), "no ground"
    assert "var(--series-1, #0072b2)" in drawn["curve"]
    assert "var(--series-2, #d55e00)" in drawn["curve"]


def test_ids_are_the_plots_own(drawn: dict[str, str]) -> None:
    for key, svg in drawn.items():
        ids = re.findall(r'\bid="([^"]*)"', svg)
        assert len(ids) == len(set(ids))
        assert all(name.startswith(f"s.{key}.") for name in ids)
        used = re.findall(r'(?:url\(#|href="#)([^")]*)', svg)
        assert set(used) <= set(ids)


def test_the_same_block_gives_the_same_bytes(drawn: dict[str, str]) -> None:
    for plot in PLOTS:
        assert svg_of(plot, f"s.{plot.key}") == drawn[plot.key]


def test_undefined_cells_are_dashes(drawn: dict[str, str]) -> None:
    assert texts(drawn["agreement"]).count("–") == 2
    assert "– (one rating in common)" in texts(drawn["gaps"])


@pytest.mark.parametrize(
    "plot",
    [
        Heatmap("h", "None", (), (), ()),
        replace(HEATMAP, low=0.5, high=0.5),
        Heatmap("h", "Many", *(tuple(map(str, range(60))),) * 2, ((0.5,) * 60,) * 60),
        Lines("l", "None", "x", "y", ()),
        Lines("l", "Undefined", "x", "y", (Series("a", (1.0,), (None,)),)),
        replace(LINES, series=tuple(Series(str(n), (1.0, 2.0), (0.1, 0.2)) for n in range(20))),
        Bars("b", "None", "x", (), ()),
        replace(BARS, title="Глава 章 \x00\x1b"),
    ],
)  # fmt: skip
def test_whatever_there_is_to_show_a_plot_is_made(plot: Plot) -> None:
    svg = svg_of(plot, "p")
    assert ElementTree.fromstring(svg).tag == f"{{{SVG}}}svg"
    assert "NaN" not in svg
    assert "<script" not in svg
