"""Where documents with a random place stand among those that have a score: in their midst, not before or after them."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import cast

from redis import Redis

from ml_backend.queue import KEPT_SECONDS, redis_errors

KEPT = 1000  # documents that a map is made of

# Of a project and a version of its review prediction: by task, the scores, and the draws of the random documents.
PLACES_KEY = "winnow:places:{project}:{version}:{which}"


@dataclass(frozen=True)
class Places:
    """A map from the random documents' draws to scores; both sorted, in [0, 1]. With nothing seen it is the identity.

    A draw goes to the score that stands as high among the scores as the draw among the draws (a quantile-quantile
    map). A new score is as likely to fall into any of the n + 1 gaps that n scores of its kind leave, and so is a
    random document's place: as many of them are to be expected among the first documents as among the last. Of two
    draws the lower one keeps the lower place. The draws count, too, since those of open documents are not uniform:
    after a promotion the low ones are coded already.
    """

    scores: tuple[float, ...] = ()
    draws: tuple[float, ...] = ()

    def at(self, drawn: float) -> float:
        """The place in [0, 1] of a document with this draw."""
        return _value(self.scores, _rank(self.draws, drawn))


UNIFORM = Places()


def _rank(values: Sequence[float], value: float) -> float:
    """The share of the values' n + 1 gaps that lie below, linear within a gap."""
    gap = bisect_right(values, value)
    low, high = _ends(values, gap)
    within = (value - low) / (high - low) if high > low else 0.0
    return (gap + min(1.0, max(0.0, within))) / (len(values) + 1)


def _value(values: Sequence[float], rank: float) -> float:
    """The inverse of ``_rank``."""
    gap = min(int(rank * (len(values) + 1)), len(values))
    low, high = _ends(values, gap)
    return low + (high - low) * (rank * (len(values) + 1) - gap)


def _ends(values: Sequence[float], gap: int) -> tuple[float, float]:
    return (values[gap - 1] if gap else 0.0), (values[gap] if gap < len(values) else 1.0)


def learned_places(
    redis: Redis,
    project_id: int,
    version: str,
    scores: Mapping[int, float],
    draws: Mapping[int, float],
    *,
    kept: int = KEPT,
) -> Places:
    """The map for a version of the review prediction, with these scores and draws, by task id, in it.

    The first ``kept`` documents count, each once; after them the map stays as it is, so that documents keep their order
    whenever they come. Raises QueueError when Redis is away.
    """
    keys = [PLACES_KEY.format(project=project_id, version=version, which=which) for which in ("scores", "draws")]
    with redis_errors(), redis.pipeline() as pipe:
        for key in keys:
            pipe.zcard(key)
        room = kept - sum(pipe.execute())
        for key, new in zip(keys, (scores, draws), strict=True):
            if new and room > 0:
                pipe.zadd(key, {str(task_id): value for task_id, value in new.items()}, nx=True)
                pipe.expire(key, KEPT_SECONDS)
        for key in keys:
            pipe.zrange(key, 0, -1, withscores=True)
        found = cast(list[list[tuple[bytes, float]]], pipe.execute()[-2:])
    return Places(*(tuple(value for _, value in pairs) for pairs in found))
