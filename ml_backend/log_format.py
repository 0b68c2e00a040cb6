"""How a log line looks: for a person, or as one JSON object. Holds for every logger of a process, other libraries' too.

The message of another library's error is left out: it may quote a document, or what a server answered. Where it came
from is told in full.
"""

from __future__ import annotations

import json
import logging
import sys
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from traceback import walk_tb
from types import TracebackType
from typing import Any

from label_configs.errors import WinnowError
from ml_backend.log_events import LogEvent, record_of, tell
from ml_backend.request_ids import request_ids

FRAMES = 40  # of an error, the innermost


class ConsoleFormatter(logging.Formatter):
    """Time, level, logger, message and request in one line; an error's places in lines of their own below it."""

    def __init__(self, *, bare: bool = False) -> None:
        super().__init__("%(message)s" if bare else "%(asctime)s %(levelname)s %(name)s %(message)s")

    def format(self, record: logging.LogRecord) -> str:
        """The line; control characters in the message are escaped, so that nobody can write lines of their own."""
        message = one_line(record.getMessage())
        if ids := request_ids():
            message += f" [request {ids[-1]}]"
        plain = logging.makeLogRecord({**record.__dict__, "msg": message, "args": None, "exc_info": None,
                                       "exc_text": None, "stack_info": None})  # fmt: skip
        return "\n".join([super().format(plain), *(f"    {line}" for line in places(_error(record)))])


class JsonFormatter(logging.Formatter):
    """One object a line: time (UTC), level, logger, event, message or the event's fields, request, error."""

    def format(self, record: logging.LogRecord) -> str:
        """The object, without a line break in it."""
        event = getattr(record, "event", None)
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "event": event,
        }
        if event is None:
            line["message"] = record.getMessage()
        else:
            line["fields"] = getattr(record, "fields", {})
        if ids := request_ids():
            line["request"] = ids[-1]
        if told := places(_error(record)):
            line["error"] = told
        return json.dumps(line, ensure_ascii=True, default=str)


def one_line(text: str) -> str:
    """The text with its control characters escaped."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def places(error: BaseException | None) -> list[str]:
    """What happened and where, from the outermost call inwards; of an error's causes too, the first one first.

    Only Winnow's own errors, which quote nothing, are told with their messages, and what the kernel says of a file.
    """
    return list(_told(error, set())) if error is not None else []


def _told(error: BaseException, seen: set[int]) -> Iterator[str]:
    seen.add(id(error))
    cause = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    if cause is not None and id(cause) not in seen:
        yield from _told(cause, seen)
    frames = [f"{frame.f_globals.get('__name__')}:{line} {frame.f_code.co_name}"
              for frame, line in walk_tb(error.__traceback__)]  # fmt: skip
    yield from frames[-FRAMES:]
    yield f"{type(error).__name__}{_message(error)}"


def _message(error: BaseException) -> str:
    if isinstance(error, WinnowError):
        return f": {one_line(str(error))}"
    if isinstance(error, OSError) and error.errno is not None and error.strerror:
        return f": {one_line(str(error.strerror))}"
    return ""


def _error(record: logging.LogRecord) -> BaseException | None:
    return record.exc_info[1] if record.exc_info else None


def log_crashes(log: logging.Logger) -> None:
    """Have errors that nobody catches logged like all else: by itself Python writes them out with their messages."""

    def crashed(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        if issubclass(kind, KeyboardInterrupt):
            sys.__excepthook__(kind, error, trace)
        else:
            tell(log, LogEvent.PROCESS_CRASHED, error=error)

    def thread_crashed(what: threading.ExceptHookArgs) -> None:
        if what.exc_value is not None:
            tell(log, LogEvent.PROCESS_CRASHED, error=what.exc_value)

    sys.excepthook = crashed
    threading.excepthook = thread_crashed


def log_formatter(log_format: str, *, bare: bool = False) -> logging.Formatter:
    """The formatter of ``WINNOW_LOG_FORMAT``; ``bare`` leaves time, level and logger to the handler of a console."""
    return JsonFormatter() if log_format == "json" else ConsoleFormatter(bare=bare)


def log_line(logger: str, event: LogEvent, **fields: Any) -> str:
    """The line that this process's log would have for an event, to be written elsewhere."""
    return log_formatter("json" if logs_json() else "console").format(record_of(logger, event, fields))


def logs_json() -> bool:
    """Whether this process's log is JSON."""
    return any(isinstance(handler.formatter, JsonFormatter) for handler in logging.getLogger().handlers)
