"""Probabilities of a question's answers from the log-probabilities that a server gives with the answer it wrote.

The server tells, for each token of its answer, the most probable tokens that could have stood there (20 at most). No
tokenizer is needed: a token continues an answer where what was read so far, and the token, are a beginning of it.

    P(answer) = product over positions along the answered path of exp(l[token]) / sum over tokens that continue some
                answer of exp(l[token])

A token after which one answer alone is possible gives its share to that answer. Tokens that leave the same answers
possible as the one that was written are its other spellings ("tr" and "t" for "trade"): their shares go on along the
path. A token that leaves the path and could still be several answers splits its share equally among them, since
nothing is known of what would follow. Answers that none of the listed tokens continues get 0.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Open = frozenset[int]  # indices of the answers that are still possible

IMPOSSIBLE = -1000.0  # vLLM writes -9999 for tokens that its grammar rules out


@dataclass(frozen=True, slots=True)
class Position:
    """One token of an answer as it was written, and the log-probabilities of the tokens that could have stood there,
    its own among them; tokens as UTF-8."""

    token: bytes
    alternatives: Mapping[bytes, float]


def answer_probabilities(answers: Sequence[bytes], written: int | None, positions: Sequence[Position]) -> Floats | None:
    """Probabilities ``[answers]``, adding up to 1; None where the tokens settle on no answer.

    ``answers`` are the texts as the server writes them, all with the same frame around the words; ``written`` is the
    one that the server's text is, None where it is none of them. It decides where log-probabilities end before the
    answer does, and alone where they do not spell it (a server may list the tokens of a thought that it left out).
    """
    found = np.zeros(len(answers))
    possible: Open = frozenset(range(len(answers)))
    read, mass = b"", 1.0
    for position in positions:
        if len(possible) == 1:
            break
        after = {
            token: left
            for token, log in position.alternatives.items()
            if log > IMPOSSIBLE and (left := _left(answers, possible, read, token))
        }
        path = after.get(position.token)
        if path is None and written is not None:
            return np.asarray(np.eye(len(answers))[written])
        if path != possible:  # tokens that decide nothing say nothing about those that do
            after = {token: left for token, left in after.items() if left != possible}
        if not after:
            break
        on_path = 0.0
        for token, share in _softmax({token: position.alternatives[token] for token in after}).items():
            if after[token] == path:
                on_path += share
            else:
                found[list(after[token])] += mass * share / len(after[token])
        mass *= on_path
        if path is None:
            return found
        possible, read = path, _joined(read, position.token)
    only = next(iter(possible)) if len(possible) == 1 else written
    if only is None:
        return None
    found[only] += mass
    return found


def _left(answers: Sequence[bytes], possible: Open, read: bytes, token: bytes) -> Open:
    """The answers that are still possible after ``token``."""
    whole = _joined(read, token)
    if token and (going_on := frozenset(i for i in possible if answers[i].startswith(whole))):
        return going_on
    # A token may hold an answer's end and what follows it: a quotation mark, a full stop, the end of the turn.
    ended = [i for i in possible if whole.startswith(answers[i]) and not _in_word(whole[len(answers[i]) :])]
    longest = max((len(answers[i]) for i in ended), default=0)
    return frozenset(i for i in ended if len(answers[i]) == longest)


def _joined(read: bytes, token: bytes) -> bytes:
    """Servers put a space before the first word where the tokenizer has one there."""
    return read + token if read else token.lstrip()


def _in_word(rest: bytes) -> bool:
    return rest[:1].isalnum() or rest[:1] >= b"\x80"


def _softmax(logs: Mapping[bytes, float]) -> dict[bytes, float]:
    most = max(logs.values())
    weights = {token: math.exp(log - most) for token, log in logs.items()}
    total = math.fsum(weights.values())
    return {token: weight / total for token, weight in weights.items()}
