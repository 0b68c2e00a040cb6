"""What Winnow's processes log for operators: each event by its name, with its fields, in one line.

    tell(log, LogEvent.ROUND_STARTED, project=1, round="3f0a...")

On a console that is ``round started: project=1 round=3f0a...``; with ``WINNOW_LOG_FORMAT=json`` one object a line
(``ml_backend.log_format``). Fields hold ids, counts, names and reasons, never a document's text, a request's body or a
secret.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Mapping
from enum import StrEnum
from typing import Any

DEBUG, INFO, WARNING, ERROR = logging.DEBUG, logging.INFO, logging.WARNING, logging.ERROR

_PLAIN = re.compile(r"[^\s\"'=\[\],{}]+")


class LogEvent(StrEnum):
    """An event; ``level`` is the one that it is logged at, ``meaning`` what has happened then."""

    level: int
    meaning: str

    def __new__(cls, name: str, level: int, meaning: str) -> LogEvent:
        """A member by its name in log lines, its level and its meaning."""
        member = str.__new__(cls, name)
        member._value_ = name
        member.level, member.meaning = level, meaning
        return member

    # web
    WEBHOOK_RECEIVED = "webhook-received", INFO, "Label Studio said that something changed in a project"
    REQUEST_FAILED = "request-failed", ERROR, "a call of the web process met an error that nobody foresaw; answered 500"
    REQUEST_REFUSED = "request-refused", INFO, "a call was refused: `status` and `code` say why, as its answer does"
    LOGIN_REFUSED = "login-refused", WARNING, "a user name, password or token was missing or wrong"
    LOGINS_LIMITED = "logins-limited", WARNING, "an address failed to log in too often and is not heard for a while"
    ROUND_CHANGED = "round-changed", INFO, "somebody started or stopped a round on the dashboard"
    ADAPTER_CHANGED = "adapter-changed", INFO, "somebody promoted an adapter or rolled it back on the dashboard"
    LABEL_CONFIG_EDITED = (
        "label-config-edited",
        WARNING,
        ("a label config was edited in Label Studio; proposals still fit, `winnow init` takes it as it is now"),
    )
    REPORT_MISSING = "report-missing", WARNING, "the dashboard's report of a project could not be made"
    METRICS_MISSING = "metrics-missing", WARNING, "figures of a project are missing at /metrics"

    # installation
    PROCESS_STARTED = "process-started", INFO, "`winnow up` started a process"
    PROCESS_KILLED = "process-killed", WARNING, "a process did not stop within its time and was killed"
    PROCESS_RESTARTED = (
        "process-restarted",
        WARNING,
        "a process ended by itself; `winnow up` starts it again in `seconds`",
    )
    PROCESS_CRASHED = "process-crashed", ERROR, "an error that nobody caught ended a process or one of its threads"
    COMMAND_FAILED = "command-failed", ERROR, "a command, or the process that it is, ended with this error"
    SECRETS_GENERATED = "secrets-generated", INFO, "an installation's secrets were generated and written to a file"
    SECRETS_EXPOSED = (
        "secrets-exposed",
        WARNING,
        ("others could read the file of secrets, now they cannot; set new passwords with `winnow password`"),
    )
    AUTHENTICATION_OFF = (
        "authentication-off",
        WARNING,
        ("nobody is asked for a password or token; only this machine itself reaches the web process"),
    )
    REDIS_AWAY = "redis-away", WARNING, "Redis does not answer; what is at hand goes on and it is asked again"
    EXCHANGE_EXPIRED = "exchange-expired", INFO, "documents and results that nobody fetched were deleted"

    # jobs
    JOB_FAILED = "job-failed", ERROR, "a job of a worker ended with an error"
    JOB_HANDED_BACK = "job-handed-back", INFO, "a worker that was stopped left its job to another one"
    JOBS_REVIVED = "jobs-revived", WARNING, "jobs of a worker that was killed are enqueued again"
    JOBS_GIVEN_UP = "jobs-given-up", ERROR, "jobs killed their workers again and again; their tasks have failed"
    CLASSIFICATION_FAILED = "classification-failed", ERROR, "a classification met an error that nobody foresaw"
    CLASSIFICATION_REVIVED = "classification-revived", WARNING, "a classification's job was lost and is enqueued again"

    # models and adapters
    MODEL_LOADED = "model-loaded", INFO, "a language model was loaded"
    ENCODER_LOADED = "encoder-loaded", INFO, "a sentence encoder was loaded"
    ADAPTER_LOADED = "adapter-loaded", INFO, "an adapter was loaded, into this process or a model server"
    ADAPTER_FETCHED = "adapter-fetched", INFO, "an adapter was fetched from a remote store"
    ADAPTER_REPUBLISHED = "adapter-republished", WARNING, "an adapter in the store was damaged and is published anew"
    ADAPTER_STAYS_LOADED = "adapter-stays-loaded", WARNING, "a model server did not drop an adapter; it costs memory"
    PREFIX_NOT_SHARED = (
        "prefix-not-shared",
        WARNING,
        ("a model cannot share a prompt's beginning; whole prompts are read, which takes longer"),
    )
    BATCH_HALVED = "batch-halved", WARNING, "documents did not fit the device's memory together and are split"
    CACHE_BYPASSED = (
        "cache-bypassed",
        WARNING,
        ("the embedding cache cannot be used; if it stays so, make room or delete the file"),
    )
    SOURCE_FITTED = "source-fitted", INFO, "a source learned from the verified documents"
    SOURCES_LEFT_OUT = "sources-left-out", WARNING, "sources cannot propose before documents are verified"
    EXAMPLES_LEFT_OUT = "examples-left-out", WARNING, "verified documents are of another codebook and are left out"

    # projects
    PROJECT_UNREADABLE = "project-unreadable", WARNING, "Label Studio could not be read for a project; tried again"
    PROJECT_FAULTY = "project-faulty", ERROR, "a project's own files or decisions hinder its look; tried again"
    PROJECT_CRASHED = "project-crashed", ERROR, "a look at a project met an error that nobody foresaw; tried again"
    PROCESS_CUT_OFF = (
        "process-cut-off",
        WARNING,
        "a process was told to end, and a server did not answer it",
    )
    LOOK_BROKEN_OFF = "look-broken-off", WARNING, "the scheduler was told to end while a server did not answer it"
    PROJECTS_OFFLINE = "projects-offline", WARNING, "the adapter store is away; projects are as known before"
    PROJECT_SHARED = "project-shared", INFO, "a project's files were put into the adapter store, for all hosts"
    LABEL_STUDIO_AWAY = "label-studio-away", WARNING, "Label Studio does not answer; it is waited for and asked again"
    LABEL_STUDIO_BACK = "label-studio-back", INFO, "Label Studio answers again"
    IMPORT_REPEATED = "import-repeated", WARNING, "an import was cut off; what arrived is looked for, not sent twice"
    DOUBLES_REMOVED = "doubles-removed", WARNING, "tasks that came twice were removed again"
    PROJECT_CREATED = "project-created", INFO, "a project was made in Label Studio"
    PROJECT_CONNECTED = "project-connected", INFO, "a project's webhook and model connection were set"
    LABEL_CONFIG_WRITTEN = "label-config-written", INFO, "a project's label config was written"
    PREDICTIONS_PUSHED = "predictions-pushed", INFO, "all open tasks of a project have the version in force"
    TASKS_FAILED = "tasks-failed", WARNING, "some tasks of a project got no prediction; `winnow status` has the reasons"
    PRELABEL_ASKED_AGAIN = (
        "prelabel-asked-again",
        WARNING,
        "jobs of a prelabelling are gone, as when Redis is wiped; enqueued again",
    )
    TASKS_TAKEN_UP = "tasks-taken-up", INFO, "tasks that a prelabelling left alone are proposed for"
    DOCUMENTS_REPEATED = "documents-repeated", INFO, "documents are shown again, to see whether coders agree with them"
    MIRROR_DAMAGED = "mirror-damaged", WARNING, "a project's mirror is damaged or of another version; it is read anew"
    COUNTED_ANEW = "counted-anew", INFO, "all annotated tasks of a project are counted anew"
    EXAMPLES_PUBLISHED = "examples-published", INFO, "the sources of a project have newer verified documents"
    EXAMPLES_WAIT = "examples-wait", INFO, "newer verified documents wait until predictions are pushed"
    PROPOSED_ANEW = "proposed-anew", INFO, "open tasks are proposed for anew, by newer examples and weights"
    SILVER_LEFT_OUT = "silver-left-out", WARNING, "documents that no coder saw cannot be trained on"

    # rounds
    ROUND_DUE = "round-due", INFO, "a fine-tuning round is due and was enqueued; `requests` led to it"
    ROUND_CUT_OFF = "round-cut-off", INFO, "the last round was cut off and is enqueued again"
    ROUND_STARTED = "round-started", INFO, "a round has its examples and begins to train; `requests` led to it"
    ROUND_RESUMED = "round-resumed", INFO, "a round that was cut off goes on from its last checkpoint"
    ROUND_ELSEWHERE = "round-elsewhere", INFO, "another process has the project's round"
    ROUND_KNOWN = "round-known", INFO, "a round was run on the same examples before; its verdict holds"
    ROUND_NOT_BEGUN = "round-not-begun", ERROR, "a round could not begin"
    ROUND_ENDED = "round-ended", INFO, "a round ended with a verdict, or was stopped"
    ROUND_FAILED = "round-failed", ERROR, "a round ended without an adapter"
    ROUND_NOT_TOLD = "round-not-told", WARNING, "a round ended and Redis could not be told; its record is on disk"
    SOURCES_NOT_JUDGED = "sources-not-judged", WARNING, "sources are not judged beside the adapter"
    TRAINING_STARTED = "training-started", INFO, "a training process was started; the round's log goes on below"
    TRAINING_MEMORY = "training-memory", INFO, "what a training will take at its highest by estimate, and what is free"
    CELL_FAILED = "cell-failed", WARNING, "a training of a learning curve failed"


def tell(log: logging.Logger, event: LogEvent, *, error: BaseException | None = None, **fields: Any) -> None:
    """Log an event with its fields, at its level; of ``error`` the type and the place are told, see ``log_format``.

    Fields that are None are left out.
    """
    if log.isEnabledFor(event.level):
        log.handle(record_of(log.name, event, fields, error))


def record_of(
    logger: str, event: LogEvent, fields: Mapping[str, Any], error: BaseException | None = None
) -> logging.LogRecord:
    """What the logging library makes of an event; ``event`` and ``fields`` are attributes of it."""
    given = {name: value for name, value in fields.items() if value is not None}
    cause = (type(error), error, error.__traceback__) if error is not None else None
    record = logging.getLogRecordFactory()(logger, event.level, "", 0, in_words(event, given), (), cause)
    record.event, record.fields = event.value, given
    return record


def in_words(event: LogEvent, fields: Mapping[str, Any]) -> str:
    """The line that a person reads: the event, then its fields as ``name=value``, quoted where they hold more."""
    told = " ".join(f"{name}={_shown(value)}" for name, value in fields.items())
    name = event.value.replace("-", " ")
    return f"{name}: {told}" if told else name


def _shown(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, list | tuple | set | frozenset):
        return ",".join(_shown(one) for one in value) or '""'
    text = str(value)
    return text if _PLAIN.fullmatch(text) else json.dumps(text, ensure_ascii=False)
