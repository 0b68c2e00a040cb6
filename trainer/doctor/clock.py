"""This machine's clock against those of Label Studio and Redis."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from label_configs.errors import EnvironmentFault
from ml_backend import queue
from ml_backend.labelstudio import LabelStudioClient
from ml_backend.settings import Settings
from trainer.mirror_refresh import MARGIN

MOST = MARGIN / 2
"""What is tolerated: a mirror reads again what is newer than its margin, and two clocks may err in opposite ways."""

Ask = Callable[[], datetime]


def check_clock(ask: Ask, whose: str, now: Ask = lambda: datetime.now(UTC)) -> str:
    """That the time that ``ask`` tells differs from this machine's by a few seconds at most."""
    before = now()
    theirs = ask()
    middle = before + (now() - before) / 2
    seconds = (theirs - middle).total_seconds()
    if abs(seconds) > MOST.total_seconds():
        told = "ahead of" if seconds > 0 else "behind"
        raise EnvironmentFault(
            f"{whose}'s clock is {timedelta(seconds=round(abs(seconds)))} (h:mm:ss) {told} this machine's; set both by "
            "NTP (`timedatectl set-ntp true`), else annotations are read late or not before the next day"
        )
    return f"{whose}'s clock is within {MOST.total_seconds():.0f} s of this machine's"


def label_studio_time(client: LabelStudioClient) -> datetime:
    """The time that Label Studio tells, to a second, whose middle is meant."""
    return client.server_time() + timedelta(seconds=0.5)


def redis_time(settings: Settings) -> datetime:
    """The time that Redis tells."""
    with queue.connect(settings) as redis, queue.redis_errors():
        seconds, microseconds = redis.time()
    return datetime.fromtimestamp(int(seconds) + int(microseconds) / 1e6, UTC)
