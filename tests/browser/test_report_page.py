"""The report in Chromium: nothing is asked of anyone; it fits, and is read by keyboard, in the dark, on paper."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page

from label_configs.codebook import Kind
from tests.unit.trainer.evaluation.blocks_of_all_kinds import SECTION
from tests.unit.trainer.evaluation.studies import study
from trainer.evaluation.options import ReportOptions
from trainer.evaluation.page import page_html
from trainer.evaluation.report_manifest import report_manifest
from trainer.evaluation.summary import summary_of
from trainer.evaluation.whole_report import Report

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> str:
    made = study(Kind.EXCLUSIVE, documents=80)
    report = Report(
        "Coding newswire", datetime(2026, 11, 22, 17, tzinfo=UTC), (SECTION,),
        report_manifest(made, ReportOptions()), summary_of(made, (SECTION,)),
    )  # fmt: skip
    path: Path = tmp_path_factory.mktemp("report") / "report.html"
    path.write_text(page_html(report), encoding="utf-8")
    return path.as_uri()


def test_nothing_is_asked_and_nothing_is_wrong(page: Page, address: str) -> None:
    asked: list[str] = []
    told: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.on("console", lambda message: told.append(message.text))
    page.on("pageerror", lambda error: told.append(str(error)))
    page.goto(address)
    assert [url for url in asked if not url.startswith("data:")] == [address]
    assert told == []
    assert page.locator("svg[role=img]").count() == 4
    for svg in page.locator("svg[role=img]").all():
        box = svg.bounding_box()
        assert box is not None
        assert box["width"] > 100
        assert box["height"] > 50


@pytest.mark.parametrize("width", [1280, 390])
def test_the_page_is_no_wider_than_the_window(page: Page, address: str, width: int) -> None:
    page.set_viewport_size({"width": width, "height": 800})
    page.goto(address)
    assert page.evaluate("document.documentElement.scrollWidth") == width


def test_it_is_read_by_keyboard(page: Page, address: str) -> None:
    page.goto(address)
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "report"
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.getAttribute('role')") == "region", "a wide table can be scrolled"
    page.get_by_text("Numbers of this plot").first.press("Enter")
    assert page.get_by_role("table", name="Agreement").is_visible()


def test_it_has_names_for_screen_readers(page: Page, address: str) -> None:
    page.goto(address)
    assert page.get_by_role("navigation", name="Contents").is_visible()
    assert page.get_by_role("region", name="In short").is_visible()
    assert page.get_by_role("img", name="Curve").is_visible()
    assert page.get_by_role("table", name="Sources").get_by_role("rowheader", name="=1+1").is_visible()
    assert page.get_by_role("columnheader", name="accuracy").first.is_visible()


CONTRAST = """() => {
  const light = (colour) => {
    const [r, g, b] = colour.match(/[\\d.]+/g).map((v) => v / 255).map(
      (v) => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const ground = light(getComputedStyle(document.body).backgroundColor);
  const ratio = (colour) => {
    const [low, high] = [light(colour), ground].sort((a, b) => a - b);
    return (high + 0.05) / (low + 0.05);
  };
  const chosen = "h1, p, td, caption, .quiet, .rest, .why, .mark, a:not(.skip), summary, svg text";
  const inCells = (element) => /#(ffffff|111111)/.test(element.getAttribute("style") || "");
  return Math.min(...[...document.querySelectorAll(chosen)].filter((element) => !inCells(element)).map(
    (element) => ratio(getComputedStyle(element)[element.closest("svg") ? "fill" : "color"])));
}"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_stands_out_from_the_ground(browser: Browser, address: str, output: Path, scheme: str) -> None:
    with browser.new_context(color_scheme=scheme) as context:  # type: ignore[arg-type]
        page = context.new_page()
        page.goto(address)
        assert page.evaluate(CONTRAST) >= 4.5, "WCAG 2.2, level AA"
        page.screenshot(path=output / f"report-{scheme}.png", full_page=True)


def test_paper_is_white_and_complete(browser: Browser, address: str, output: Path) -> None:
    with browser.new_context(color_scheme="dark") as context:
        page = context.new_page()
        page.goto(address)
        page.emulate_media(media="print")
        assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
        assert page.evaluate("getComputedStyle(document.querySelector('svg text')).fill") == "rgb(0, 0, 0)"
        over = "[...document.querySelectorAll('.scroll')].filter((e) => e.scrollWidth > 700).length"
        page.set_viewport_size({"width": 700, "height": 1000})
        assert page.evaluate(over) == 0, "nothing is cut at the paper's edge"
        page.pdf(path=output / "report.pdf", prefer_css_page_size=True)
