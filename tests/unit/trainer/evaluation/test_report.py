from __future__ import annotations

import io
import json
from collections.abc import Sequence
from dataclasses import replace

import pytest
from rich.console import Console

from label_configs.codebook import Code, Codebook, Kind
from label_configs.records import (
    Arm,
    Candidate,
    CandidateSet,
    Decision,
    Proposal,
    Proposer,
    ScoredLabel,
    VerifiedExample,
    chosen_labels,
)
from ml_backend.source_config import Price, SourceConfig, SourceKind
from trainer.evaluation.report import Evaluation, evaluate
from trainer.evaluation.tables import tables

LABELS = ("earn", "acq", "crude")
BOOK = Codebook("three", Kind.EXCLUSIVE, tuple(Code(key, key, f"About {key}.", key) for key in LABELS))


def example(document_id: str, *labels: str, holdout: bool = True) -> VerifiedExample:
    return VerifiedExample(document_id, f"text {document_id}", labels, ("ann",), holdout)


def proposal(document_id: str, source: str, version: str, *labels: str, probability: float = 0.6) -> Proposal:
    return Proposal(document_id, source, version, tuple(ScoredLabel(label, probability) for label in labels))


def decision(
    document_id: str, kept: Sequence[str], shown: dict[str, Sequence[str]] | None, **fields: object
) -> Decision:
    """``shown`` maps each candidate to the sources that proposed it."""
    candidates = [
        Candidate(label, 0.5, tuple(Proposer(source, "v1", 0.5, 1) for source in sources))
        for label, sources in (shown or {}).items()
    ]
    shown_set = CandidateSet(document_id, "set", tuple(candidates)) if shown is not None else None
    return Decision(document_id, 1, 1, "ann", "keep", kept=tuple(kept), shown=shown_set, **fields)  # type: ignore[arg-type]


EXAMPLES = [
    example("h1", "earn"),
    example("h2", "acq"),
    example("h3", "earn"),
    example("h4", "crude"),
    example("t1", "earn", holdout=False),
]


def run(proposals: list[Proposal], decisions: Sequence[Decision] = (), **fields: object) -> Evaluation:
    return evaluate(EXAMPLES, proposals, decisions, codebook=BOOK, **fields)  # type: ignore[arg-type]


def render(evaluation: Evaluation) -> str:
    console = Console(file=io.StringIO(), width=120, color_system=None)
    console.print(tables(evaluation))
    text = console.file.getvalue()  # type: ignore[attr-defined]
    return str(text)


def test_sources_are_measured_on_the_same_documents() -> None:
    full = [proposal(d, "similarity", "m1", "earn", "acq") for d in ("h1", "h2", "h3", "h4", "t1")]
    part = [proposal(d, "adapter", "s/d@1", "earn") for d in ("h1", "h3")] + [proposal("h4", "adapter", "s/d@1", "acq")]
    result = run([*full, *part])
    assert (result.holdout, result.n) == (4, 3)
    similarity, adapter = result.sources
    # h2, which only similarity proposed for and got wrong, counts for neither.
    assert (similarity.name, similarity.version, similarity.covered, similarity.n) == ("similarity", "m1", 4, 3)
    assert (adapter.name, adapter.version, adapter.covered, adapter.n) == ("adapter", "s/d@1", 3, 3)
    assert similarity.accuracy == adapter.accuracy == pytest.approx(2 / 3)
    assert similarity.macro_f1 == pytest.approx((0.8 + 0) / 2)
    assert adapter.macro_f1 == pytest.approx((1 + 0) / 2)
    assert adapter.balanced_accuracy == pytest.approx(0.5)
    assert result.notes == (
        "adapter has proposals for 3 of 4 holdout documents",
        "all are measured on the 3 documents that they share",
    )


def test_training_documents_never_count() -> None:
    result = run([proposal("t1", "adapter", "v", "earn"), proposal("h1", "base", "v", "acq")])
    assert [row.name for row in result.sources] == ["base"]
    assert (result.n, result.sources[0].accuracy) == (1, 0.0)
    assert result.notes[0] == "adapter has no proposals for the holdout and is left out"


