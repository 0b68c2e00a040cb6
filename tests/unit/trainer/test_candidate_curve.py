"""The candidate curve: what each rule costs a coder, and what it holds."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from label_configs.codebook import Code, Codebook, Kind
from label_configs.errors import ConfigError, EnvironmentFault
from label_configs.records import Document, Proposal, ScoredLabel
from ml_backend.experiment import CandidateRule
from trainer.candidate_curve import CodedDocument, CurvePoint, candidate_curve, frontier
from trainer.candidate_tables import curve_table, draw_curve, picture_form
from trainer.kept_proposals import KeptProposals

KEYS = ("a", "b", "c", "d", "e")
BOOK = Codebook("five", Kind.EXCLUSIVE, tuple(Code(key, key.upper(), f"About {key}.", key) for key in KEYS))
RULE = CandidateRule(max=2, top_k=2)


def proposal(document_id: str, source: str, *probabilities: float) -> Proposal:
    pairs = sorted(zip(KEYS, probabilities, strict=True), key=lambda pair: -pair[1])
    return Proposal(document_id, source, "1", tuple(ScoredLabel(key, p) for key, p in pairs))


def coded(number: int, labels: Sequence[str], *rows: Sequence[float]) -> CodedDocument:
    made = tuple(proposal(f"d{number}", f"s{n}", *row) for n, row in enumerate(rows))
    return CodedDocument(f"d{number}", made, tuple(labels))


FIRST = coded(1, ["a"], (0.5, 0.3, 0.1, 0.06, 0.04))  # the true code is the first choice
THIRD = coded(2, ["c"], (0.5, 0.3, 0.1, 0.06, 0.04))  # ... the third
LAST = coded(3, ["e"], (0.5, 0.3, 0.1, 0.06, 0.04))  # ... the last, which is never shown


def by_rule(points: Sequence[CurvePoint]) -> dict[tuple[int, float, int], CurvePoint]:
    return {(point.top_k, point.floor, point.max): point for point in points}


def test_a_curve_by_hand() -> None:
    found = by_rule(candidate_curve([FIRST, THIRD, LAST], BOOK, RULE))
    assert {point.n for point in found.values()} == {3}
    assert (found[1, 0.0, 5].held, found[1, 0.0, 5].mean) == (1, 1)
    assert (found[3, 0.0, 5].held, found[3, 0.0, 5].mean) == (2, 3)
    assert (found[3, 0.0, 2].held, found[3, 0.0, 2].mean) == (1, 2)
    assert (found[5, 0.0, 5].held, found[5, 0.0, 5].mean) == (2, 4), "a code that all put last is not shown"
    assert (found[5, 0.1, 5].held, found[5, 0.1, 5].mean) == (2, 3)
    assert (found[5, 0.2, 5].held, found[5, 0.2, 5].mean) == (1, 2)


def test_the_present_rule_is_a_point_wherever_it_lies_and_alone_without_a_sweep() -> None:
    rule = CandidateRule(max=9, top_k=4, floor=0.07)
    (alone,) = candidate_curve([FIRST, THIRD], BOOK, rule, sweep=False)
    assert (alone.top_k, alone.floor, alone.max, alone.present, alone.efficient) == (4, 0.07, 9, True, True)
    swept = [point for point in candidate_curve([FIRST, THIRD], BOOK, rule) if point.present]
    assert [replace(point, efficient=True) for point in swept] == [alone]


def test_the_frontier_holds_more_for_every_candidate_more() -> None:
    points = candidate_curve([FIRST, THIRD, LAST], BOOK, RULE)
    assert [(point.mean, point.held) for point in frontier(points)] == [(1, 1), (3, 2)]


def test_codes_of_a_graded_codebook_count_at_whatever_level() -> None:
    graded = Codebook("graded", Kind.GRADED, BOOK.codes, levels=("low", "high"))
    labels = [ScoredLabel("a:low", 0.8), ScoredLabel("a:high", 0.1), ScoredLabel("b:low", 0.1)]
    document = CodedDocument("d1", (Proposal("d1", "s", "1", tuple(labels)),), ("a:high",))
    (point,) = candidate_curve([document], graded, RULE, sweep=False)
    assert point.held == 1


def test_every_true_code_must_be_there_and_documents_without_one_are_left_out() -> None:
    several = replace(BOOK, kind=Kind.MULTILABEL)
    both = coded(4, ["a", "c"], (0.9, 0.8, 0.7, 0.1, 0.0))
    none = coded(5, [], (0.9, 0.8, 0.7, 0.1, 0.0))
    found = by_rule(candidate_curve([both, none], several, RULE))
    assert (found[2, 0.0, 5].n, found[2, 0.0, 5].held, found[3, 0.0, 5].held) == (1, 0, 1)
    with pytest.raises(ConfigError, match="no document with a verified code; verify some"):
        candidate_curve([none], several, RULE)


rows = st.lists(st.floats(0.01, 1), min_size=5, max_size=5)
samples = st.lists(st.tuples(st.sampled_from(KEYS), rows, rows), min_size=1, max_size=6)


@settings(max_examples=25, deadline=None)
@given(samples)
def test_more_candidates_never_hold_less(drawn: list[tuple[str, list[float], list[float]]]) -> None:
    documents = [coded(n, [key], one, other) for n, (key, one, other) in enumerate(drawn)]
    points = candidate_curve(documents, BOOK, RULE)
    found = by_rule(points)
    for (top_k, floor, most), point in found.items():
        wider = found.get((top_k, floor, most + 1))
        assert wider is None or (wider.held >= point.held and wider.mean >= point.mean)
    best = frontier(points)
    assert [point.held for point in best] == sorted({point.held for point in best})
    assert all(any(b.mean <= p.mean + 1e-9 and b.held >= p.held for b in best) for p in points)


def test_the_table_and_the_picture(tmp_path: Path) -> None:
    points = candidate_curve([FIRST, THIRD, LAST], BOOK, RULE)
    console = Console(file=io.StringIO(), width=120, color_system=None)
    console.print(curve_table(points, "newswire"))
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert "newswire, 3 documents" in text
    assert "present, not efficient" in text
    assert "66.7 %" in text
    draw_curve(points, tmp_path / "new" / "curve.png", "newswire")
    assert (tmp_path / "new" / "curve.png").read_bytes().startswith(b"\x89PNG")
    draw_curve(points, tmp_path / "curve.svg", "newswire")
    assert (tmp_path / "curve.svg").read_text().startswith("<?xml")
    with pytest.raises(ConfigError, match=r"--out curve\.docx: no kind of picture .* ends in \.png"):
        picture_form(Path("curve.docx"))
    with pytest.raises(EnvironmentFault, match="cannot be written"):
        draw_curve(points, tmp_path / "curve.svg" / "below-a-file.png", "newswire")


DOCUMENTS = [Document("d1", "one text"), Document("d2", "another text"), Document("d3", "one text")]


def test_proposals_are_kept_by_text_and_never_the_text(tmp_path: Path) -> None:
    path = tmp_path / "candidates" / "0123.jsonl"
    kept = KeptProposals(path)
    assert kept.of(DOCUMENTS[0]) is None
    kept.keep(DOCUMENTS[:2], [[proposal("d1", "s", *[0.2] * 5)], [proposal("d2", "s", *[0.1] * 5)]])
    again = KeptProposals(path)
    assert again.of(DOCUMENTS[0]) == [proposal("d1", "s", *[0.2] * 5)]
    assert again.of(DOCUMENTS[2]) == [proposal("d3", "s", *[0.2] * 5)], "the same text under another id"
    assert "text" not in path.read_text().replace('"text":', "")


def test_a_line_that_was_cut_off_is_made_again(tmp_path: Path) -> None:
    path = tmp_path / "0123.jsonl"
    KeptProposals(path).keep(DOCUMENTS[:2], [[proposal(d.id, "s", *[0.2] * 5)] for d in DOCUMENTS[:2]])
    path.write_bytes(path.read_bytes()[:-20])
    cut = KeptProposals(path)
    assert cut.of(DOCUMENTS[0]) is not None
    assert cut.of(DOCUMENTS[1]) is None
    cut.keep(DOCUMENTS[1:2], [[proposal("d2", "s", *[0.3] * 5)]])
    whole = KeptProposals(path)
    assert all(whole.of(document) is not None for document in DOCUMENTS)


@pytest.mark.parametrize("line", ["{", "[]", '{"text": "x", "proposals": [{}]}', "\udcff"])
def test_another_file_is_refused_with_its_line(tmp_path: Path, line: str) -> None:
    path = tmp_path / "0123.jsonl"
    path.write_bytes(f"{line}\n".encode(errors="surrogateescape"))
    with pytest.raises(ConfigError, match=r"0123\.jsonl(:1)?: damaged; delete the file"):
        KeptProposals(path)
