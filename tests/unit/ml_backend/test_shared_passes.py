"""One pass for a document and all questions about it: for every kind of codebook, and for models of many shapes."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import (
    AutoTokenizer,
    CohereConfig,
    CohereForCausalLM,
    Gemma2Config,
    Gemma2ForCausalLM,
    GraniteConfig,
    GraniteForCausalLM,
    MambaConfig,
    MambaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
)

from label_configs.codebook import Code, Codebook, Kind
from label_configs.errors import ModelError
from ml_backend.causal_model import CausalModel, sharing_error
from ml_backend.devices import DeviceFacts
from ml_backend.prompts import Prompt
from ml_backend.questions import label_probabilities
from ml_backend.scoring import CausalScorer, share_a_pass
from ml_backend.source_config import Weights
from ml_backend.token_tree import TokenTree, common_beginning, trees_of
from ml_backend.whole_prompt import whole_prompt_answers

CPU = DeviceFacts("cpu", "cpu", 1 << 30, False)
TEXTS = ["wheat", "a tanker left the port of Rotterdam this morning", "", "x" * 90, "ships"]
CODES = (
    Code("s", "Ships", "Boats.", "ship"),
    Code("t", "Rails", "Trains.", "shipping"),
    Code("g", "Corn", "C.", "oat"),
)
BOOKS = [
    Codebook("one", Kind.EXCLUSIVE, CODES),
    Codebook("several", Kind.MULTILABEL, CODES),
    Codebook("graded", Kind.GRADED, CODES, levels=("low", "lower", "high")),
]
SHAPE = {
    "vocab_size": 300,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "pad_token_id": 0,
}


@pytest.fixture(scope="module")
def model(tiny_llama: Path) -> CausalModel:
    return CausalModel(str(tiny_llama), CPU)


def whole(model: Any, prompt: Prompt, texts: list[str]) -> Any:
    """The reference: a forward pass for each whole prompt with one question."""
    answers = whole_prompt_answers(model, prompt, [prompt.document_ids(text)[0] for text in texts])
    return label_probabilities(prompt.codebook, prompt.questions, answers)


@pytest.mark.parametrize("nodes", [1000, 40])
@pytest.mark.parametrize("book", BOOKS, ids=lambda book: book.name)
@pytest.mark.parametrize("name", ["zero_shot", "definitions", "iterative"])
def test_equals_one_whole_prompt_for_each_question(model: CausalModel, name: str, book: Codebook, nodes: int) -> None:
    prompt = Prompt(name, book, model.tokenizer)
    scored = CausalScorer(model.base, prompt, token_budget=4000, tree_nodes=nodes).score(TEXTS)
    found = np.stack([s.probabilities for s in scored])
    np.testing.assert_allclose(found, whole(model.base, prompt, TEXTS), atol=1e-5)
    assert found.min() >= 0
    if book.kind is Kind.EXCLUSIVE:
        np.testing.assert_allclose(found.sum(1), 1, atol=1e-6)
    if book.kind is Kind.GRADED:
        assert (found.reshape(len(TEXTS), 3, 3).sum(2) < 1).all(), "what is missing is that the code does not hold"


def test_questions_share_the_document_and_their_beginnings(model: CausalModel) -> None:
    prompt = Prompt("iterative", BOOKS[1], model.tokenizer)
    passes: list[tuple[int, int]] = []
    handle = model.base.base_model.register_forward_pre_hook(
        lambda _m, _a, kw: passes.append(tuple(kw["input_ids"].shape)), with_kwargs=True
    )
    CausalScorer(model.base, prompt, tree_nodes=1000).score(["a tanker left"])
    alone = len(" a tanker left") + len(common_beginning([path for paths in prompt.reads for path in paths]))
    assert passes == [(1, len(prompt.prefix_ids)), (1, len(" a tanker left") + len(prompt.tree))]
    assert len(prompt.tree) < sum(map(len, prompt.tails)) - len("\nAnswer yes or no: ")
    passes.clear()
    CausalScorer(model.base, prompt, tree_nodes=60).score(["a tanker left"])
    handle.remove()
    assert passes[:2] == [(1, len(prompt.prefix_ids)), (1, alone)]
    assert len(passes) > 3
    assert all(tokens <= 60 for _, tokens in passes[2:])


def own(folder: Path, name: str, question: str) -> str:
    path = folder / f"{name}.j2"
    path.write_text(
        "{% block system %}Code it.{% endblock %}{% block user %}T: {{ document }}{% endblock %}{% block question %}"
        + question
        + "{% endblock %}",
        encoding="utf-8",
    )
    return str(path)


def test_prompts_that_differ_after_the_document_share_the_pass(model: CausalModel, tmp_path: Path) -> None:
    first = Prompt(own(tmp_path, "a", "Which?"), BOOKS[0], model.tokenizer)
    second = Prompt(own(tmp_path, "b", "{{ code.word }}?"), BOOKS[1], model.tokenizer)
    assert share_a_pass(first, second)
    assert not share_a_pass(first, replace(second, max_document_tokens=3))
    assert not share_a_pass(first, Prompt("zero_shot", BOOKS[0], model.tokenizer))
    text = Path(first.name).read_text(encoding="utf-8")
    (tmp_path / "unspaced.j2").write_text(text.replace("T: {{", "T:{{"), encoding="utf-8")
    unspaced = Prompt(str(tmp_path / "unspaced.j2"), BOOKS[0], model.tokenizer)
    assert unspaced.prefix_ids == first.prefix_ids
    assert not share_a_pass(first, unspaced)
    passes: list[int] = []
    handle = model.base.base_model.register_forward_pre_hook(lambda _m, _a, _kw: passes.append(1), with_kwargs=True)
    both = CausalScorer(model.base, [first, second]).score_all(["ships", "wheat"])
    handle.remove()
    assert len(passes) == 2, "the prefix and one pass"
    for prompt, scored in zip((first, second), both, strict=True):
        alone = CausalScorer(model.base, prompt).score(["ships", "wheat"])
        for one, other in zip(scored, alone, strict=True):
            np.testing.assert_allclose(one.probabilities, other.probabilities, atol=1e-6)
    assert both[0][0].tokens + both[1][0].tokens <= sum(
        CausalScorer(model.base, p).score(["ships"])[0].tokens for p in (first, second)
    )


# --- memory ---------------------------------------------------------------------------------------------------------


class Cramped:
    """Stands before a model's backbone and refuses batches of more than ``most`` documents, as a full device does."""

    def __init__(self, most: int, error: Exception) -> None:
        self.most, self.error, self.sizes = most, error, list[int]()

    def __call__(self, _module: Any, _arguments: Any, keywords: dict[str, Any]) -> None:
        rows = len(keywords["input_ids"])
        self.sizes.append(rows)
        if rows > self.most:
            raise self.error