def test_of_several_versions_the_newest_or_the_one_asked_for() -> None:
    # In the export's order, by document: h2 was proposed for by the old version only, and comes last.
    listed = [
        proposal("h1", "adapter", "old", "acq"),
        proposal("h1", "adapter", "new", "earn"),
        proposal("h3", "adapter", "new", "earn"),
        proposal("h2", "adapter", "old", "earn"),
    ]
    newest = run(listed)
    assert (newest.sources[0].version, newest.n, newest.sources[0].accuracy) == ("new", 2, 1.0)
    asked = run(listed, versions={"adapter": "old"})
    assert (asked.sources[0].version, asked.n, asked.sources[0].accuracy) == ("old", 2, 0.0)
    assert run(listed, versions={"adapter": "none"}).sources == ()


def test_versions_that_follow_each_other_both_ways_fall_back_to_the_list() -> None:
    listed = [proposal("h1", "s", version, "earn") for version in ("one", "two", "one", "two")]
    assert run(listed).sources[0].version == "two"


def test_no_holdout_is_said_and_nothing_is_made_up() -> None:
    result = evaluate([EXAMPLES[-1]], [proposal("t1", "s", "v", "earn")], [], codebook=BOOK)
    assert (result.n, result.sources, result.mean_candidates) == (0, (), None)
    assert "no holdout document is verified yet" in result.notes
    assert result.candidates_held_truth.rate is None


def test_sources_without_a_common_document_have_no_figures() -> None:
    result = run([proposal("h1", "one", "v", "earn"), proposal("h2", "two", "v", "earn")])
    assert result.n == 0
    assert [row.accuracy for row in result.sources] == [None, None]
    assert "–" in render(result)


@pytest.mark.parametrize(
    ("kind", "probabilities", "expected"),
    [
        (Kind.EXCLUSIVE, (0.9, 0.8), ("earn",)),
        (Kind.MULTILABEL, (0.9, 0.5), ("earn", "acq")),
        (Kind.MULTILABEL, (0.9, 0.49), ("earn",)),
        (Kind.MULTILABEL, (0.4, 0.3), ("earn",)),
        (Kind.GRADED, (0.6, 0.7), ("earn", "acq")),
        (Kind.MULTILABEL, (), ()),
        (Kind.EXCLUSIVE, (), ()),
    ],
)
def test_the_labels_that_a_proposal_stands_for(
    kind: Kind, probabilities: tuple[float, ...], expected: tuple[str, ...]
) -> None:
    scored = tuple(ScoredLabel(label, p) for label, p in zip(LABELS, probabilities, strict=False))
    assert chosen_labels(Proposal("d", "s", "v", scored), kind=kind) == expected


DECISIONS = [
    decision("h1", ["earn"], {"earn": ["similarity", "adapter"], "acq": ["similarity"]}),
    decision("h2", [], {"earn": ["similarity"], "crude": ["adapter"]}, missed=("acq",)),
    decision("h3", ["earn"], {"earn": ["adapter"]}),
    decision("h4", ["earn"], {"earn": ["adapter"]}, skipped=True),
    decision("t1", ["earn"], None),
]


def test_candidates_kept_per_source_and_truth_held() -> None:
    result = run([proposal("h1", "similarity", "v", "earn")], DECISIONS)
    kept = {row.name: (row.proposed, row.kept, row.rate) for row in result.kept}
    assert kept == {"similarity": (3, 1, pytest.approx(1 / 3)), "adapter": (3, 2, pytest.approx(2 / 3))}
    # h2's code had to be added by the coder; h4 was skipped, t1 has no record of what was shown.
    assert (result.candidates_held_truth.hits, result.candidates_held_truth.n) == (2, 3)
    assert result.mean_candidates == pytest.approx(5 / 3)


def test_candidates_are_not_judged_where_none_were_shown_nor_by_repeated_decisions() -> None:
    chosen = decision("h1", [], {}, missed=("acq",))
    chosen = replace(chosen, shown=CandidateSet("h1", "v", (), Arm.CHOOSE), seconds=7.0)
    again = replace(decision("h2", [], {"earn": ["similarity"]}, missed=("acq",)), repeat=1)
    before, after = run([], DECISIONS), run([], [*DECISIONS, chosen, again])
    assert (after.kept, after.mean_candidates) == (before.kept, before.mean_candidates)
    assert after.candidates_held_truth == before.candidates_held_truth
    assert [(row.arm, row.n, row.seconds) for row in after.effort] == [("review", 3, None), ("choose", 1, 7.0)]


