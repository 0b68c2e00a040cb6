"""What is done for rare codes: their answers count more in the loss, or their documents are seen more often.

Either moves the model's probabilities of rare codes up, since it learns from a world where they are more frequent. The
adapter's temperature, fitted on the holdout as it is, takes back how certain they are, not which way they lean.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterable, Sequence
from math import floor, sqrt

from label_configs.records import VerifiedExample

MOST = 10.0  # times; a rare answer counts at most so much more than the commonest, a document is seen so often at most

Answered = tuple[int, int, float]  # a question, the answer that is right, and what it counts in the loss so far


def answer_weights(answered: Iterable[Answered]) -> dict[tuple[int, int], float]:
    """What an answer counts in the loss, by question and answer: the rarer, the more; the mean for each question is 1.

    Of n answers to a question, n_c of them c, out of k that occur, it is w_c = n / (k n_c), which is scikit-learn's
    ``class_weight="balanced"`` (King and Zeng, Logistic Regression in Rare Events Data, Political Analysis 2001), but
    that none counts more than ten times as much as the commonest: w_c is in proportion to 1 / max(n_c, max n / 10). An
    answer is counted by its weight, so that one which stands for ten that were not asked counts as ten.
    """
    counts: dict[int, dict[int, float]] = {}
    for question, answer, weight in answered:
        own = counts.setdefault(question, {})
        own[answer] = own.get(answer, 0.0) + weight
    found: dict[tuple[int, int], float] = {}
    for question, own in counts.items():
        raw = {answer: 1 / max(count, max(own.values()) / MOST) for answer, count in own.items()}
        mean = sum(count * raw[answer] for answer, count in own.items()) / sum(own.values())
        found |= {(question, answer): one / mean for answer, one in raw.items()}
    return found


def times_seen(examples: Sequence[VerifiedExample], seed: int) -> list[int]:
    """How often each document is seen in an epoch: 1, or more where it carries a rare label, at most 10.

    Repeat factor sampling (Gupta, Dollár and Girshick, LVIS, CVPR 2019): with f_c the share of documents that carry the
    label c, and t the mean of f_c over the labels that occur, a document is seen r = max over its labels c of
    max(1, sqrt(t / f_c)) times. Where r is no whole number it is rounded up with the probability of its fraction, drawn
    by the document's id and ``seed``. With L labels per document on average, an epoch is at most 1 + L times as long as
    one without: where exactly one code holds, at most twice.
    """
    carried = Counter(label for example in examples for label in set(example.labels))
    if not carried:
        return [1] * len(examples)
    mean = sum(carried.values()) / len(carried)
    factor = {label: min(MOST, max(1.0, sqrt(mean / count))) for label, count in carried.items()}
    found = []
    for example in examples:
        wanted = max((factor[label] for label in example.labels), default=1.0)
        whole = floor(wanted)
        drawn = random.Random(f"winnow-balance {seed} {example.document_id}").random()
        found.append(whole + (drawn < wanted - whole))
    return found