@pytest.mark.parametrize(
    "error", [torch.OutOfMemoryError("CUDA out of memory"), RuntimeError("DefaultCPUAllocator: can't allocate memory")]
)
def test_a_batch_that_does_not_fit_is_halved_and_work_goes_on(
    model: CausalModel, error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    prompt = Prompt("zero_shot", BOOKS[0], model.tokenizer)
    expected = CausalScorer(model.base, prompt).score(TEXTS * 3)
    scorer = CausalScorer(model.base, prompt, token_budget=100_000)
    cramped = Cramped(4, error)
    handle = model.base.base_model.register_forward_pre_hook(cramped, with_kwargs=True)
    try:
        found = scorer.score(TEXTS * 3)
    finally:
        handle.remove()
    assert max(cramped.sizes) == 15
    assert scorer.token_budget < 100_000
    assert "batch halved" in caplog.text
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one.probabilities, other.probabilities, atol=1e-6)


def test_one_document_that_does_not_fit_says_what_to_lower(model: CausalModel) -> None:
    prompt = Prompt("zero_shot", BOOKS[0], model.tokenizer)
    scorer = CausalScorer(model.base, prompt)
    scorer.score(["a"])
    handle = model.base.base_model.register_forward_pre_hook(
        Cramped(0, torch.OutOfMemoryError("CUDA out of memory")), with_kwargs=True
    )
    try:
        with pytest.raises(ModelError, match="lower max_document_tokens"):
            scorer.score(["b"])
    finally:
        handle.remove()


def test_other_errors_are_not_taken_for_a_lack_of_memory(model: CausalModel) -> None:
    prompt = Prompt("zero_shot", BOOKS[0], model.tokenizer)
    handle = model.base.base_model.register_forward_pre_hook(Cramped(0, RuntimeError("a bug")), with_kwargs=True)
    try:
        with pytest.raises(RuntimeError, match="a bug"):
            CausalScorer(model.base, prompt).score(["b"])
    finally:
        handle.remove()


# --- models of other shapes -----------------------------------------------------------------------------------------


@dataclass
class Shape:
    """A model of random weights."""

    name: str
    build: Any
    shares: bool


