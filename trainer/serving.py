"""The web process under gunicorn: several workers, threads for the calls that wait."""

from __future__ import annotations

import logging
from typing import Any

from gunicorn.app.base import BaseApplication
from gunicorn.glogging import Logger

from ml_backend import queue
from ml_backend.app import create_app
from ml_backend.log_events import LogEvent, tell
from ml_backend.settings import Settings, with_secrets
from trainer.dashboard.blueprint import DASHBOARD_PAGES
from trainer.dashboard.project_metrics import ProjectCollector
from trainer.web_worker import WebWorker

log = logging.getLogger(__name__)

THREADS = 8  # per worker; /predict waits in one, /webhook must find another free


class ServerLogger(Logger):
    """gunicorn's own lines among the process's others, in their format."""

    def setup(self, cfg: Any) -> None:
        """As gunicorn does it, without its handler."""
        super().setup(cfg)
        for handler in tuple(self.error_log.handlers):
            self.error_log.removeHandler(handler)
        self.error_log.propagate = True


class WebServer(BaseApplication):
    """gunicorn, configured from the settings alone."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        super().__init__()

    def load_config(self) -> None:
        """Set what gunicorn would read from a command line."""
        options: dict[str, Any] = {
            "bind": f"{self._settings.host}:{self._settings.port}",
            "workers": self._settings.web_workers,
            "worker_class": WebWorker,
            "sendfile": False,  # it knows no time limit
            "threads": THREADS,
            "timeout": 120,
            "graceful_timeout": 6,
            "accesslog": None,
            "logger_class": ServerLogger,
            "loglevel": self._settings.log_level.lower(),
            "control_socket_disable": True,
        }
        for key, value in options.items():
            if key in self.cfg.settings:
                self.cfg.set(key, value)

    def load(self) -> Any:
        """The Flask application of one worker process, with a Redis connection of its own."""
        redis = queue.connect(self._settings)
        return create_app(self._settings, redis, [DASHBOARD_PAGES], [ProjectCollector(self._settings.home)])


def run_web(settings: Settings) -> None:
    """Serve until told to stop. Raises QueueError when Redis is away."""
    queue.connect(settings).close()
    if not settings.authentication:
        tell(log, LogEvent.AUTHENTICATION_OFF, host=settings.host, port=settings.port)
    WebServer(with_secrets(settings)).run()
