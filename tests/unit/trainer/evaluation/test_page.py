from __future__ import annotations

import re
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser

import pytest

from tests.unit.trainer.evaluation.blocks_of_all_kinds import EVIL, SECTION, TABLE
from trainer.evaluation.blocks import Finding, Section, Tone
from trainer.evaluation.page import block_html, page_html, section_html, stylesheet
from trainer.evaluation.whole_report import Report

MADE_AT = datetime(2026, 11, 22, 17, tzinfo=UTC)
SUMMARY = Section("summary", "In short", tuple(Finding(f"{tone.value} news", tone) for tone in Tone))
TABLE_ALONE = replace(SECTION, blocks=(TABLE,))
REPORT = Report(
    f"Report {EVIL}", MADE_AT,
    (SECTION, replace(TABLE_ALONE, key="all.sources"), replace(TABLE_ALONE, key="other/one")),
    {"winnow": "0.1.0", "codebook": {"name": EVIL, "kind": None}, "by": ["a", "b"]}, SUMMARY,
)  # fmt: skip


class Tags(HTMLParser):
    """What a page is made of: its tags with their attributes, and that each is closed."""

    VOID = frozenset({"meta", "link", "br"})

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open, tag
        assert self.open.pop() == tag

    def of(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.found if name == tag]


@pytest.fixture(scope="module")
def page() -> str:
    return str(page_html(REPORT))


def test_nothing_is_loaded_or_run(page: str) -> None:
    tags = Tags(page)
    assert not tags.open
    assert not tags.of("script")
    assert [link.get("href") for link in tags.of("link")] == ["data:,"]
    assert not tags.of("img")
    assert not [value for _, attributes in tags.found for name, value in attributes.items() if name.startswith("on")]
    policy = next(meta for meta in tags.of("meta") if meta.get("http-equiv"))
    assert policy["content"] == "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
    assert "@import" not in page
    assert not re.findall(r"url\((?!#)", page)


def test_what_people_wrote_is_text(page: str) -> None:
    assert EVIL not in page
    assert "&lt;script&gt;" in page
    links = [link["href"] for link in Tags(page).of("a")]
    assert "http://127.0.0.1:8080/x?a=1&b=2" in links
    assert not [link for link in links if not str(link).startswith(("#", "http://127.0.0.1:8080/"))]


def test_a_reader_without_eyes_finds_the_way(page: str) -> None:
    tags = Tags(page)
    assert tags.of("html")[0]["lang"] == "en"
    assert all(len(tags.of(landmark)) == 1 for landmark in ("header", "nav", "main", "h1"))
    ids = Counter(attributes["id"] for _, attributes in tags.found if "id" in attributes)
    assert max(ids.values()) == 1
    for _, attributes in tags.found:
        for name in (attributes.get("aria-labelledby") or "").split():
            assert name in ids
        target = attributes.get("href") or ""
        assert not target.startswith("#") or target[1:] in ids
    assert len(tags.of("table")) == len(tags.of("caption")) == 5 + 2 + 1
    assert {cell["scope"] for cell in tags.of("th")} == {"col", "row"}
    assert all(region["tabindex"] == "0" for _, region in tags.found if region.get("role") == "region")
    for word in ("Good: ", "Warning: ", "Bad: ", "To do: "):
        assert f'<span class="unseen">{word}</span>' in page, "tones are words, not colours alone"


def test_the_summary_is_in_groups(page: str) -> None:
    headings = re.findall(r"<h3>(.*?)</h3>", page)
    assert headings == ["Good enough", "Not good enough", "What to do next", "Also found"]
    assert page.index("bad news") < page.index("warning news") < page.index("next news")


def test_figures_stand_with_interval_and_n(page: str) -> None:
    assert '85.2 % <span class="rest">[81.0,\u00a088.9] n\u00a0=\u00a01,212</span>' in page
    assert '<span class="why">– (no document has it)</span>' in page
    assert "Run <code>winnow evaluate</code>." in page
    assert "nan" not in re.sub(r"<svg.*?</svg>", "", page, flags=re.S).lower()


def test_only_the_time_changes(page: str) -> None:
    later = str(page_html(replace(REPORT, made_at=MADE_AT + timedelta(hours=1))))
    assert later != page
    time = re.compile(r"<time.*?</time>")
    assert time.sub("", later) == time.sub("", page)


def test_a_section_alone_has_ids_of_its_own() -> None:
    text = section_html(SECTION, id="live", level=3)
    tags = Tags(text)
    assert tags.found[0] == ("section", {"class": "section", "id": "live", "aria-labelledby": "live.title"})
    assert all(str(a["id"]).startswith("live") for _, a in tags.found if "id" in a)
    assert tags.of("h3")


def test_a_table_alone() -> None:
    assert Tags(block_html(TABLE, id="x")).of("table")
    assert "Nothing to show." in block_html(replace(TABLE, rows=()), id="x")


def test_the_style_is_for_light_dark_and_paper() -> None:
    css = stylesheet()
    assert "prefers-color-scheme: dark" in css
    assert "@media print" in css
    assert "</style" not in css
