"""Where the commands' words go: results to standard output, all else to standard error."""

from __future__ import annotations

import logging

from rich.console import Console
from rich.logging import RichHandler

from ml_backend.home_format import check_home
from ml_backend.log_format import log_crashes, log_formatter
from ml_backend.settings import Settings, load_settings

log = logging.getLogger(__name__)

QUIET = (
    "httpx", "httpcore", "httpx2", "httpcore2", "openai", "rq.worker", "werkzeug", "botocore", "aiobotocore", "s3fs",
    "fsspec", "urllib3",
)  # fmt: skip

stderr = Console(stderr=True)  # one for log and progress bars: they would write over each other


def settings_and_log() -> Settings:
    """The settings, with logging set up as they say. Raises ConfigError where the environment says what cannot be."""
    settings = load_settings()
    log_to_stderr(settings)
    check_home(settings.home)
    return settings


def log_to_stderr(settings: Settings) -> None:
    """Log to standard error: for a person where there is a terminal, plain lines in a log file, or JSON as is set.

    In a log file an error that nobody catches is a line of the log too.
    """
    handler: logging.Handler = logging.StreamHandler()
    if for_person := stderr.is_terminal and settings.log_format == "console":
        handler = RichHandler(console=stderr, show_path=False)
    handler.setFormatter(log_formatter(settings.log_format, bare=for_person))
    logging.basicConfig(level=settings.log_level, handlers=[handler], force=True)
    logging.captureWarnings(True)
    if not stderr.is_terminal:
        log_crashes(log)
    # One line for each request tells nobody anything, and below that some write out requests, which hold documents, or
    # those of S3 the session's token.
    for name in QUIET:
        logging.getLogger(name).setLevel(logging.WARNING)
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)  # warns of faster kernels that it could have
