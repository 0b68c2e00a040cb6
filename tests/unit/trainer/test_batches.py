"""What a step holds does not depend on how it is cut."""

from __future__ import annotations

from collections import Counter

import pytest
import torch

from trainer.batches import MicroBatches, accumulation_of, row_weight, steps_of
from trainer.collate import IGNORED, Collator
from trainer.sequences import Sequenced


def test_every_epoch_holds_each_document_once_in_an_order_of_its_own() -> None:
    steps = steps_of(50, 8, 3, seed=0)
    assert len(steps) == 3 * 7
    epochs = [[i for step in steps[at : at + 7] for i in step] for at in (0, 7, 14)]
    assert all(Counter(epoch) == Counter(range(50)) for epoch in epochs)
    assert epochs[0] != epochs[1] != epochs[2]
    sizes = Counter(len(step) for step in steps)
    assert sizes == {8: 18, 2: 3}


def test_the_order_is_the_seeds() -> None:
    assert steps_of(50, 8, 2, seed=3) == steps_of(50, 8, 2, seed=3)
    assert steps_of(50, 8, 2, seed=3) != steps_of(50, 8, 2, seed=4)


def test_documents_of_like_length_share_a_micro_batch_and_steps_are_drawn_at_random() -> None:
    data = [Sequenced((9,) * ((37 * n) % 256 + 1), (((5, 6), 1),), (1.0,)) for n in range(512)]
    steps = steps_of(512, 32, 1, seed=0)
    means = [sum(len(data[i].document) for i in step) / len(step) for step in steps]
    assert 100 < min(means) < max(means) < 156, "a step is like any other"
    batches = MicroBatches(data, Collator(0), steps, accumulation=4)
    computed = sum(batches[at]["input_ids"].numel() for at in range(len(batches)))
    at_random = sum(
        8 * (max(len(data[i].document) for i in step[n : n + 8]) + 1) for step in steps for n in (0, 8, 16, 24)
    )
    assert computed < 0.75 * at_random


def rows(number: int) -> list[Sequenced]:
    """Documents of 1, 2, .. tokens, each its own token, with one answer of two tokens or of one."""
    return [
        Sequenced((n + 10,) * (n + 1), (((5, 6, 7)[: 2 + n % 2], 1),), (0.5 if n % 3 else 2.0,)) for n in range(number)
    ]


@pytest.mark.parametrize(("micro", "processes"), [(8, 1), (4, 1), (3, 1), (1, 1), (4, 2), (2, 2), (1, 4)])
def test_a_step_holds_the_same_however_it_is_cut(micro: int, processes: int) -> None:
    data = rows(11)
    steps = [[3, 0, 8, 1, 10, 5, 2, 7], [4, 9, 6]]
    accumulation = accumulation_of(8, micro, processes)
    parts = [MicroBatches(data, Collator(0), steps, accumulation, p, processes) for p in range(processes)]
    assert {len(part) for part in parts} == {2 * accumulation}
    for at, step in enumerate(steps):
        batches = [part[at * accumulation + n] for part in parts for n in range(accumulation)]
        assert all(len(batch["input_ids"]) <= micro for batch in batches)
        counted = [batch["weights"].sum(1) > 0 for batch in batches]
        firsts = torch.cat([b["input_ids"][c, 0] for b, c in zip(batches, counted, strict=True)])
        assert sorted(firsts.tolist()) == sorted(i + 10 for i in step)
        weight = sum(row_weight(data[i]) for i in step)
        assert sum(float(batch["weights"].sum()) for batch in batches) == pytest.approx(weight)
        assert [float(batch["total"]) for batch in batches] == pytest.approx([weight] * len(batches))
        assert all((batch["targets"] != IGNORED).any(1).all() for batch in batches)
