"""Where the commands' words go: results to standard output, all else to standard error."""

from __future__ import annotations

import logging

from rich.console import Console
from rich.logging import RichHandler

from ml_backend.settings import Settings, load_settings

QUIET = (
    "httpx", "httpcore", "httpx2", "httpcore2", "openai", "rq.worker", "werkzeug", "botocore", "aiobotocore", "s3fs",
    "fsspec", "urllib3",
)  # fmt: skip

stderr = Console(stderr=True)  # one for log and progress bars: they would write over each other


def settings_and_log() -> Settings:
    """The settings, with logging set up as they say. Raises ConfigError where the environment says what cannot be."""
    settings = load_settings()
    log_to_stderr(settings)
    return settings


def log_to_stderr(settings: Settings) -> None:
    """Log to standard error: for a person where there is a terminal, plain lines in a log file."""
    if stderr.is_terminal:
        handler = RichHandler(console=stderr, show_path=False)
        logging.basicConfig(level=settings.log_level, handlers=[handler], format="%(message)s", force=True)
    else:
        form = "%(asctime)s %(levelname)s %(name)s %(message)s"
        logging.basicConfig(level=settings.log_level, format=form, force=True)
    # One line for each request tells nobody anything, and below that some write out requests, which hold documents, or
    # those of S3 the session's token.
    for name in QUIET:
        logging.getLogger(name).setLevel(logging.WARNING)
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)  # warns of faster kernels that it could have
