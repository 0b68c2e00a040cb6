"""Where documents and results lie between processes: a folder, or any file system that fsspec knows.

No document's text enters Redis: a job's arguments name an object here. Objects are small JSON-lines files; whoever
fetched one deletes it, and what nobody fetches expires.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from fsspec.implementations.local import LocalFileSystem

from label_configs.errors import ConfigError, EnvironmentFault, reason
from ml_backend.adapter_remote import network_errors, open_url
from ml_backend.atomic import write_atomically
from ml_backend.settings import Settings

log = logging.getLogger(__name__)

NAME = re.compile(r"[A-Za-z0-9_-]{1,100}(\.[a-z]{1,20})?")
SUFFIX = ".winnow.jsonl"
OURS = re.compile(rf"\.?{NAME.pattern}{re.escape(SUFFIX)}.*")  # also what a crash left of one that was being written


class Exchange:
    """Objects under names of letters, digits, ``_``, ``-`` and one ``.kind``; one is there in full or not at all.

    In a folder of this machine they are readable by their owner alone. Every method raises EnvironmentFault when the
    place cannot be used, and ConfigError for a name that is none.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        try:
            self._fs, self._root = open_url(url)
        except ImportError as error:
            raise EnvironmentFault(f"WINNOW_EXCHANGE {_scheme(url)}: {reason(error)}") from None
        except ValueError as error:
            raise ConfigError(
                f"WINNOW_EXCHANGE {_scheme(url)}: {reason(error)}; give a folder or a URL that fsspec knows"
            ) from None

    def put(self, name: str, rows: Iterable[Mapping[str, Any]]) -> None:
        """Write an object, one line for each row; one that is there already is replaced."""
        path, text = self._path(name), "".join(f"{json.dumps(row, separators=(',', ':'))}\n" for row in rows)
        with self._faults():
            if isinstance(self._fs, LocalFileSystem):
                Path(self._root).mkdir(mode=0o700, parents=True, exist_ok=True)
                write_atomically(Path(path), text, mode=0o600)
            else:
                self._fs.pipe_file(path, text.encode())

    def get(self, name: str) -> list[dict[str, Any]] | None:
        """The rows of an object, None when there is none."""
        path = self._path(name)
        with self._faults():
            try:
                text = self._fs.cat_file(path).decode()
            except FileNotFoundError:
                return None
        try:
            return [json.loads(line) for line in text.splitlines()]
        except ValueError:
            raise EnvironmentFault(f"exchange {_scheme(self.url)}: {name} is damaged; classify again") from None

    def has(self, name: str) -> bool:
        """Whether there is an object of this name."""
        path = self._path(name)
        with self._faults():
            return bool(self._fs.exists(path))

    def delete(self, *names: str) -> None:
        """Remove objects; those that are not there are no fault."""
        for path in [self._path(name) for name in names]:
            with self._faults():
                try:
                    self._fs.rm_file(path)
                except FileNotFoundError:
                    continue

    def clean(self, older_than: float) -> int:
        """Remove what was written more than ``older_than`` seconds ago, and no other file; how many objects."""
        before = datetime.now(UTC) - timedelta(seconds=older_than)
        removed = 0
        with self._faults():
            try:
                paths = [str(path) for path in self._fs.ls(self._root, detail=False)]
            except FileNotFoundError:
                return 0
            for path in paths:
                if OURS.fullmatch(path.rpartition("/")[2]) and self._expired(path, before):
                    removed += 1
        return removed

    def _expired(self, path: str, before: datetime) -> bool:
        try:
            written = self._fs.modified(path)
            # A time without a zone is UTC: what fsspec's file systems mean by it.
            old = (written if written.tzinfo else written.replace(tzinfo=UTC)) < before
            if old:
                self._fs.rm_file(path)
        except FileNotFoundError:  # fetched meanwhile
            return False
        return bool(old)

    def _path(self, name: str) -> str:
        if not NAME.fullmatch(name):
            raise ConfigError(f"exchange: {name[:40]!r} is no name of an object; use letters, digits, '-' and '_'")
        return f"{self._root}/{name}{SUFFIX}"

    @contextmanager
    def _faults(self) -> Iterator[None]:
        try:
            yield
        except network_errors() as error:
            raise EnvironmentFault(
                f"exchange {_scheme(self.url)}: {reason(error)}; set WINNOW_EXCHANGE to a place that all processes "
                "can write to"
            ) from None


def exchange_of(settings: Settings) -> Exchange:
    """The exchange of an installation."""
    return Exchange(settings.exchange_url)


def _scheme(url: str) -> str:
    """The folder; of a URL, which may hold a password, only the beginning."""
    scheme, separator, _ = url.partition("://")
    return f"{scheme}://" if separator else url
