"""Classifying a file: check every row, classify chunk by chunk, assemble the output; resumable at every point."""

from __future__ import annotations

import json
import logging
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime
from itertools import count, islice
from typing import Any

from rich.console import Console

from label_configs.errors import ConfigError, EnvironmentFault, WinnowError
from label_configs.records import Document
from ml_backend.atomic import replacing, write_atomically
from trainer.bulk.engine import Engine
from trainer.bulk.job import BulkJob, file_digest
from trainer.bulk.manifest import Tally
from trainer.bulk.meter import Meter
from trainer.bulk.progress_folder import ProgressFolder, Run
from trainer.bulk.results import Result, open_results

log = logging.getLogger(__name__)


def finished(job: BulkJob) -> dict[str, Any] | None:
    """The manifest of an output that is written already, None where there is work to do.

    Raises ConfigError where the output is something else than this job's.
    """
    if job.progress_path.exists() or not job.out.exists():
        return None
    remedy = "choose another --out, or replace it with --restart"
    try:
        manifest = json.loads(job.manifest_path.read_text(encoding="utf-8"))
        identity = manifest["job"]
    except FileNotFoundError:
        raise ConfigError(f"--out {job.out}: is there already; {remedy}") from None
    except (OSError, ValueError, KeyError, TypeError):
        raise ConfigError(f"{job.manifest_path}: damaged, so what {job.out} holds is unknown; {remedy}") from None
    if identity != job.identity:
        others = ", ".join(name for name, value in job.identity.items() if identity.get(name) != value)
        raise ConfigError(f"--out {job.out}: holds another classification ({others} differ); {remedy}")
    return dict(manifest)


def classify(
    job: BulkJob, engine: Callable[[], Engine], console: Console, *, chunk_documents: int, restart: bool = False
) -> dict[str, Any]:
    """Write the job's output and its manifest, and return the manifest.

    What earlier runs did is kept, unless ``restart``; whatever ends this run loses at most the chunk at hand. The
    engine is built when the input is found in order and a chunk is missing. Raises ConfigError for an input that is
    not in order, and what the engine raises.
    """
    with console.status(f"checking {job.source}"):
        documents, skipped = job.check()
    if skipped:
        log.warning("%s: %d rows are left out, see %s", job.source, skipped, job.skipped_path)
    with ProgressFolder.open(job.progress_path, job.identity, chunk_documents, restart=restart) as progress:
        try:
            if progress.documents_of(documents) < documents:
                _classify_missing(job, engine(), console, progress, documents)
            manifest = _assemble(job, progress, documents, skipped)
        except (KeyboardInterrupt, WinnowError):
            if done := progress.documents_of(documents):
                log.warning(
                    "stopped: %d of %d documents are classified and kept in %s; the same command goes on from there",
                    done, documents, progress.path,
                )  # fmt: skip
            raise
        progress.remove()
    return manifest


def _classify_missing(job: BulkJob, engine: Engine, console: Console, progress: ProgressFolder, documents: int) -> None:
    done = progress.documents_of(documents)
    if done:
        log.info("going on: %d of %d documents are classified already", done, documents)
    progress.begin_run(Run(datetime.now(UTC).isoformat(timespec="seconds"), engine.device))
    with Meter(documents, done, console) as meter:
        _run(job, engine, progress, meter)


def _run(job: BulkJob, engine: Engine, progress: ProgressFolder, meter: Meter) -> None:
    under_way: deque[tuple[int, list[Document]]] = deque()

    def missing() -> Iterator[list[Document]]:
        documents = job.documents()
        for index in count():
            chunk = list(islice(documents, progress.chunk_documents))
            if not chunk:
                return
            if index not in progress.finished:
                under_way.append((index, chunk))
                yield chunk

    kind, before = job.spec.codebook.kind, time.monotonic()
    with closing(engine.classify(missing())) as made:
        for rows in made:
            index, chunk = under_way.popleft()
            results = [
                Result.of(document, proposal, kind=kind, top=job.top)
                for document, proposals in zip(chunk, rows, strict=True)
                for proposal in proposals
            ]
            now = time.monotonic()
            progress.keep(index, len(chunk), now - before, results)
            before = now
            meter.advance(len(chunk))


def _assemble(job: BulkJob, progress: ProgressFolder, documents: int, skipped: int) -> dict[str, Any]:
    """The output in the order of the input, then its manifest."""
    tally = Tally(job, progress.runs)
    with replacing(job.out, progress.path) as temporary:
        with open_results(temporary, job.out.suffix) as write:
            for index in range(-(-documents // progress.chunk_documents)):
                chunk = progress.read(index)
                tally.add(chunk)
                write(chunk.results)
        if tally.documents != documents or tally.rows != documents * len(job.spec.sources):
            raise EnvironmentFault(f"{progress.path}: lacks documents of {job.source}; begin anew with --restart")
        if file_digest(job.source) != job.input_digest:
            raise ConfigError(f"{job.source}: has changed meanwhile; classify it anew with --restart")
        digest = file_digest(temporary)
    manifest = tally.manifest(job, skipped, digest)
    write_atomically(job.manifest_path, json.dumps(manifest, indent=2, ensure_ascii=False) + "\n")
    return manifest
