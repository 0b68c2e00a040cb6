"""Which verified documents a few-shot prompt shows: the same for every document, or those most like it.

Both ways choose among a snapshot's examples, so nothing of the holdout is ever shown, and both are deterministic.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch

from label_configs.codebook import Codebook
from label_configs.records import VerifiedExample
from ml_backend.questions import NONE
from ml_backend.sentence_encoder import MAX_TOKENS, SentenceEncoder

CHARACTERS = 400  # of an example: about 80 tokens of English, so that eight codes cost some 700, once
CUT = "…"


@dataclass(frozen=True, slots=True)
class Shot:
    """A verified document as a prompt shows it: ``text`` shortened to 400 characters, ``words`` of its labels."""

    text: str
    words: tuple[str, ...]

    @property
    def label(self) -> str:
        """The words as an answer: ``oil``, ``oil, trade``, or ``none`` where no code holds."""
        return ", ".join(self.words) or NONE


def choose_per_code(
    examples: Iterable[VerifiedExample], codebook: Codebook, shots: int, encoder: SentenceEncoder | None = None
) -> list[Shot]:
    """``shots`` short and typical examples of each code, in the codebook's order; fewer where a code has fewer.

    Of a code's examples the shorter half is looked at, but no fewer than ``shots`` and 5. With an encoder those nearest
    to the mean embedding of all of the code's examples are chosen; without one the shortest of them whose text is not
    cut off, a code's own before those that carry other codes, too. An example is shown once, however many codes it has.
    Examples with labels that the codebook no longer has are left out.
    """
    known = _known(examples, codebook)
    by_code: dict[str, list[VerifiedExample]] = {code.key: [] for code in codebook.codes}
    for example in known:
        for code in dict.fromkeys(codebook.label(key).code for key in example.labels):
            by_code[code].append(example)
    chosen: dict[str, VerifiedExample] = {}
    for own in by_code.values():
        new = [e for e in _by_typicality(own, shots, encoder) if _normalised(e.text) not in chosen]
        chosen |= {_normalised(e.text): e for e in new[:shots]}
    return [_shot(example, codebook) for example in chosen.values()]


def _by_typicality(
    own: Sequence[VerifiedExample], shots: int, encoder: SentenceEncoder | None
) -> list[VerifiedExample]:
    by_length = sorted(own, key=lambda e: (len(e.text), e.document_id))
    short = by_length[: max(5, shots, (len(own) + 1) // 2)]
    if encoder is None or not short:
        return sorted(short, key=lambda e: (len(e.text) > CHARACTERS, len(e.labels)))  # stable: the shorter first
    vectors = encoder.embed([e.text for e in by_length]).vectors
    nearness = (vectors[: len(short)] @ vectors.mean(0)).tolist()
    order = sorted(range(len(short)), key=lambda i: -round(nearness[i], 6))
    return [short[i] for i in order]


class Nearest:
    """For a document the ``shots`` most similar verified examples, by the cosine of their embeddings.

    The most similar stands last, next to the document. One whose text is that of the document, but for case and white
    space, is left out: a document is never shown its own answer. Texts are embedded as far as the encoder reads them.
    """

    def __init__(
        self, encoder: SentenceEncoder, examples: Iterable[VerifiedExample], codebook: Codebook, shots: int
    ) -> None:
        self._encoder = encoder
        self._number = shots
        known = _known(examples, codebook)
        self._shots = [_shot(example, codebook) for example in known]
        self._texts = [_normalised(example.text) for example in known]
        self._vectors = encoder.embed([example.text for example in known], MAX_TOKENS).vectors

    def __call__(self, text: str) -> list[Shot]:
        """The examples for one document."""
        return self.of([text])[0]

    def of(self, texts: Sequence[str]) -> list[list[Shot]]:
        """The examples for each document; embeds the documents in batches."""
        if not self._shots:
            return [[] for _ in texts]
        similarities = self._encoder.embed(texts, MAX_TOKENS).vectors @ self._vectors.T
        return [self._of(text, row) for text, row in zip(texts, similarities, strict=True)]

    def _of(self, text: str, similarities: torch.Tensor) -> list[Shot]:
        own = _normalised(text)
        found: dict[str, int] = {}
        # Six digits and a stable sort: what differs by rounding only stands in the order of the ids.
        for i in torch.argsort(-similarities.double().round(decimals=6), stable=True).tolist():
            if self._texts[i] != own:
                found.setdefault(self._texts[i], i)
            if len(found) == self._number:
                break
        return [self._shots[i] for i in reversed(found.values())]


def _known(examples: Iterable[VerifiedExample], codebook: Codebook) -> list[VerifiedExample]:
    """Examples of the codebook, by id."""
    labels: Mapping[str, object] = dict.fromkeys(codebook.label_keys)
    return sorted((e for e in examples if all(key in labels for key in e.labels)), key=lambda e: e.document_id)


def _shot(example: VerifiedExample, codebook: Codebook) -> Shot:
    in_order = [label.word for label in codebook.labels if label.key in example.labels]
    return Shot(shortened(example.text), tuple(in_order))


def shortened(text: str) -> str:
    """``text`` on one line, at most 400 characters long; cut between words where there are any near the end."""
    text = " ".join(text.split())
    if len(text) <= CHARACTERS:
        return text
    head = text[: CHARACTERS - len(CUT)]
    at_word = head.rpartition(" ")[0]
    return (at_word if len(at_word) > CHARACTERS * 3 // 4 else head) + CUT


def _normalised(text: str) -> str:
    return " ".join(text.casefold().split())