SHAPES = [
    Shape(
        "gemma2", lambda: Gemma2ForCausalLM(Gemma2Config(**SHAPE, sliding_window=24, final_logit_softcapping=0.5)), True
    ),
    Shape("mistral", lambda: MistralForCausalLM(MistralConfig(**SHAPE, sliding_window=None)), True),
    Shape("granite", lambda: GraniteForCausalLM(GraniteConfig(**SHAPE, logits_scaling=8.0)), True),
    Shape("cohere", lambda: CohereForCausalLM(CohereConfig(**SHAPE, logit_scale=0.06)), True),
    Shape("mamba", lambda: MambaForCausalLM(MambaConfig(vocab_size=300, hidden_size=32, num_hidden_layers=2)), False),
]


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: shape.name)
def test_models_of_any_shape_give_what_whole_prompts_give(
    shape: Shape, tiny_llama: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    torch.manual_seed(3)
    built = shape.build()
    with torch.no_grad():
        built.get_input_embeddings().weight.mul_(20)
    built.save_pretrained(tmp_path)
    AutoTokenizer.from_pretrained(tiny_llama).save_pretrained(tmp_path)
    loaded = CausalModel(str(tmp_path), CPU)
    assert loaded.shares_prefix is shape.shares
    assert ("prefix not shared" in caplog.text) is not shape.shares
    prompt = Prompt("definitions", BOOKS[2], loaded.tokenizer)
    texts = TEXTS if shape.shares else TEXTS[:2]
    for nodes in (1000, 40):
        scored = CausalScorer(loaded.base, prompt, shared=loaded.shares_prefix, tree_nodes=nodes).score(texts)
        found = np.stack([s.probabilities for s in scored])
        np.testing.assert_allclose(found, whole(loaded.base, prompt, texts), atol=1e-4)
    assert found.std() > 1e-3, "the model says something"


def test_a_model_that_reads_masks_in_its_own_way_is_found_out(model: CausalModel) -> None:
    assert sharing_error(model.base) < 1e-3

    def forget(_module: Any, arguments: Any, keywords: dict[str, Any]) -> Any:
        keywords["attention_mask"] = None
        return arguments, keywords

    handle = model.base.base_model.register_forward_pre_hook(forget, with_kwargs=True)
    try:
        assert sharing_error(model.base) > 1e-3
    finally:
        handle.remove()


@pytest.mark.parametrize(("weights", "off"), [(Weights.BFLOAT16, 0.05), (Weights.INT8, 0.1), (Weights.NF4, 0.3)])
def test_smaller_weights_give_nearly_the_same(tiny_llama: Path, tmp_path: Path, weights: Weights, off: float) -> None:
    torch.manual_seed(3)
    MistralForCausalLM(MistralConfig(**SHAPE | {"hidden_size": 64, "head_dim": 16})).save_pretrained(tmp_path)
    AutoTokenizer.from_pretrained(tiny_llama).save_pretrained(tmp_path)
    small, full = CausalModel(str(tmp_path), CPU, weights), CausalModel(str(tmp_path), CPU)
    assert small.shares_prefix
    prompt = Prompt("zero_shot", BOOKS[0], small.tokenizer)
    found = np.stack([s.probabilities for s in CausalScorer(small.base, prompt).score(TEXTS)])
    np.testing.assert_allclose(found, whole(full.base, prompt, TEXTS), atol=off)
    assert not np.array_equal(found, whole(full.base, prompt, TEXTS))


def test_float16_on_a_cpu_is_refused(tiny_llama: Path) -> None:
    with pytest.raises(ModelError, match="weights float16 need a GPU; use bfloat16 or auto"):
        CausalModel(str(tiny_llama), CPU, Weights.FLOAT16)


# --- the tree -------------------------------------------------------------------------------------------------------


@given(st.lists(st.lists(st.integers(0, 3), min_size=1, max_size=6).map(tuple), min_size=1, max_size=10))
def test_a_tree_holds_every_path_once(paths: list[tuple[int, ...]]) -> None:
    tree = TokenTree.build(paths)
    assert len(tree) == len({path[:n] for path in paths for n in range(1, len(path) + 1)})
    for path in paths:
        node = tree.nodes[path]
        way = np.flatnonzero(tree.ancestors[node])
        assert tuple(tree.tokens[sorted(way, key=lambda i: tree.depths[i])]) == path
        assert tree.depths[node] == len(path) - 1


PATHS = st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=5).map(tuple), min_size=1, max_size=8)


@given(st.lists(PATHS, min_size=1, max_size=6), st.integers(1, 20))
def test_small_trees_hold_all_questions_in_their_order(questions: list[list[tuple[int, ...]]], most: int) -> None:
    trees = trees_of(questions, most)
    left = iter(trees)
    tree = next(left)
    for paths in questions:
        while not all(path in tree.nodes for path in paths):
            tree = next(left)
    alone = [len(TokenTree.build(paths)) for paths in questions]
    assert all(len(tree) <= max(most, *alone) for tree in trees)
    assert len(trees) <= len(questions)


@given(PATHS)
def test_a_common_beginning_is_everyones_and_leaves_a_token(paths: list[tuple[int, ...]]) -> None:
    common = common_beginning(paths)
    assert all(path[: len(common)] == common and len(path) > len(common) for path in paths)
    longer = {path[: len(common) + 1] for path in paths}
    assert len(longer) > 1 or any(len(path) == len(common) + 1 for path in paths)


def test_without_paths_nothing_is_common() -> None:
    assert common_beginning([]) == ()
