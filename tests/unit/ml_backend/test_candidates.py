"""Candidates: the union of what sources propose, by agreement and probability."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from label_configs.codebook import Code, Codebook, Kind
from label_configs.errors import CodebookError
from label_configs.records import CandidateSet, Proposal, ScoredLabel
from ml_backend.candidates import candidate_set
from ml_backend.experiment import CandidateRule
from ml_backend.mixing import Evidence, MixingWeights

LABELS = ("ship", "grain", "oil", "coal", "corn")
BOOK = Codebook("five", Kind.EXCLUSIVE, tuple(Code(key, key, f"About {key}.", key) for key in LABELS))
SEVERAL = replace(BOOK, kind=Kind.MULTILABEL)
GRADED = Codebook("graded", Kind.GRADED, BOOK.codes, levels=("low", "high"))


def proposal(source: str, **probabilities: float) -> Proposal:
    """The codes named, the others with probability 0."""
    ranked = sorted(probabilities.items(), key=lambda pair: -pair[1])
    rest = [(label, 0.0) for label in LABELS if label not in probabilities]
    return Proposal("d1", source, f"{source}@1", tuple(ScoredLabel(label, p) for label, p in [*ranked, *rest]))


A = proposal("a", ship=0.6, grain=0.3, oil=0.1)
B = proposal("b", grain=0.5, oil=0.4, ship=0.1)


def shown(
    *proposals: Proposal, codebook: Codebook = BOOK, weights: MixingWeights | None = None, **rule: float
) -> list[str]:
    made = candidate_set("d1", proposals, CandidateRule(**rule), "v", codebook, weights or MixingWeights())  # type: ignore[arg-type]
    return [c.label for c in made.candidates]


def test_labels_that_more_sources_propose_come_first() -> None:
    found = candidate_set("d1", [A, B], CandidateRule(), "v1", BOOK)
    assert [c.label for c in found.candidates] == ["grain", "ship", "oil"]
    grain = found.candidates[0]
    assert [(p.source, p.rank, p.probability) for p in grain.proposers] == [("b", 1, 0.5), ("a", 2, 0.3)]
    assert grain.probability == pytest.approx(0.4), "the mean over all sources"
    assert found.candidates[1].probability == pytest.approx(0.35), "of those, too, that did not propose it"
    assert (found.document_id, found.version) == ("d1", "v1")


def test_the_rule_bounds_what_is_shown() -> None:
    assert shown(A, B, max=2) == ["grain", "ship"]
    assert shown(A, B, top_k=1) == ["grain", "ship"]
    assert shown(A, B, floor=0.6) == ["ship"]


def test_below_the_floor_the_best_are_shown_all_the_same() -> None:
    assert shown(A, B, floor=0.9) == ["grain", "ship"]


def test_weights_decide_between_sources_that_do_not_agree() -> None:
    one, other = proposal("a", ship=0.6, grain=0.3, oil=0.1), proposal("b", coal=0.7, corn=0.2, oil=0.1)
    assert shown(one, other, top_k=1) == ["coal", "ship"]
    trusted = MixingWeights({("a", "a@1", "ship"): Evidence(30, 30), ("b", "b@1", "coal"): Evidence(0, 30)})
    assert shown(one, other, top_k=1, weights=trusted) == ["ship", "coal"]


def test_two_sources_that_are_seldom_right_do_not_outvote_one_that_mostly_is() -> None:
    right = proposal("a", ship=0.6, grain=0.3, oil=0.1)
    wrong = [proposal(name, coal=0.7, corn=0.2, oil=0.1) for name in "bc"]
    assert shown(right, *wrong, top_k=1) == ["coal", "ship"], "by their number"
    evidence = {(name, f"{name}@1", code): Evidence(0, 40) for name in "bc" for code in ("coal", "corn")}
    learned = MixingWeights({**evidence, ("a", "a@1", "ship"): Evidence(30, 32)})
    assert shown(right, *wrong, top_k=1, weights=learned) == ["ship", "coal"]
    little = MixingWeights({("b", "b@1", "coal"): Evidence(2, 6), ("a", "a@1", "ship"): Evidence(4, 6)})
    assert shown(right, *wrong, top_k=1, weights=little) == ["coal", "ship"], (
        "a little better is not two sources' worth"
    )


def test_a_code_that_every_source_puts_last_is_not_shown() -> None:
    assert shown(proposal("a", ship=1.0), top_k=3) == ["ship"], "a source that gives the others nothing"
    three = proposal("a", ship=0.4, grain=0.2, oil=0.2, coal=0.1, corn=0.1)
    assert shown(three, top_k=5) == ["ship", "grain", "oil", "coal"]
    other = proposal("b", corn=0.5, ship=0.2, grain=0.1, oil=0.1, coal=0.1)
    assert "corn" in shown(three, other, top_k=5), "last of one only"


def test_where_several_codes_hold_a_source_does_not_put_last_what_it_says_holds() -> None:
    sure = proposal("a", ship=0.9, grain=0.9, oil=0.8, coal=0.7, corn=0.6)
    assert sorted(shown(sure, top_k=5, codebook=SEVERAL)) == sorted(LABELS)
    unsure = proposal("a", ship=0.9, grain=0.9, oil=0.8, coal=0.7, corn=0.4)
    assert "corn" not in shown(unsure, top_k=5, codebook=SEVERAL)


def graded(source: str, **levels: tuple[float, float]) -> Proposal:
    """Of the codes named the probabilities of low and high."""
    pairs = [(f"{code}:{level}", p) for code, both in levels.items() for level, p in zip(("low", "high"), both)]  # noqa: B905
    ranked = sorted(pairs, key=lambda pair: -pair[1])
    return Proposal("d1", source, f"{source}@1", tuple(ScoredLabel(label, p) for label, p in ranked))


def test_of_a_graded_code_one_level_is_shown() -> None:
    one = graded("a", ship=(0.5, 0.4), grain=(0.55, 0.0), oil=(0.1, 0.0))
    assert shown(one, codebook=GRADED, top_k=1) == ["ship:low"], "it holds with 0.9, grain with 0.55"
    other = graded("b", ship=(0.0, 0.8), grain=(0.1, 0.0), oil=(0.1, 0.1))
    found = candidate_set("d1", [one, other], CandidateRule(), "v", GRADED).candidates
    assert [c.label for c in found] == ["ship:high", "grain:low", "oil:low"]
    assert [(p.source, p.probability, p.rank) for p in found[0].proposers] == [("b", 0.8, 1), ("a", 0.4, 3)]
    assert found[0].probability == pytest.approx(0.6)


def test_a_label_of_another_codebook_is_refused() -> None:
    with pytest.raises(CodebookError, match="no label 'wine'"):
        shown(Proposal("d1", "a", "a@1", (ScoredLabel("wine", 1.0),)))


def test_without_proposals_there_are_no_candidates() -> None:
    assert candidate_set("d1", [], CandidateRule(), "v", BOOK) == CandidateSet("d1", "v", ())


shares = st.lists(st.floats(0.01, 1), min_size=len(LABELS), max_size=len(LABELS))
rules = st.builds(CandidateRule, max=st.integers(1, 6), top_k=st.integers(1, 6), floor=st.floats(0, 0.99))
kinds = st.sampled_from([BOOK, SEVERAL])


@st.composite
def drawn_proposals(draw: st.DrawFn) -> list[Proposal]:
    rows = draw(st.lists(shares, min_size=1, max_size=4))
    return [
        proposal(f"s{n}", **{label: round(w / sum(row), 6) for label, w in zip(LABELS, row, strict=True)})
        for n, row in enumerate(rows)
    ]


@given(drawn_proposals(), rules, kinds)
def test_any_proposals_give_candidates_within_the_rule(
    proposals: list[Proposal], rule: CandidateRule, codebook: Codebook
) -> None:
    found = candidate_set("d1", proposals, rule, "v", codebook).candidates
    assert 1 <= len(found) <= rule.max
    assert len({c.label for c in found}) == len(found)
    assert all(0 <= c.probability <= 1 and c.proposers for c in found)
    assert [len(c.proposers) for c in found] == sorted((len(c.proposers) for c in found), reverse=True)
    assert all(p.rank <= rule.top_k for c in found for p in c.proposers)
    below_half = {p.labels[-1].label if p.labels[-1].probability < 0.5 else "" for p in proposals}
    if len(below_half) == 1:
        assert below_half.isdisjoint(c.label for c in found)


@given(drawn_proposals(), rules, kinds, st.randoms())
def test_the_order_of_the_sources_changes_nothing(
    proposals: list[Proposal], rule: CandidateRule, codebook: Codebook, random: object
) -> None:
    mixed_up = list(proposals)
    random.shuffle(mixed_up)  # type: ignore[attr-defined]
    assert candidate_set("d1", mixed_up, rule, "v", codebook) == candidate_set("d1", proposals, rule, "v", codebook)


@given(drawn_proposals(), rules, kinds)
def test_more_room_only_adds_candidates(proposals: list[Proposal], rule: CandidateRule, codebook: Codebook) -> None:
    def found(**changes: float) -> list[str]:
        return [c.label for c in candidate_set("d1", proposals, replace(rule, **changes), "v", codebook).candidates]  # type: ignore[arg-type]

    assert found(max=rule.max + 1)[: rule.max] == found()
    wide = len(LABELS)
    assert set(found(max=wide)) <= set(found(max=wide, top_k=rule.top_k + 1))


def led(*proposals: Proposal, leader: str, codebook: Codebook = BOOK, **rule: float) -> list[str]:
    made = candidate_set("d1", proposals, CandidateRule(**rule), "v", codebook, leader=leader)  # type: ignore[arg-type]
    return [c.label for c in made.candidates]


def test_what_the_leading_source_stands_for_comes_first() -> None:
    c = proposal("c", corn=0.4, coal=0.3, oil=0.2, ship=0.1)
    assert shown(A, B, c, top_k=1) == ["grain", "ship", "corn"]
    assert led(A, B, c, leader="c", top_k=1) == ["corn", "grain", "ship"]
    assert led(A, B, c, leader="c", top_k=2)[:2] == ["corn", "grain"], "its second choice is not led"
    assert led(A, B, c, leader="c", top_k=1, max=1) == ["corn"]
    assert led(A, B, leader="c") == shown(A, B), "it has not proposed"


def test_a_leader_stands_for_all_that_it_holds_to_be_true() -> None:
    both = proposal("a", corn=0.9, coal=0.6, ship=0.4)
    others = proposal("b", ship=0.95, oil=0.9), proposal("c", ship=0.95, oil=0.9)
    assert led(both, *others, leader="a", codebook=SEVERAL)[:2] == ["corn", "coal"]
    assert led(both, *others, leader="b", codebook=SEVERAL)[:2] == ["ship", "oil"]
    levels = Proposal("d1", "a", "a@1", (ScoredLabel("corn:high", 0.6), ScoredLabel("ship:low", 0.3)))
    other = Proposal("d1", "b", "b@1", (ScoredLabel("ship:low", 0.9), ScoredLabel("corn:low", 0.4)))
    found = led(levels, other, leader="a", codebook=GRADED)
    assert [label.split(":")[0] for label in found][:2] == ["corn", "ship"], "the code leads, at the likeliest level"
