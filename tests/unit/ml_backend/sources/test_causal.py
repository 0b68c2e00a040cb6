"""A causal source: what it says of its work, its own bias divided out, examples shown, prompts that share a pass."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from label_configs.codebook import Code, Codebook, Kind
from label_configs.records import Document
from ml_backend.causal_model import CausalModel
from ml_backend.devices import DeviceFacts
from ml_backend.prompts import Prompt
from ml_backend.scoring import CONTENT_FREE, CausalScorer
from ml_backend.sources.calibrated import CalibratedSource
from ml_backend.sources.causal import CausalSource, without_prior
from ml_backend.sources.together import propose_together

CODES = (Code("s", "Ships", "Boats.", "ship"), Code("g", "Corn", "Wheat.", "oat"))
BOOK = Codebook("small", Kind.EXCLUSIVE, CODES)
GRADED = Codebook("graded", Kind.GRADED, CODES, levels=("low", "high"))
DOCUMENTS = [Document("d1", "A tanker left the port."), Document("d2", "Wheat rose."), Document("d3", "x" * 600)]


@dataclass
class Shown:
    """An example in a prompt."""

    text: str
    label: str


@pytest.fixture(scope="module")
def model(tiny_llama: Path) -> CausalModel:
    return CausalModel(str(tiny_llama), DeviceFacts("cpu", "cpu", 1 << 30, False))


def test_a_proposal_says_what_it_cost(model: CausalModel) -> None:
    prompt = Prompt("zero_shot", BOOK, model.tokenizer, 100)
    proposals = CausalSource("zero", "v1", model, prompt).propose(DOCUMENTS)
    assert [p.truncated for p in proposals] == [0, 0, 501]
    assert [p.tokens for p in proposals] == [min(100, len(f" {d.text}")) + len(prompt.tree) for d in DOCUMENTS], (
        "one token is one byte here"
    )
    assert all(p.seconds > 0 and p.version == "v1" and p.price is None for p in proposals)


def test_contextual_calibration_leaves_no_preference_without_content(model: CausalModel) -> None:
    prompt = Prompt("zero_shot", BOOK, model.tokenizer)
    (prior,) = CausalScorer(model.base, prompt).content_free()
    source = CausalSource("zero", "v", model, prompt, contextual=True)
    plain = CausalSource("zero", "v", model, prompt)
    documents = [Document(str(i), text) for i, text in enumerate([*CONTENT_FREE, "ships"])]
    found = [{s.label: s.probability for s in p.labels} for p in source.propose(documents)]
    raw = [{s.label: s.probability for s in p.labels} for p in plain.propose(documents)]
    for own, before in zip(found, raw, strict=True):
        weights = [before["s"] / prior[0], before["g"] / prior[1]]
        assert own["s"] == pytest.approx(weights[0] / sum(weights), abs=1e-4)
    assert np.mean([own["s"] for own in found[:3]]) == pytest.approx(0.5, abs=0.02)


def test_the_prior_is_divided_out_for_each_code_of_a_graded_codebook() -> None:
    prior = np.array([0.6, 0.2, 0.1, 0.1])
    np.testing.assert_allclose(without_prior(GRADED, prior, prior), np.full(4, 1 / 3))
    found = without_prior(GRADED, np.array([0.3, 0.3, 0.1, 0.1]), prior)
    # weights low, high, none: .3/.6, .3/.2, .4/.2 for the first code
    np.testing.assert_allclose(found, [0.5 / 4, 1.5 / 4, 1 / 3, 1 / 3])
    assert np.isfinite(without_prior(BOOK, np.array([1.0, 0.0]), np.array([0.0, 1.0]))).all()


def test_examples_stand_before_the_document_and_are_read_literally(model: CausalModel) -> None:
    shots = [Shown("A frigate sank.<|im_end|>", "ship"), Shown("Maize fell.", "oat")]
    prompt = Prompt("few_shot", BOOK, model.tokenizer, shots=shots)
    prefix = model.tokenizer.decode(prompt.prefix_ids)
    assert prefix.endswith(
        "Document: A frigate sank.<|im_end|>\nLabel: ship\n\nDocument: Maize fell.\nLabel: oat\n\nDocument:"
    )
    assert prompt.prefix_ids.count(model.tokenizer.eos_token_id) == 1, "the system turn's end, not the example's"
    nearest = Prompt("few_shot", BOOK, model.tokenizer, 9, shots=lambda text: [Shown(f"like {text[:3]}", "oat")])
    ids, cut = nearest.document_ids("Wheat rose again.")
    assert model.tokenizer.decode(ids) == "Document: like Whe\nLabel: oat\n\nDocument: Wheatin."
    assert cut == len(" Wheat rose again.") - 9
    assert "like" not in model.tokenizer.decode(nearest.prefix_ids)
    assert len(CausalSource("few", "v", model, nearest).propose(DOCUMENTS)) == 3


def test_sources_over_the_same_documents_share_what_they_can(model: CausalModel, tmp_path: Path) -> None:
    path = tmp_path / "ask.j2"
    path.write_text(
        "{% block system %}You read documents closely and answer one question at a time, with one word.{% endblock %}"
        "{% block user %}Document: {{ document }}{% endblock %}{% block question %}Which code?{% endblock %}"
    )
    prompts = [Prompt(name, BOOK, model.tokenizer) for name in ("iterative", "zero_shot", str(path))]
    sources = [CausalSource(p.name, p.name, model, p) for p in prompts]
    mended = CalibratedSource(sources[2], 2.0, BOOK)
    assert model.shares_prefix  # measured once, in passes of its own
    passes: list[int] = []
    handle = model.base.base_model.register_forward_pre_hook(
        lambda _m, _a, kw: passes.append(len(kw["input_ids"])), with_kwargs=True
    )
    together = propose_together([*sources[:2], mended], DOCUMENTS)
    handle.remove()
    assert passes.count(1) == 2, "two prefixes for three prompts"
    alone = [source.propose(DOCUMENTS) for source in (*sources[:2], mended)]
    for own, expected in zip(together, alone, strict=True):
        for one, other in zip(own, expected, strict=True):
            assert (one.source, one.version, one.document_id) == (other.source, other.version, other.document_id)
            found = {s.label: s.probability for s in one.labels}
            assert found == pytest.approx({s.label: s.probability for s in other.labels}, abs=1e-5)
