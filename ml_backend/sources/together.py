"""Several sources over the same documents: what they can share is computed once."""

from __future__ import annotations

from collections.abc import Sequence

from label_configs.errors import ModelError
from label_configs.records import Document, Proposal
from ml_backend.sources.base import Failing, Mending, Sharing, Source


def propose_together(sources: Sequence[Source], documents: Sequence[Document]) -> list[list[Proposal]]:
    """For each source one proposal for each document, in order.

    Causal sources of one model and adapter whose prompts differ only after the document read it in one pass. Raises
    what a source raises.
    """
    made = _made(sources, documents, each=False)
    return [[one for one in row if isinstance(one, Proposal)] for row in made]


def propose_each_together(
    sources: Sequence[Source], documents: Sequence[Document]
) -> list[list[Proposal | ModelError]]:
    """The same, but a source that fails, for a document or for all, has the errors in the proposals' places."""
    return _made(sources, documents, each=True)


def _made(sources: Sequence[Source], documents: Sequence[Document], *, each: bool) -> list[list[Proposal | ModelError]]:
    bare = [source.source if isinstance(source, Mending) else source for source in sources]
    made: dict[int, list[Proposal | ModelError]] = {}
    for i, source in enumerate(bare):
        if i in made:
            continue
        if not isinstance(source, Sharing):
            made[i] = _each(source, documents) if each else [*source.propose(documents)]
            continue
        later = [j for j in range(i + 1, len(bare)) if j not in made and type(bare[j]) is type(source)]
        others = {j: bare[j] for j in later if source.shares_with(bare[j])}
        shared = source.propose_with(list(others.values()), documents)
        made.update(zip([i, *others], ([*row] for row in shared), strict=True))
    return [_mended(source, made[i]) if isinstance(source, Mending) else made[i] for i, source in enumerate(sources)]


def _each(source: Source, documents: Sequence[Document]) -> list[Proposal | ModelError]:
    try:
        return source.propose_each(documents) if isinstance(source, Failing) else [*source.propose(documents)]
    except ModelError as error:
        return [error] * len(documents)


def _mended(source: Mending, made: Sequence[Proposal | ModelError]) -> list[Proposal | ModelError]:
    mended = iter(source.mended([one for one in made if isinstance(one, Proposal)]))
    return [next(mended) if isinstance(one, Proposal) else one for one in made]
