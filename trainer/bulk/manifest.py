"""The record beside an output: what was classified by what, where and at what cost."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from typing import Any
from urllib.parse import urlsplit

from ml_backend.versions import ActiveSource
from trainer.bulk.job import BulkJob
from trainer.bulk.progress_folder import Chunk, Run

PACKAGES = ("label-studio-winnow", "torch", "transformers", "peft", "scikit-learn", "numpy", "openai", "pyarrow")


@dataclass
class _Sum:
    """What one source took."""

    documents: int = 0
    tokens: int = 0
    output_tokens: int = 0
    truncated_documents: int = 0
    truncated_tokens: int = 0
    seconds: float = 0.0
    price: float | None = None


class Tally:
    """Adds up the chunks of an output."""

    def __init__(self, job: BulkJob, runs: Sequence[Run]) -> None:
        self.rows = 0
        self.documents = 0
        self.seconds = 0.0
        self._sums = {active.config.name: _Sum() for active in job.spec.sources}
        self._runs = [{**asdict(run), "chunks": 0, "documents": 0, "seconds": 0.0} for run in runs]

    def add(self, chunk: Chunk) -> None:
        """Count one chunk."""
        self.documents += chunk.documents
        self.seconds += chunk.seconds
        run = self._runs[chunk.run]
        run |= {
            "chunks": run["chunks"] + 1,
            "documents": run["documents"] + chunk.documents,
            "seconds": round(run["seconds"] + chunk.seconds, 3),
        }
        self._runs[chunk.run] = run
        for result in chunk.results:
            self.rows += 1
            total = self._sums[result.source]
            total.documents += 1
            total.tokens += result.tokens
            total.output_tokens += result.output_tokens
            total.truncated_documents += result.truncated > 0
            total.truncated_tokens += result.truncated
            total.seconds += result.seconds
            if result.price is not None:
                total.price = (total.price or 0.0) + result.price

    def manifest(self, job: BulkJob, skipped: int, output_digest: str) -> dict[str, Any]:
        """Everything that a reader of the output may ask for, as plain data."""
        codebook = job.spec.codebook
        return {
            "job": job.identity,
            "input": {
                "file": str(job.source),
                "sha256": job.input_digest,
                "encoding": job.encoding or "UTF-8, or as its byte order mark says",
                "id_column": job.id_column,
                "text_column": job.text_column,
                "rows": self.documents + skipped,
                "classified": self.documents,
                "skipped": skipped,
                "skipped_rows": str(job.skipped_path) if skipped else None,
            },
            "output": {"file": str(job.out), "sha256": output_digest, "rows": self.rows},
            "codebook": {"name": codebook.name, "kind": codebook.kind.value, "fingerprint": codebook.fingerprint},
            "sources": [_source(active, self._sums[active.config.name]) for active in job.spec.sources],
            "device": self._runs[-1]["device"],
            "runs": self._runs,
            "started": self._runs[0]["started"],
            "ended": datetime.now(UTC).isoformat(timespec="seconds"),
            "seconds": round(self.seconds, 3),
            "documents_per_second": round(self.documents / self.seconds, 3) if self.seconds else None,
            "seeds": "none: nothing is drawn at random",
            "packages": {name: found for name in PACKAGES if (found := _version(name))},
        }


def _source(active: ActiveSource, total: _Sum) -> dict[str, Any]:
    config = asdict(active.config)
    if config["api"]:
        config["api"]["base_url"] = _without_password(config["api"]["base_url"])
    return {
        "name": active.config.name,
        "version": active.version,
        "adapter": active.adapter_id,
        **asdict(total),
        "seconds": round(total.seconds, 3),
        "config": config,
    }


def _without_password(url: str) -> str:
    parts = urlsplit(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