def test_all_labels_must_be_among_the_candidates_and_no_label_is_no_hit() -> None:
    examples = [example("a", "earn", "acq"), example("b", "earn"), example("c")]
    shown = [decision(name, ["earn"], {"earn": ["s"]}) for name in ("a", "b", "c")]
    result = evaluate(examples, [], shown, codebook=replace(BOOK, kind=Kind.MULTILABEL))
    assert (result.candidates_held_truth.hits, result.candidates_held_truth.n) == (1, 2)


def test_the_json_is_plain_and_whole() -> None:
    result = run([proposal("h1", "similarity", "v", "earn")], DECISIONS)
    data = json.loads(json.dumps(result.as_json()))
    assert data["n"] == 1
    assert data["sources"][0]["metrics"]["accuracy"] == 1.0
    assert data["sources"][0]["metrics"]["codes"][1]["f1"] is None
    assert data["kept"][0] == {"name": "similarity", "proposed": 3, "kept": 1, "rate": pytest.approx(1 / 3)}
    assert data["candidates_held_truth"] == {"hits": 2, "n": 3, "rate": pytest.approx(2 / 3)}
    assert data["notes"] == list(result.notes)
    assert data["sources"][0]["calibration"] == {
        "n": 1, "ece": pytest.approx(0.4), "temperature": None, "ece_tempered": None,
    }  # fmt: skip
    assert data["costs"][0]["costs"]["price"] is None
    assert data["advice"] == []


def rows_of(text: str) -> dict[str, list[str]]:
    """Cells by the first of each row, of one table."""
    cells = ([cell.strip() for cell in line.split("│")[1:-1]] for line in text.splitlines() if "│" in line)
    return {name: rest for name, *rest in cells}


def test_the_tables_say_it_all() -> None:
    text = render(run([proposal(d, "similarity", "v", "earn") for d in ("h1", "h2")], DECISIONS))
    quality, costs = text.split("What 1,000 documents cost")
    assert "Sources on the same 2 holdout documents" in quality
    assert rows_of(quality) == {
        "similarity": ["2", "50.0 %", "0.333", "50.0 %", "0.100", "33.3 % (1/3)"],
        "adapter": ["0", "–", "–", "–", "–", "66.7 % (2/3)"],
    }
    costs, effort = costs.split("What coding took, by arm")
    assert rows_of(costs) == {"similarity": ["2", "0", "0", "0.0", "–", "0.0 %"]}
    assert rows_of(effort) == {"review": ["3", "–", "0.0 %", "1.00"]}
    words = " ".join(text.split())
    assert "Candidates held all true codes of 2 of 3 documents (66.7 %), 1.7 candidates per document." in words
    assert "Note: similarity has proposals for 2 of 4 holdout documents." in words


def test_costs_are_over_all_that_a_source_proposed_for_in_its_version() -> None:
    listed = [
        replace(proposal("h1", "api", "old", "earn"), tokens=9000, price=1.0),
        replace(proposal("h1", "api", "v", "earn"), tokens=100, seconds=0.5, price=0.002),
        replace(proposal("t1", "api", "v", "earn"), tokens=300, seconds=1.5, price=0.004, truncated=7),
        replace(proposal("h1", "local", "v", "earn"), tokens=50, seconds=0.2),
        replace(proposal("h1", "free", "v", "earn"), tokens=50, seconds=0.2),
    ]
    configs = {"local": SourceConfig("local", SourceKind.FAKE, price=Price(input=1.0, device_hour=3.6))}
    result = run(listed, configs=configs)
    costs = {row.name: row.costs for row in result.costs}
    assert (costs["api"].documents, costs["api"].tokens, costs["api"].seconds) == (2, 200_000, 1000)
    assert (costs["api"].price, costs["api"].truncated) == (pytest.approx(3.0), 0.5)
    # 50,000 tokens at 1 a million, and 200 seconds at 3.6 an hour.
    assert costs["local"].price == pytest.approx(0.05 + 0.2)
    assert costs["free"].price is None
    prices = {name: cells[4] for name, cells in rows_of(render(result).split("cost")[1]).items()}
    assert prices == {"api": "3", "local": "0.25", "free": "–"}


