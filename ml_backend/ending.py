"""A process that was told to end does so in time, also while a server takes its requests and does not answer them."""

from __future__ import annotations

import logging
import os
import threading

from ml_backend.log_events import LogEvent, tell

log = logging.getLogger(__name__)

END_SECONDS = 8.0  # whoever stops a process may kill it after 10


def must_end(seconds: float = END_SECONDS) -> None:
    """Have this process end so many seconds from now at the latest, with code 1.

    To others it is then as if it had been killed: what it held is taken up once its heartbeat or lock has run out.
    """
    threading.Thread(target=_end, args=(seconds,), daemon=True).start()


def _end(seconds: float) -> None:
    threading.Event().wait(seconds)  # a daemon: it is gone with a process that ends sooner
    tell(log, LogEvent.PROCESS_CUT_OFF)
    logging.shutdown()
    os._exit(1)
