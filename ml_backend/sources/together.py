"""Several sources over the same documents: what they can share is computed once."""

from __future__ import annotations

from collections.abc import Sequence

from label_configs.records import Document, Proposal
from ml_backend.sources.base import Mending, Sharing, Source


def propose_together(sources: Sequence[Source], documents: Sequence[Document]) -> list[list[Proposal]]:
    """For each source one proposal for each document, in order.

    Causal sources of one model and adapter whose prompts differ only after the document read it in one pass.
    """
    bare = [source.source if isinstance(source, Mending) else source for source in sources]
    made: dict[int, list[Proposal]] = {}
    for i, source in enumerate(bare):
        if i in made:
            continue
        if not isinstance(source, Sharing):
            made[i] = source.propose(documents)
            continue
        later = [j for j in range(i + 1, len(bare)) if j not in made and type(bare[j]) is type(source)]
        others = {j: bare[j] for j in later if source.shares_with(bare[j])}
        made.update(zip([i, *others], source.propose_with(list(others.values()), documents), strict=True))
    return [source.mended(made[i]) if isinstance(source, Mending) else made[i] for i, source in enumerate(sources)]
