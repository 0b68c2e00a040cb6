"""What a new adapter is compared with beside what it would replace: models learned in seconds from the same examples.

One is always there: TF-IDF with logistic regression. The others are the project's own sources that run on this machine
at next to no cost: a probe, fitted on the round's training documents, and the similarity to the codes' definitions. All
are asked about the same holdout in the round's process (``trainer.judging``); this module loads no model.

They learn from what coders verified, each document counting once. Silver documents are left out: their labels are what
the sources themselves said, and a probe in use does not learn from them either.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ml_backend.source_config import SourceConfig, SourceKind

TFIDF = "tf-idf"  # its key among the outcome's probabilities
TFIDF_NAME = "TF-IDF + logistic regression"
_SOURCE = "source:"  # before a source's name there, so that no name can be taken for another row

CHEAP = (SourceKind.PROBE, SourceKind.SIMILARITY)


@dataclass(frozen=True, slots=True)
class Bar:
    """A project's source that a new adapter is compared with, as the plan of a round has it.

    ``cache`` is the folder that holds the cache of embeddings, empty for none.
    """

    name: str
    kind: SourceKind
    model: str
    max_document_tokens: int
    cache: str = ""

    @property
    def key(self) -> str:
        """Its key among the outcome's probabilities."""
        return f"{_SOURCE}{self.name}"

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Bar:
        """The bar that ``dataclasses.asdict`` wrote."""
        return cls(**{**data, "kind": SourceKind(data["kind"])})


def bars_of(sources: Iterable[SourceConfig], home: Path) -> tuple[Bar, ...]:
    """Those of a project's sources that are bars."""
    return tuple(
        Bar(source.name, SourceKind(source.kind), source.model, source.max_document_tokens, str(home))
        for source in sources
        if source.kind in CHEAP
    )


def bar_name(key: str) -> str | None:
    """How people call the bar with this key among the outcome's probabilities; None where the row is no bar."""
    if key == TFIDF:
        return TFIDF_NAME
    return key.removeprefix(_SOURCE) if key.startswith(_SOURCE) else None


def bars_in(rows: Mapping[str, Sequence[Any]]) -> dict[str, Sequence[Any]]:
    """Of rows by the outcome's keys those of the bars, by the names that people call them."""
    return {name: own for key, own in rows.items() if (name := bar_name(key)) is not None}
