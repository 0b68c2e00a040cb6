"""Codes, definitions and source names come from people and models: on the page they are text, whatever they hold."""

from __future__ import annotations

import json
from collections.abc import Iterator
from html.parser import HTMLParser
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from label_configs.codebook import Code, Codebook, Kind
from label_configs.forms import forms_of
from label_configs.records import Candidate, CandidateSet, Document, Proposer
from label_configs.wire import candidate_data, decisions, review_prediction, task_data, validate_prediction

PIECES = ("<script>", "</b>", '"', "'", "&amp;", "&", "<img src=x onerror=alert(1)>", "]]>", "$text", "{{0}}", "é")
LINES = st.one_of(
    st.lists(st.sampled_from(PIECES), min_size=1, max_size=4).map("".join),
    st.text(st.characters(exclude_categories=("C", "Z")), min_size=1, max_size=20),
)
OURS = {("b", "winnow-name"), ("span", "winnow-name"), ("span", "winnow-who"), ("span", "winnow-definition")}


class Page(HTMLParser):
    """What a browser would make of some HTML: its elements, and its text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, str | None]] = []
        self.text = ""
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        assert [name for name, _ in attributes] == ["class"]
        self.elements.append((tag, dict(attributes)["class"]))

    def handle_data(self, data: str) -> None:
        self.text += data


def found(data: Any, wanted: str) -> Iterator[str]:
    """Every value of the key ``wanted`` within some JSON."""
    if isinstance(data, dict):
        yield from (value for key, value in data.items() if key == wanted)
        for value in data.values():
            yield from found(value, wanted)
    elif isinstance(data, list):
        for value in data:
            yield from found(value, wanted)


@given(
    names=st.lists(LINES, min_size=2, max_size=3, unique_by=str.casefold),
    definition=LINES,
    source=LINES,
    kind=st.sampled_from(Kind),
    data=st.data(),
)
def test_whatever_a_codebook_and_a_source_are_called_it_is_text(
    names: list[str], definition: str, source: str, kind: Kind, data: st.DataObject
) -> None:
    codes = tuple(Code(f"k{number}", name, definition, f"w{number}") for number, name in enumerate(names))
    codebook = Codebook("hostile", kind, codes, levels=("low", "high") if kind is Kind.GRADED else ())
    form = data.draw(st.sampled_from(forms_of(codebook)))
    shown = CandidateSet(
        source, source, tuple(Candidate(key, 0.5, (Proposer(source, source, 0.5, 1),)) for key in codebook.label_keys)
    )
    drawn = candidate_data(codebook, shown, form)
    pages = [Page(html) for html in found(drawn, "html")]
    assert {element for page in pages for element in page.elements} <= OURS
    assert all(f"{source} 50%" in page.text for page in pages)
    if drawn and kind is not Kind.GRADED:
        assert all(name in page.text and definition in page.text for name, page in zip(names, pages, strict=True))

    # Label Studio would put the task's text in the place of $text.
    assert not [value for value in found(drawn, "value") if "$text" in value]

    # What comes back with the annotation is what was sent.
    prediction = review_prediction(codebook, shown, form)
    validate_prediction(codebook, prediction, form, shown)
    task = {"id": 7, "data": task_data(Document(source, definition), form=form) | drawn}
    exported = json.loads(json.dumps({**task, "annotations": [{"id": 1, "result": prediction["result"]}]}))
    [decision] = decisions(exported, codebook, form)
    assert (decision.document_id, decision.shown) == (source, shown)
