"""The order of documents: by entropy, by divergence, and random for those that estimates rest on."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from label_configs.codebook import Code, Codebook, Kind
from label_configs.drawing import is_holdout
from label_configs.records import Proposal, ScoredLabel
from ml_backend.experiment import Order, Review
from ml_backend.mixing import Evidence, MixingWeights
from ml_backend.ordering import TIES, disagreement, drawn_place, is_random, score, uncertainty
from ml_backend.training_config import Training

CODES = tuple(Code(key, key, f"About {key}.", key) for key in ("ship", "grain", "oil", "coal"))
BOOK = Codebook("four", Kind.EXCLUSIVE, CODES)
SEVERAL = Codebook("several", Kind.MULTILABEL, CODES)
GRADED = Codebook("graded", Kind.GRADED, CODES[:2], levels=("low", "high"))
IDS = [f"document-{n}" for n in range(4000)]


def proposal(source: str, *probabilities: float, codebook: Codebook = BOOK) -> Proposal:
    labels = zip(codebook.label_keys, probabilities, strict=True)
    return Proposal("d", source, "1", tuple(ScoredLabel(label, p) for label, p in labels))


def test_uncertainty_of_one_code_by_hand() -> None:
    assert uncertainty([proposal("a", 1, 0, 0, 0)], BOOK) == 0
    assert uncertainty([proposal("a", 0.25, 0.25, 0.25, 0.25)], BOOK) == pytest.approx(1)
    assert uncertainty([proposal("a", 0.5, 0.5, 0, 0)], BOOK) == pytest.approx(0.5)
    both = [proposal("a", 1, 0, 0, 0), proposal("b", 0, 1, 0, 0)]
    assert uncertainty(both, BOOK) == pytest.approx(0.5), "sure of different codes is unsure"
    assert uncertainty([proposal("a", 0, 0, 0, 0)], BOOK) == pytest.approx(1)


def test_uncertainty_of_several_codes_is_the_mean_over_labels() -> None:
    assert uncertainty([proposal("a", 0.5, 0.5, 0.5, 0.5)], SEVERAL) == pytest.approx(1)
    assert uncertainty([proposal("a", 1, 1, 0, 0)], SEVERAL) == 0
    assert uncertainty([proposal("a", 0.5, 1, 0, 0)], SEVERAL) == pytest.approx(0.25)
    assert uncertainty([proposal("a", 0.5, 0, 0.5, 0, codebook=GRADED)], GRADED) == pytest.approx(0.5)


def test_disagreement_by_hand() -> None:
    one, other = proposal("a", 1, 0, 0, 0), proposal("b", 0, 1, 0, 0)
    assert disagreement([one, other], BOOK) == pytest.approx(1)
    assert disagreement([one, proposal("b", 1, 0, 0, 0)], BOOK) == 0
    unsure = proposal("b", 0.25, 0.25, 0.25, 0.25)
    assert disagreement([unsure, proposal("a", 0.25, 0.25, 0.25, 0.25)], BOOK) == pytest.approx(0), "unsure, but as one"
    # H of (0.625, 0.125, 0.125, 0.125) less half of log 4, by log 2.
    pooled = -(0.625 * math.log(0.625) + 3 * 0.125 * math.log(0.125))
    assert disagreement([one, unsure], BOOK) == pytest.approx((pooled - math.log(4) / 2) / math.log(2))
    assert disagreement([proposal("a", 1, 1, 0, 0), proposal("b", 0, 1, 0, 0)], SEVERAL) == pytest.approx(0.25)
    assert disagreement([one], BOOK) == 0


def test_a_source_that_counts_for_little_disagrees_little() -> None:
    pair = [proposal("a", 0.9, 0.1, 0, 0), proposal("b", 0.5, 0.5, 0, 0), proposal("c", 0.9, 0.1, 0, 0)]
    little = MixingWeights({("b", "1", "ship"): Evidence(0, 500), ("a", "1", "ship"): Evidence(500, 500)})
    assert disagreement(pair, BOOK, little) < disagreement(pair, BOOK)


distributions = st.lists(st.floats(0, 1), min_size=4, max_size=4).filter(lambda row: sum(row) > 0.01)
books = st.sampled_from([BOOK, SEVERAL])


@given(st.lists(distributions, min_size=1, max_size=4), books, st.randoms())
def test_scores_lie_between_0_and_1_whatever_the_order_of_sources(
    rows: list[list[float]], codebook: Codebook, random: object
) -> None:
    proposals = [proposal(f"s{n}", *row, codebook=codebook) for n, row in enumerate(rows)]
    mixed_up = list(proposals)
    random.shuffle(mixed_up)  # type: ignore[attr-defined]
    for measure in (uncertainty, disagreement):
        found = measure(proposals, codebook)
        assert 0 <= found <= 1
        assert measure(mixed_up, codebook) == pytest.approx(found)


@given(distributions, st.integers(2, 4), books)
def test_sources_that_say_the_same_do_not_disagree(row: list[float], sources: int, codebook: Codebook) -> None:
    same = [proposal(f"s{n}", *row, codebook=codebook) for n in range(sources)]
    assert disagreement(same, codebook) == pytest.approx(0, abs=1e-9)


def test_the_least_certain_and_the_most_disputed_come_first() -> None:
    sure, unsure = proposal("a", 0.97, 0.01, 0.01, 0.01), proposal("a", 0.3, 0.3, 0.2, 0.2)
    first, later = (score("d", [one], Order.UNCERTAINTY, BOOK) for one in (unsure, sure))
    assert first is not None
    assert later is not None
    assert 0 <= first < later <= 1
    one, other = proposal("a", 1, 0, 0, 0), proposal("b", 0, 1, 0, 0)
    assert score("d", [one, other], Order.DISAGREEMENT, BOOK) == pytest.approx(0, abs=TIES)
    assert score("d", [one], Order.DISAGREEMENT, BOOK) is None, "nobody to disagree with"
    assert score("d", [one, other], Order.RANDOM, BOOK) is None


def test_documents_that_sources_are_equally_sure_of_come_in_a_drawn_order() -> None:
    found = {one: score(one, [proposal("a", 1, 0, 0, 0)], Order.UNCERTAINTY, BOOK) for one in IDS[:200]}
    assert all(place == pytest.approx(1, abs=TIES) for place in found.values())
    assert sorted(IDS[:200], key=found.__getitem__) == sorted(IDS[:200], key=drawn_place)  # type: ignore[arg-type]


def test_the_random_share_is_drawn_by_id_and_its_places_by_another_draw() -> None:
    review = Review(order=Order.UNCERTAINTY, random_share=0.25)
    chosen = [one for one in IDS if is_random(one, review)]
    assert 0.22 < len(chosen) / len(IDS) < 0.28
    more = Review(order=Order.DISAGREEMENT, random_share=0.5)
    assert all(is_random(one, more) for one in chosen), "a larger share keeps what a smaller one had"
    places = sorted(drawn_place(one) for one in chosen)
    assert all(abs(place - (n + 0.5) / len(places)) < 0.05 for n, place in enumerate(places)), (
        "uniform within the share"
    )
    assert all(is_random(one, Review()) for one in IDS[:100]), "all places are, in the order random"
    assert not any(is_random(one, Review(order=Order.UNCERTAINTY, random_share=0)) for one in IDS)


def test_the_holdout_keeps_random_places_for_what_is_judged_on_it() -> None:
    review, training = Review(order=Order.UNCERTAINTY, random_share=0), Training("m", holdout_share=0.3)
    assert [is_random(one, review, training) for one in IDS] == [is_holdout(one, 0.3) for one in IDS]


def test_what_is_coded_of_the_random_share_is_at_every_moment_a_fair_sample_of_the_project() -> None:
    """Hard documents come first; a mean over the coded ones is off, over the coded random ones it is not."""
    review = Review(order=Order.UNCERTAINTY, random_share=0.3)
    hard = {one: n % 2 == 0 for n, one in enumerate(IDS)}
    place = {one: drawn_place(one) if is_random(one, review) else (0.1 if hard[one] else 0.9) for one in IDS}
    coded = sorted(IDS, key=place.__getitem__)[:2000]
    random = [one for one in coded if is_random(one, review)]
    assert sum(map(hard.__getitem__, coded)) / len(coded) > 0.7
    share = sum(map(hard.__getitem__, random)) / len(random)
    assert abs(share - 0.5) < 3 * 0.5 / math.sqrt(len(random))