MANY = [example(f"h{i}", LABELS[i % 2]) for i in range(40)]


def sure(document: int, label: str, source: str = "s") -> Proposal:
    """Nearly certain of a label, whatever the document is about."""
    rest = [other for other in LABELS if other != label]
    scored = [ScoredLabel(label, 0.98), *(ScoredLabel(other, 0.01) for other in rest)]
    return Proposal(f"h{document}", source, "v", tuple(scored))


def overconfident(source: str = "s") -> list[Proposal]:
    """Right in three of four, and says that it is certain."""
    return [sure(i, LABELS[i % 2] if i % 8 < 6 else LABELS[1 - i % 2], source) for i in range(40)]


def test_a_source_that_is_too_sure_is_told_its_temperature() -> None:
    config = SourceConfig("s", SourceKind.FAKE)
    arguments = {"codebook": BOOK, "configs": {"s": config}}
    result = evaluate(MANY, overconfident(), [], **arguments)  # type: ignore[arg-type]
    (row,) = result.sources
    assert row.calibration.ece == pytest.approx(0.98 - 0.75)
    assert row.calibration.temperature is not None
    assert row.calibration.ece_tempered is not None
    assert row.calibration.ece_tempered < 0.1
    temperature = row.calibration.temperature
    (line,) = result.advice
    assert line == (
        f"source s: `temperature: {temperature:g}` in winnow.yaml lowers ECE from 0.230 to "
        f"{row.calibration.ece_tempered:.3f} (cross-fitted)"
    )
    assert f"Source s: `temperature: {temperature:g}` in winnow.yaml" in " ".join(render(result).split())
    # What it proposed was tempered by 1.5 already: the new temperature takes that one's place.
    arguments = {"codebook": BOOK, "configs": {"s": replace(config, temperature=1.5)}}
    (line,) = evaluate(MANY, overconfident(), [], **arguments).advice  # type: ignore[arg-type]
    assert f"`temperature: {round(1.5 * temperature, 3):g}`" in line


def test_an_adapters_temperature_is_its_manifests_business() -> None:
    configs = {"adapter": SourceConfig("adapter", SourceKind.ADAPTER)}
    result = evaluate(MANY, overconfident("adapter"), [], codebook=BOOK, configs=configs)
    assert result.sources[0].calibration.temperature is not None
    assert result.advice == ()
    assert result.notes == ()
    tempered = {"adapter": replace(configs["adapter"], temperature=1.7)}
    (note,) = evaluate(MANY, overconfident("adapter"), [], codebook=BOOK, configs=tempered).notes
    assert note.startswith("adapter proposes at the temperature that its round fitted on the holdout, so its ECE")


def test_a_source_that_is_as_sure_as_it_is_right_gets_no_advice() -> None:
    thirds = [ScoredLabel("earn", 0.5), ScoredLabel("acq", 0.49), ScoredLabel("crude", 0.01)]
    even = [Proposal(f"h{i}", "s", "v", tuple(thirds)) for i in range(40)]
    result = evaluate(MANY, even, [], codebook=BOOK, configs={"s": SourceConfig("s", SourceKind.FAKE)})
    assert result.sources[0].calibration.ece == pytest.approx(0, abs=1e-9)
    assert result.advice == ()


def test_labels_from_another_codebook_are_left_out_and_named() -> None:
    result = run([proposal("h1", "s", "v", "wheat"), proposal("h2", "s", "v", "acq")])
    assert (result.n, result.sources[0].accuracy) == (1, 1.0)
    assert result.notes[0] == "1 proposals have labels that codebook three has not (wheat) and are left out"
    verified = evaluate([example("h1", "wheat"), example("h2", "acq")], [], [], codebook=BOOK)
    assert (verified.holdout, verified.notes[0][:20]) == (1, "1 verified documents")
