"""Proposals made before, in Redis, by codebook and text: documents with equal text share them, and no text is kept."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence

from redis import Redis

from label_configs import wire
from label_configs.records import Document, Proposal, ScoredLabel
from ml_backend.queue import KEPT_SECONDS, redis_errors

# A hash from source version to JSON.
PROPOSALS_KEY = "winnow:proposals:{fingerprint}:{digest}"


def put_proposals(redis: Redis, fingerprint: str, pairs: Iterable[tuple[Document, Proposal]]) -> None:
    """Keep proposals for later: labels and probabilities only, no text."""
    with redis_errors(), redis.pipeline(transaction=False) as pipe:
        for document, proposal in pairs:
            key = PROPOSALS_KEY.format(fingerprint=fingerprint, digest=document.digest)
            value = {
                "labels": [[s.label, s.probability] for s in proposal.labels],
                **wire.cost_to_json(proposal),
            }
            pipe.hset(key, f"{proposal.source}\n{proposal.version}", json.dumps(value, separators=(",", ":")))
            pipe.expire(key, KEPT_SECONDS)
        pipe.execute()


def get_proposals(
    redis: Redis, fingerprint: str, documents: Sequence[Document], sources: Sequence[tuple[str, str]]
) -> list[dict[str, Proposal]]:
    """For each document the proposals kept for ``sources`` (name, version), by source name; without missing ones."""
    if not documents or not sources:
        return [{} for _ in documents]
    with redis_errors(), redis.pipeline(transaction=False) as pipe:
        for document in documents:
            key = PROPOSALS_KEY.format(fingerprint=fingerprint, digest=document.digest)
            pipe.hmget(key, [f"{name}\n{version}" for name, version in sources])
        rows = pipe.execute()
    found = []
    for document, row in zip(documents, rows, strict=True):
        kept: dict[str, Proposal] = {}
        for (name, version), value in zip(sources, row, strict=True):
            if value is not None:
                data = json.loads(value)
                labels = tuple(ScoredLabel(label, p) for label, p in data["labels"])
                kept[name] = Proposal(document.id, name, version, labels, **wire.cost_from_json(data))
        found.append(kept)
    return found
