"""Scores are what a model that reads every whole prompt would give, whatever the batches."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from label_configs.codebook import Code, Codebook, Kind
from label_configs.errors import CodebookError
from ml_backend.causal_model import CausalModel
from ml_backend.devices import DeviceFacts
from ml_backend.label_trie import LabelTrie
from ml_backend.prompts import Prompt
from ml_backend.scoring import CausalScorer

TEXTS = ["wheat", "a tanker left the port of Rotterdam this morning", "x" * 90, "ships", "maize and wheat " * 4]


@pytest.fixture(scope="module")
def model(tiny_llama: Path) -> CausalModel:
    return CausalModel(str(tiny_llama), DeviceFacts("cpu", "cpu", 1 << 30, False))


def coded(*words: str) -> Codebook:
    codes = tuple(Code(f"c{i}", f"Code {i}", f"Definition {i}.", word) for i, word in enumerate(words))
    return Codebook("words", Kind.EXCLUSIVE, codes)


def suffix(prompt: Prompt, text: str) -> list[int]:
    """What follows the prefix, up to where the label begins."""
    return [*prompt.document_ids(text)[0], *prompt.tails[0]]


@torch.inference_mode()
def by_whole_prompts(model: CausalModel, prompt: Prompt, words: Sequence[str], text: str) -> list[float]:
    """One forward pass of the causal model over the whole prompt and each label, constrained by hand."""
    tokenizer = model.tokenizer
    sequences = [tokenizer(word, add_special_tokens=False)["input_ids"] for word in words]
    for i, sequence in enumerate(sequences):
        if any(other[: len(sequence)] == sequence for j, other in enumerate(sequences) if j != i):
            sequences[i] = [*sequence, tokenizer.eos_token_id]
    start = [*prompt.prefix_ids, *suffix(prompt, text)]
    found = []
    for sequence in sequences:
        logits = model.base(torch.tensor([[*start, *sequence]])).logits[0].double()
        probability = 1.0
        for n, token in enumerate(sequence):
            allowed = sorted({other[n] for other in sequences if other[:n] == sequence[:n] and len(other) > n})
            weights = torch.softmax(logits[len(start) - 1 + n, allowed], 0)
            probability *= float(weights[allowed.index(token)])
        found.append(probability)
    return found


@pytest.mark.parametrize(
    "words",
    [
        ("a", "b", "c"),
        ("ship", "grain", "oil"),
        ("ship", "shipping", "shipyard", "s"),
        ("aa", "ab", "ba", "b", "aab"),
    ],
    ids=["single tokens", "several tokens", "prefixes", "nested prefixes"],
)
def test_equals_reading_every_whole_prompt(model: CausalModel, words: tuple[str, ...]) -> None:
    prompt = Prompt("definitions", coded(*words), model.tokenizer)
    scored = CausalScorer(model.base, prompt, token_budget=300).score(TEXTS)
    for text, one in zip(TEXTS, scored, strict=True):
        expected = by_whole_prompts(model, prompt, words, text)
        np.testing.assert_allclose(one.probabilities, expected, atol=1e-5, rtol=1e-4)
        assert one.probabilities.sum() == pytest.approx(1, abs=1e-6)


def test_the_order_and_company_of_documents_do_not_matter(model: CausalModel) -> None:
    prompt = Prompt("zero_shot", coded("ship", "shipping", "grain"), model.tokenizer)
    together = CausalScorer(model.base, prompt, token_budget=1000).score(TEXTS)
    backwards = CausalScorer(model.base, prompt, token_budget=1000).score(TEXTS[::-1])[::-1]
    alone = [CausalScorer(model.base, prompt).score([text])[0] for text in TEXTS]
    for one, other, single in zip(together, backwards, alone, strict=True):
        np.testing.assert_allclose(one.probabilities, other.probabilities, atol=1e-6)
        np.testing.assert_allclose(one.probabilities, single.probabilities, atol=1e-6)


def test_a_second_call_does_not_see_the_first(model: CausalModel) -> None:
    prompt = Prompt("zero_shot", coded("ship", "shipping", "grain"), model.tokenizer)
    scorer = CausalScorer(model.base, prompt)
    first = scorer.score(TEXTS)
    again = scorer.score(TEXTS)
    assert all((a.probabilities == b.probabilities).all() for a, b in zip(first, again, strict=True))


def test_batches_keep_to_the_token_budget(model: CausalModel) -> None:
    prompt = Prompt("zero_shot", coded("a", "b"), model.tokenizer)
    shapes: list[tuple[int, int]] = []

    def note(module: Any, arguments: Any, keywords: dict[str, Any]) -> None:
        shapes.append(tuple(keywords["input_ids"].shape))

    handle = model.base.base_model.register_forward_pre_hook(note, with_kwargs=True)
    try:
        scored = CausalScorer(model.base, prompt, token_budget=400).score(TEXTS * 3)
    finally:
        handle.remove()
    prefix, batches = shapes[0], shapes[1:]
    assert prefix == (1, len(prompt.prefix_ids)), "the prefix is computed once"
    longest = max(len(prompt.document_ids(text)[0]) for text in TEXTS) + len(prompt.tree)
    assert len(batches) > 1
    assert sum(rows for rows, _ in batches) == len(scored) == 15
    assert all(rows * width <= 400 or rows == 1 for rows, width in batches)
    assert [width for _, width in batches] == sorted((width for _, width in batches), reverse=True)
    assert all(rows * (len(prompt.prefix_ids) + width) <= 4 * 400 or rows == 1 for rows, width in batches)
    assert max(width for _, width in batches) == longest


def test_a_document_over_the_budget_is_scored_alone(model: CausalModel) -> None:
    prompt = Prompt("zero_shot", coded("a", "b"), model.tokenizer)
    small = CausalScorer(model.base, prompt, token_budget=1).score(TEXTS)
    large = CausalScorer(model.base, prompt, token_budget=10_000).score(TEXTS)
    for one, other in zip(small, large, strict=True):
        np.testing.assert_allclose(one.probabilities, other.probabilities, atol=1e-6)


def test_long_documents_lose_their_middle(model: CausalModel) -> None:
    prompt = Prompt("zero_shot", coded("a", "b"), model.tokenizer, max_document_tokens=10)
    kept, cut = prompt.document_ids("abcdefghijklmnopqrst")
    assert model.tokenizer.decode(kept) == " abcdefrst"
    assert cut == 11
    long, short = CausalScorer(model.base, prompt).score(["abcdefghijklmnopqrst", "abcdefrst"])
    assert (long.truncated, short.truncated) == (11, 0)
    np.testing.assert_allclose(long.probabilities, short.probabilities, atol=1e-6)
    assert long.tokens == short.tokens == 10 + len(prompt.tails[0])


def test_tokens_count_what_is_computed_per_document(model: CausalModel) -> None:
    prompt = Prompt("zero_shot", coded("ship", "shipping"), model.tokenizer)
    (scored,) = CausalScorer(model.base, prompt).score(["abc"])
    assert scored.tokens == len(suffix(prompt, "abc")) + len("ship")


def test_one_label_is_certain_and_no_documents_are_none(model: CausalModel) -> None:
    prompt = Prompt("zero_shot", coded("ship", "grain"), model.tokenizer)
    assert CausalScorer(model.base, prompt).score([]) == []
    trie = LabelTrie.build([(1, 2)], 0)
    assert trie.branches == {}


def test_progress_is_told_by_batch(model: CausalModel) -> None:
    prompt = Prompt("zero_shot", coded("a", "b"), model.tokenizer)
    told: list[int] = []
    CausalScorer(model.base, prompt, token_budget=200).score(TEXTS, told.append)
    assert sum(told) == len(TEXTS)
    assert len(told) > 1


def test_an_output_layer_with_an_adapter_is_asked_whole(model: CausalModel) -> None:
    class Doubled(torch.nn.Module):
        def __init__(self, inner: torch.nn.Module) -> None:
            super().__init__()
            self.inner = inner

        def forward(self, hidden: torch.Tensor) -> torch.Tensor:
            return 2 * self.inner(hidden)

    prompt = Prompt("zero_shot", coded("a", "b"), model.tokenizer)
    (plain,) = CausalScorer(model.base, prompt).score(["ships"])
    head = model.base.lm_head
    model.base.lm_head = Doubled(head)
    try:
        (doubled,) = CausalScorer(model.base, prompt).score(["ships"])
    finally:
        model.base.lm_head = head
    odds = plain.probabilities[0] / plain.probabilities[1]
    assert doubled.probabilities[0] / doubled.probabilities[1] == pytest.approx(odds**2, rel=1e-3)


def test_words_that_the_model_cannot_tell_apart_are_refused(model: CausalModel) -> None:
    tokenizer = model.tokenizer
    clash = Codebook(
        "clash", Kind.EXCLUSIVE, (Code("a", "A", "One.", "ship"), Code("b", "B", "Two.", "ship" + tokenizer.eos_token))
    )
    prompt = Prompt("zero_shot", clash, tokenizer)
    assert len({*prompt.answer_ids[0]}) == 2, "a word is read literally, even one that looks like the end"
    assert prompt.tries[0].sequences[0][-1] == tokenizer.eos_token_id


def test_words_read_alike_name_the_words(model: CausalModel) -> None:
    class Deaf:
        chat_template = None
        bos_token = None
        eos_token_id = None

        def __call__(self, text: str, **_: Any) -> dict[str, list[int]]:
            return {"input_ids": [1] * len(text)}

    with pytest.raises(CodebookError, match="'wheat' and 'maize' alike"):
        _ = Prompt("zero_shot", coded("wheat", "maize"), Deaf()).answer_ids
    with pytest.raises(CodebookError, match="the model has no end token"):
        _ = Prompt("zero_shot", coded("w", "wheat"), Deaf()).tries


label_sets = st.sets(st.lists(st.integers(1, 4), min_size=1, max_size=5).map(tuple), min_size=1, max_size=12)


@given(labels=label_sets, seed=st.integers(0, 2**16))
def test_probabilities_of_any_trie_sum_to_one(labels: set[tuple[int, ...]], seed: int) -> None:
    trie = LabelTrie.build(sorted(labels), 0)
    assert len(set(trie.sequences)) == len(labels)
    for one in trie.sequences:
        assert not any(other[: len(one)] == one for other in trie.sequences if other != one), "none is another's prefix"
    assert all(len(tokens) > 1 for tokens in trie.branches.values())
    if trie.branches:
        random = np.random.default_rng(seed)
        logs = {}
        for at, tokens in trie.branches.items():
            weights = random.random((3, len(tokens))) + 1e-3
            logs[at] = np.log(weights / weights.sum(1, keepdims=True))
        probabilities = trie.combine(logs)
        assert probabilities.shape == (3, len(labels))
        np.testing.assert_allclose(probabilities.sum(1), 1, atol=1e-9)


@pytest.mark.parametrize("labels", [[(1,), (1,)], [(1,), ()], [(1,), (1, 0)]])
def test_labels_that_cannot_be_told_apart_make_no_trie(labels: list[tuple[int, ...]]) -> None:
    with pytest.raises(ValueError, match="token"):
        LabelTrie.build(labels, 0)
