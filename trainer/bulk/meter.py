"""How far the work has come: a bar where there is a terminal, else a line in the log now and then."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from datetime import timedelta
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

log = logging.getLogger(__name__)

SECONDS_BETWEEN = 10.0  # lines in the log


class Meter:
    """Documents done of ``total``, documents per second of this run, and the time left at that rate.

    ``done`` were done by earlier runs. ``clock`` gives seconds; ``doing`` and ``did`` say what is done.
    """

    def __init__(
        self,
        total: int,
        done: int,
        console: Console,
        clock: Callable[[], float] = time.monotonic,
        *,
        doing: str = "classifying",
        did: str = "classified",
    ) -> None:
        self.total, self.done = total, done
        self._did = did
        self._before = done
        self._clock = clock
        self._began = self._told = clock()
        self._bar = Progress(
            TextColumn(doing), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[rate]}"),
            console=console, disable=not console.is_terminal,
        )  # fmt: skip
        self._task = self._bar.add_task("", total=total, completed=done, rate="")

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def advance(self, documents: int) -> None:
        """So many more are done."""
        self.done += documents
        self._bar.update(self._task, completed=self.done, rate=self.rate)
        now = self._clock()
        if self._bar.disable and (now - self._told >= SECONDS_BETWEEN or self.done == self.total):
            self._told = now
            log.info("%s %d of %d documents, %s", self._did, self.done, self.total, self.rate)

    @property
    def rate(self) -> str:
        """Documents per second, and the time left."""
        seconds = self._clock() - self._began
        new = self.done - self._before
        if not new or seconds <= 0:
            return ""
        left = timedelta(seconds=round(seconds / new * (self.total - self.done)))
        return f"{rate_text(new / seconds)}, {left} left"


def rate_text(rate: float) -> str:
    """Documents per second, with as many digits as mean something."""
    return f"{rate:,.0f} documents/s" if rate >= 100 else f"{rate:.3g} documents/s"
