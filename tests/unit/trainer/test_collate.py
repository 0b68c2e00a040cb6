"""Batches, token by token: with one token per byte, an off-by-one cannot hide."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoTokenizer

from label_configs.codebook import Code, Codebook, Kind
from label_configs.records import VerifiedExample
from ml_backend.prompts import Prompt
from ml_backend.scoring import trie_of
from trainer.collate import Sequenced, SequenceDataset, collate, sequences

BOOK = Codebook(
    "small",
    Kind.MULTILABEL,
    (Code("s", "S", "Ships.", "ab"), Code("t", "T", "Trains.", "abc"), Code("u", "U", "Grain.", "x")),
)
TEMPLATE = "{% block system %}s{% endblock %}{% block user %}<{{ document }}>{% endblock %}"


@pytest.fixture(scope="module")
def tokenizer(tiny_llama: Path) -> Any:
    return AutoTokenizer.from_pretrained(tiny_llama)


@pytest.fixture
def prompt(tokenizer: Any, tmp_path: Path) -> Prompt:
    (tmp_path / "own.j2").write_text(TEMPLATE)
    return Prompt(str(tmp_path / "own.j2"), BOOK, tokenizer, max_document_tokens=3)


def example(text: str, *labels: str) -> VerifiedExample:
    return VerifiedExample("d", text, labels, ("coder",), False)


def test_a_sequence_is_the_suffix_and_the_label(tokenizer: Any, prompt: Prompt) -> None:
    rows = sequences([example("hi", "u", "s"), example("none"), example("hello", "t")], prompt, trie_of(prompt))
    tail = "><|im_end|>\n<|im_start|>assistant\n"
    assert [tokenizer.decode(row.suffix) for row in rows] == ["hi" + tail, "hi" + tail, "heo" + tail]
    assert [tokenizer.decode(row.label) for row in rows] == ["x", "ab<|im_end|>", "abc"]


def test_every_token_of_a_batch_is_where_it_belongs() -> None:
    batch = collate([Sequenced((5, 6, 7), (8, 9, 3)), Sequenced((4,), (2,))])
    assert batch["input_ids"].tolist() == [[5, 6, 7, 8, 9], [4, 0, 0, 0, 0]]
    assert batch["mask"].tolist() == [[1, 1, 1, 1, 1], [1, 0, 0, 0, 0]]
    assert batch["targets"].tolist() == [[-100, -100, 8, 9, 3], [2, -100, -100, -100, -100]]
    assert all(tensor.dtype == torch.long for tensor in batch.values())


def test_each_target_follows_the_token_above_it(prompt: Prompt, tokenizer: Any) -> None:
    rows = sequences([example("hi", "s"), example("abcdefgh", "t", "u")], prompt, trie_of(prompt))
    batch = collate(rows)
    for number, row in enumerate(rows):
        whole = (*row.suffix, *row.label)
        for at, target in enumerate(batch["targets"][number].tolist()):
            if target != -100:
                assert batch["input_ids"][number, : at + 1].tolist() == list(whole[: at + 1])
                assert target == whole[at + 1]
        learned = [t for t in batch["targets"][number].tolist() if t != -100]
        assert learned == list(row.label)
        assert int(batch["mask"][number].sum()) == len(whole) - 1


def test_a_dataset_is_a_list() -> None:
    rows = [Sequenced((1,), (2,)), Sequenced((3,), (4,))]
    dataset = SequenceDataset(rows)
    assert len(dataset) == 2
    assert list(dataset) == rows == [dataset[0], dataset[1]]
