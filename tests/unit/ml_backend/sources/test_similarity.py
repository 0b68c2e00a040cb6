"""What similarity becomes a probability of, for each kind of codebook."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from label_configs.codebook import Code, Codebook, Kind, load_codebook
from label_configs.records import Document, Proposal
from ml_backend.devices import DeviceFacts
from ml_backend.sentence_encoder import SentenceEncoder
from ml_backend.sources.similarity import SimilaritySource
from trainer.demo.wheels import DemoFiles

pytestmark = pytest.mark.models

TOPICS = (
    Code("oil", "Oil", "Crude oil, petrol and the market for them.", "oil"),
    Code("grain", "Grain", "Wheat, maize and their harvest.", "grain"),
    Code("music", "Music", "Songs, concerts and those who play them.", "music"),
)
TEXTS = [
    "Crude oil prices rose as OPEC cut its output.",
    "Farmers exported wheat and maize, and paid for it with crude oil.",
    "The committee adjourned until Tuesday.",
    "A song was played at the concert.",
    "",
]
DOCUMENTS = [Document(str(number), text) for number, text in enumerate(TEXTS)]


@pytest.fixture(scope="module")
def encoder(demo_files: DemoFiles) -> SentenceEncoder:
    return SentenceEncoder(str(demo_files.minilm), DeviceFacts("cpu", "cpu", 1 << 30, False))


def proposals(encoder: SentenceEncoder, codebook: Codebook) -> list[Proposal]:
    return SimilaritySource("mini", "v", encoder, codebook).propose(DOCUMENTS)


def probabilities(proposal: Proposal) -> dict[str, float]:
    return {scored.label: scored.probability for scored in proposal.labels}


def cosines(encoder: SentenceEncoder, codes: Sequence[Code]) -> list[list[float]]:
    """[documents][codes]"""
    of_codes = encoder.embed([f"{code.name}: {code.definition}" for code in codes]).vectors
    return [list(row) for row in (encoder.embed(TEXTS).vectors @ of_codes.T).tolist()]


def test_exclusive_codes_share_one_certainty(encoder: SentenceEncoder) -> None:
    for proposal in proposals(encoder, Codebook("topics", Kind.EXCLUSIVE, TOPICS)):
        assert sum(probabilities(proposal).values()) == pytest.approx(1, abs=1e-5)


def test_several_codes_may_hold_or_none(encoder: SentenceEncoder) -> None:
    made = proposals(encoder, Codebook("topics", Kind.MULTILABEL, TOPICS))
    held = [{label for label, p in probabilities(one).items() if p >= 0.5} for one in made]
    assert held == [{"oil"}, {"oil", "grain"}, set(), {"music"}, set()]


def test_probabilities_are_ordered_as_the_cosines_are(encoder: SentenceEncoder) -> None:
    codebook = load_codebook("dataverse")
    assert codebook.kind is Kind.MULTILABEL
    for proposal, row in zip(proposals(encoder, codebook), cosines(encoder, codebook.codes), strict=True):
        by_cosine = sorted(zip(row, codebook.codes, strict=True), key=lambda pair: -pair[0])
        found = probabilities(proposal)
        ordered = [found[code.key] for _, code in by_cosine]
        assert ordered == sorted(ordered, reverse=True)
        assert all(0 <= p <= 1 for p in ordered)


def test_the_nearer_a_document_the_higher_the_level(encoder: SentenceEncoder) -> None:
    codebook = Codebook("topics", Kind.GRADED, TOPICS, levels=("low", "medium", "high"))
    made = [probabilities(one) for one in proposals(encoder, codebook)]
    pairs = []
    for found, row in zip(made, cosines(encoder, TOPICS), strict=True):
        for code, cosine in zip(TOPICS, row, strict=True):
            levels = [found[f"{code.key}:{level}"] for level in codebook.levels]
            assert all(0 <= p <= 1 for p in levels)
            assert sum(levels) <= 1 + 1e-5
            pairs.append((cosine, sum(levels), levels[2]))
    pairs.sort()
    assert [p for _, p, _ in pairs] == sorted(p for _, p, _ in pairs), "that it holds at all"
    assert [p for _, _, p in pairs] == sorted(p for _, _, p in pairs), "that it holds at the highest level"
    assert max(made[0], key=lambda label: made[0][label]) == "oil:high"
    assert max(made[2].values()) < 0.5, "no level of any code"


def test_that_a_graded_code_holds_is_what_multilabel_says(encoder: SentenceEncoder) -> None:
    graded = proposals(encoder, Codebook("topics", Kind.GRADED, TOPICS, levels=("low", "high")))
    multilabel = proposals(encoder, Codebook("topics", Kind.MULTILABEL, TOPICS))
    for one, other in zip(graded, multilabel, strict=True):
        levels, codes = probabilities(one), probabilities(other)
        for code in TOPICS:
            assert levels[f"{code.key}:low"] + levels[f"{code.key}:high"] == pytest.approx(codes[code.key], abs=2e-6)


def test_what_was_not_read_is_told(encoder: SentenceEncoder) -> None:
    source = SimilaritySource("mini", "v", encoder, Codebook("topics", Kind.EXCLUSIVE, TOPICS), 16)
    (proposal,) = source.propose([Document("long", "grain " * 98)])
    assert (proposal.tokens, proposal.truncated) == (16, 84)
