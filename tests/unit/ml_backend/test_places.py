"""Random documents stand among the others: as many of them first as last, whatever the others' scores are like."""

from __future__ import annotations

import random
from collections.abc import Callable
from functools import partial
from itertools import pairwise
from statistics import mean

import pytest
from hypothesis import given
from hypothesis import strategies as st
from redis import Redis

from label_configs.codebook import Codebook
from label_configs.records import Document, Proposal, ScoredLabel
from ml_backend import places
from ml_backend.experiment import Experiment, Order, Project, Review
from ml_backend.ordering import drawn_place, is_random
from ml_backend.places import UNIFORM, Places, learned_places
from ml_backend.proposing import Plan
from ml_backend.registered_projects import register
from ml_backend.source_config import SourceConfig, SourceKind

shares = st.floats(0, 1, allow_subnormal=False)
samples = st.lists(shares, max_size=30).map(sorted).map(tuple)


@given(samples, samples, st.lists(shares, min_size=2, max_size=20))
def test_a_lower_draw_has_a_lower_place_whatever_was_seen(
    scores: tuple[float, ...], draws: tuple[float, ...], asked: list[float]
) -> None:
    found = [Places(scores, draws).at(one) for one in sorted(asked)]
    assert all(0 <= place <= 1 for place in found)
    assert all(first <= second + 1e-12 for first, second in pairwise(found))


@given(shares)
def test_with_nothing_seen_a_place_is_the_draw(drawn: float) -> None:
    assert UNIFORM.at(drawn) == pytest.approx(drawn)


def test_places_by_hand() -> None:
    assert [Places((0.9,)).at(one) for one in (0.0, 0.25, 0.5, 0.75, 1.0)] == pytest.approx([0, 0.45, 0.9, 0.95, 1])
    half_gone = Places((0.2, 0.4, 0.6), (0.5, 0.75, 0.9))
    assert [half_gone.at(one) for one in (0.5, 0.75, 0.9)] == pytest.approx([0.2, 0.4, 0.6])


def sure(draw: random.Random) -> float:
    return 1 - draw.random() ** 8


def unsure(draw: random.Random) -> float:
    return 0.3 * draw.random()


def two_kinds(draw: random.Random) -> float:
    return draw.choice((0.05, 0.95)) + 0.05 * draw.random()


