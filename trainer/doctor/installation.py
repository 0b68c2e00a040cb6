"""The installation: its folder, Redis, and the web process."""

from __future__ import annotations

import tempfile

from label_configs.errors import EnvironmentFault, QueueError
from ml_backend import embedded_redis, queue
from ml_backend.secrets_file import SECRETS_FILE, read_secrets
from ml_backend.settings import Settings
from trainer.up import check_port, embedded_redis_answers, local_url, web_answers

OLDEST_REDIS = (6, 2)  # the embedded one's


def check_home(settings: Settings) -> str:
    """That the home folder can be written, or made, and that its secrets can be read."""
    home = settings.home
    place = next(p for p in (home, *home.parents) if p.exists())
    try:
        with tempfile.TemporaryFile(dir=place):
            pass
        exists = (home / SECRETS_FILE).exists()
    except OSError as error:
        raise EnvironmentFault(
            f"{place}: cannot be written ({error.strerror}); set WINNOW_HOME to a folder of yours"
        ) from None
    if exists:
        read_secrets(home)
    return str(home) if home.exists() else f"{home}: will be made"


def check_redis(settings: Settings) -> str:
    """That the configured Redis answers and is new enough; where none is, that the embedded one runs here."""
    if settings.redis_url is not None:
        with queue.connect(settings) as redis, queue.redis_errors():
            server: dict[str, object] = redis.info("server")
        version = str(server.get("redis_version", ""))
        if tuple(int(part) for part in version.split(".")[:2] if part.isdigit()) < OLDEST_REDIS:
            oldest = ".".join(map(str, OLDEST_REDIS))
            raise QueueError(f"the Redis at WINNOW_REDIS_URL is {version or 'of no release'}; use {oldest} or newer")
        return f"WINNOW_REDIS_URL answers, Redis {version}"
    told = " ".join(embedded_redis.version().split()[:3])
    if embedded_redis_answers(settings):
        return f"embedded {told}, running"
    return f"embedded {told}, not running; start with `winnow up`"


def check_web(settings: Settings) -> str:
    """That Winnow's web process answers under its address, or that its port is free."""
    local = local_url(settings)
    if not web_answers(local):
        check_port(settings.host, settings.port)
        return f"not running, {settings.host}:{settings.port} is free; start with `winnow up`"
    if settings.public_url is not None and not web_answers(settings.public_url):
        raise EnvironmentFault(
            f"runs at {local}, but no answer at {settings.public_url}; set WINNOW_PUBLIC_URL to an address under which "
            "Label Studio reaches it"
        )
    return f"running at {settings.backend_url}"


def check_authentication(settings: Settings) -> str:
    """Whether passwords and tokens are asked for; the settings allow it to be off only on this machine alone."""
    if settings.authentication:
        return "passwords and tokens are asked for"
    return f"off, whoever is on this machine may use {local_url(settings)}; unset WINNOW_AUTHENTICATION to have it on"
