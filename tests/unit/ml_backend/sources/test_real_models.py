"""MiniLM and SmolLM2 as they will be used."""

from __future__ import annotations

import numpy as np
import pytest

from label_configs.codebook import Codebook, load_codebook
from label_configs.records import Document
from ml_backend.causal_model import CausalModel
from ml_backend.devices import DeviceFacts
from ml_backend.prompts import Prompt
from ml_backend.questions import label_probabilities
from ml_backend.scoring import CausalScorer
from ml_backend.sentence_encoder import SentenceEncoder
from ml_backend.sources.causal import CausalSource
from ml_backend.sources.similarity import SimilaritySource
from ml_backend.whole_prompt import whole_prompt_answers
from trainer.demo import documents
from trainer.demo.wheels import DemoFiles

pytestmark = pytest.mark.models

CLEAR = {
    "crude": "OPEC ministers agreed to cut crude oil output; barrel prices rose on the petroleum market.",
    "grain": "Wheat and maize harvests in the Midwest fell short; grain exports were cut by two million tonnes.",
    "interest": "The central bank lowered its discount rate by half a percentage point, and prime rates followed.",
}


@pytest.fixture(scope="module")
def reuters() -> Codebook:
    return load_codebook("reuters8")


@pytest.fixture(scope="module")
def encoder(demo_files: DemoFiles) -> SentenceEncoder:
    return SentenceEncoder(str(demo_files.minilm), DeviceFacts("cpu", "cpu", 1 << 30, False))


def test_similar_documents_and_labels_find_each_other(
    encoder: SentenceEncoder, reuters: Codebook, demo_files: DemoFiles
) -> None:
    source = SimilaritySource("mini", "v", encoder, reuters)
    named = [Document(code, text) for code, text in CLEAR.items()]
    assert [p.labels[0].label for p in source.propose(named)] == list(CLEAR)
    sample = documents.sample(demo_files.reuters_test, reuters.label_keys, total=40)
    proposals = source.propose([document for document, _ in sample])
    first = sum(p.labels[0].label == code for p, (_, code) in zip(proposals, sample, strict=True))
    third = sum(code in [s.label for s in p.labels[:3]] for p, (_, code) in zip(proposals, sample, strict=True))
    assert first >= 18, "63.8 % were measured on the test documents, by chance it were 5 of 40"
    assert third >= 32


def test_similarity_depends_on_the_document_alone(encoder: SentenceEncoder, reuters: Codebook) -> None:
    source = SimilaritySource("mini", "v", encoder, reuters)
    texts = [CLEAR["grain"], "x", "wheat " * 500]
    together = source.propose([Document(str(n), text) for n, text in enumerate(texts)])
    for proposal, text in zip(together, texts, strict=True):
        (alone,) = source.propose([Document("alone", text)])
        assert [s.label for s in alone.labels] == [s.label for s in proposal.labels]
        assert [s.probability for s in alone.labels] == pytest.approx(
            [s.probability for s in proposal.labels], abs=1e-4
        )
        assert sum(s.probability for s in proposal.labels) == pytest.approx(1, abs=1e-5)
    assert together[-1].tokens == 256
    assert SimilaritySource("mini", "v", encoder, reuters, 16).propose([Document("d", texts[-1])])[0].tokens == 16
    assert source.propose([]) == []


@pytest.fixture(scope="module")
def model(demo_files: DemoFiles) -> CausalModel:
    return CausalModel(str(demo_files.smollm2), DeviceFacts("cpu", "cpu", 1 << 30, False))


@pytest.mark.parametrize(("name", "shipped"), [("zero_shot", "cap"), ("iterative", "reuters8")])
def test_smollm2_scores_as_it_would_read_whole_prompts(model: CausalModel, name: str, shipped: str) -> None:
    prompt = Prompt(name, load_codebook(shipped), model.tokenizer)
    texts = [CLEAR["grain"], CLEAR["crude"] + " " + CLEAR["interest"]]
    assert model.shares_prefix
    found = np.stack([s.probabilities for s in CausalScorer(model.base, prompt).score(texts)])
    answers = whole_prompt_answers(model.base, prompt, [prompt.document_ids(text)[0] for text in texts])
    expected = label_probabilities(prompt.codebook, prompt.questions, answers)
    np.testing.assert_allclose(found, expected, atol=1e-3)
    assert found.argmax(1).tolist() == expected.argmax(1).tolist()


def test_smollm2_gives_every_label_a_probability(reuters: Codebook, model: CausalModel) -> None:
    source = CausalSource("zero", "v", model, Prompt("zero_shot", reuters, model.tokenizer))
    proposals = source.propose([Document(code, text) for code, text in CLEAR.items()])
    for proposal in proposals:
        assert sorted(s.label for s in proposal.labels) == sorted(reuters.label_keys)
        assert sum(s.probability for s in proposal.labels) == pytest.approx(1, abs=1e-5)
        assert proposal.tokens > 20
        assert proposal.seconds > 0
    by_label = [{s.label: s.probability for s in p.labels} for p in proposals]
    assert by_label[0]["crude"] > by_label[1]["crude"], "the document about oil is the likelier one to be about oil"
