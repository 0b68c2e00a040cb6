"""What a round tells Redis of itself, and hears from there. Redis may be away for as long as it likes."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from redis import Redis

from label_configs.errors import QueueError
from ml_backend.log_events import LogEvent
from ml_backend.log_events import tell as log_event
from ml_backend.round_queue import put_round_progress, stop_asked

log = logging.getLogger(__name__)

T = TypeVar("T")

EVERY_SECONDS = 1.0  # between two words of a round that trains
AWAY_SECONDS = 5.0  # until a Redis that was away is asked again


class Telling:
    """Tells of a project's round, ``always`` along with what is new; ``clock`` gives seconds.

    ``last`` is what the round said last, told or not.
    """

    def __init__(
        self, redis: Redis, project_id: int, always: Mapping[str, Any], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._redis, self._project, self._always, self._clock = redis, project_id, dict(always), clock
        self.last: Mapping[str, Any] = {}
        self._next = 0.0
        self._stage = ""
        self._away = False

    def tell(self, progress: Mapping[str, Any]) -> None:
        """Tell of a new stage at once, of anything else now and then."""
        self.last = progress
        now, stage = self._clock(), str(progress.get("stage", ""))
        if now < self._next and (self._away or stage == self._stage):
            return
        self._next, self._stage = now + EVERY_SECONDS, stage
        self._put()

    def tell_last(self, progress: Mapping[str, Any]) -> None:
        """Tell of the end, however recent the last word."""
        self.last = progress
        self._put()

    def stop_asked(self) -> bool:
        """Whether the round shall end; not while Redis is away."""
        if self._away and self._clock() < self._next:
            return False
        return self._try(lambda: stop_asked(self._redis, self._project)) or False

    def _put(self) -> None:
        self._try(lambda: put_round_progress(self._redis, self._project, {**self.last, **self._always}))

    def _try(self, command: Callable[[], T]) -> T | None:
        try:
            found = command()
        except QueueError as error:
            if not self._away:
                log_event(log, LogEvent.REDIS_AWAY, project=self._project, reason=error)
            self._away, self._next = True, self._clock() + AWAY_SECONDS
            return None
        self._away = False
        return found