@pytest.mark.parametrize("score", [sure, unsure, two_kinds])
@pytest.mark.parametrize("gone", [0.0, 0.6])
@pytest.mark.parametrize("seen", [0, 10, 300])
def test_random_documents_are_the_same_share_of_the_first_documents_as_of_all(
    score: Callable[[random.Random], float], gone: float, seen: int
) -> None:
    """``gone``: the draws below it, and as many of the others, were coded before."""
    draw, found = random.Random(1), []
    for _ in range(400 if seen == 10 else 40):
        sample = Places(
            tuple(sorted(score(draw) for _ in range(seen))),
            tuple(sorted(gone + (1 - gone) * draw.random() for _ in range(seen // 4))),
        )
        others = [(score(draw), False) for _ in range(400)]
        chosen = [(sample.at(gone + (1 - gone) * draw.random()), True) for _ in range(100)]
        order = [is_chosen for _, is_chosen in sorted([*others, *chosen])]
        found.append([mean(order[start : start + 100]) for start in range(0, 500, 100)])
    shares = [mean(column) for column in zip(*found, strict=True)]
    if seen:  # two draws say little of where the others begin
        assert shares == pytest.approx([0.2] * 5, abs=0.12 if gone and seen == 10 else 0.03)
    else:
        assert max(shares) > 0.4, "where nothing is known of scores that are not uniform, it is not so"


def test_the_first_documents_count_once_and_then_the_map_stays(redis: Redis) -> None:
    learned = partial(learned_places, redis, kept=4)
    assert learned(1, "v", {}, {}) == UNIFORM
    first = learned(1, "v", {10: 0.9, 11: 0.5}, {12: 0.3})
    assert first == Places((0.5, 0.9), (0.3,))
    assert learned(1, "v", {10: 0.1}, {12: 0.9}) == first, "a job that is run twice counts once"
    assert learned(1, "v", {13: 0.7}, {}) == Places((0.5, 0.7, 0.9), (0.3,))
    assert learned(1, "v", {14: 0.1}, {15: 0.1}) == Places((0.5, 0.7, 0.9), (0.3,)), "full"
    assert learned(1, "newer", {}, {}) == learned(2, "v", {}, {}) == UNIFORM
    assert all(int(str(redis.ttl(key))) > 0 for key in redis.scan_iter("winnow:places:*"))


@pytest.fixture
def by_uncertainty(project: Project) -> Plan:
    """A project whose hardest documents come first, but for a share of 0.3."""
    review = Review(order=Order.UNCERTAINTY, random_share=0.3)
    sources = (SourceConfig("words", SourceKind.FAKE),)
    return Plan.of(register(project.home, 9, Experiment("small", sources, review=review), project.codebook))


def proposed(document: Document, probability: float, codebook: Codebook) -> list[Proposal]:
    """What one source says of an exclusive code."""
    first, second, third = (code.key for code in codebook.codes)
    rest = 1 - probability
    labels = (ScoredLabel(first, probability), ScoredLabel(second, rest), ScoredLabel(third, 0.0))
    return [Proposal(document.id, "words", "1", labels)]


def test_random_documents_stand_among_others_that_sources_are_sure_of_and_are_a_fair_sample(
    redis: Redis, by_uncertainty: Plan
) -> None:
    """Every second document is harder, sources are rather sure of all: what is pushed chunk by chunk is looked at."""
    draw, codebook = random.Random(2), by_uncertainty.project.codebook
    documents = [Document(f"document-{n}", "ship", n) for n in range(3000)]
    hard = {one.id: one.task_id is not None and one.task_id % 2 == 0 for one in documents}
    made = {
        one.id: proposed(one, draw.uniform(0.8, 0.9) if hard[one.id] else draw.uniform(0.98, 0.999), codebook)
        for one in documents
    }
    draw.shuffle(documents)  # as ``enqueue_prelabel`` has them
    pushed = {}
    for start in range(0, len(documents), 16):
        chunk = documents[start : start + 16]
        plan = by_uncertainty.placing(redis, chunk, [made[one.id] for one in chunk])
        pushed.update({one.id: plan.score(one, made[one.id]) for one in chunk})
    review = by_uncertainty.project.experiment.review
    order = sorted(pushed, key=pushed.__getitem__)
    for share in (0.2, 0.5, 0.8):
        first = order[: int(share * len(order))]
        chosen = [one for one in first if is_random(one, review)]
        assert len(chosen) / len(first) == pytest.approx(0.3, abs=0.05)
        assert mean(map(hard.__getitem__, chosen)) == pytest.approx(0.5, abs=0.12)
    assert mean(map(hard.__getitem__, order[:1500])) > 0.75, "hard ones come first"

    late = [one for one in documents[places.KEPT + 100 :] if is_random(one.id, review)]
    assert sorted(late, key=lambda one: pushed[one.id]) == sorted(late, key=lambda one: drawn_place(one.id))
    again = by_uncertainty.placing(redis)
    assert all(again.score(one, made[one.id]) == pushed[one.id] for one in late), "/predict says what was pushed"


def test_the_order_random_needs_no_map(redis: Redis, project: Project) -> None:
    plan, document = Plan.of(project), Document("a", "ship", 1)
    made = proposed(document, 0.5, project.codebook)
    assert plan.placing(redis, [document], [made]) == plan
    assert plan.score(document, made) == pytest.approx(drawn_place("a"), abs=1e-8)
    assert not list(redis.scan_iter("winnow:places:*"))
