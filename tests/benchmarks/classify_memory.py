"""Memory and speed of `winnow classify` apart from models: a fake source over files of several lengths.

    python -m tests.benchmarks.classify_memory 2000 20000 200000

prints one JSON object: for each number of documents, in a process of its own, the peak of resident memory in MiB, the
seconds of checking, classifying and assembling together, and documents per second; and how much the peak grows from
the first to the last.
"""

from __future__ import annotations

import csv
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from rich.console import Console

from label_configs.codebook import Codebook, load_codebook
from ml_backend.classifying import ClassifySpec, propose_all
from ml_backend.source_config import SourceConfig, SourceKind
from ml_backend.sources.fake import FakeSource
from ml_backend.versions import ActiveSource, source_version
from trainer.bulk.classify import classify
from trainer.bulk.engine import Chunks, Engine, Made
from trainer.bulk.job import BulkJob

WORDS = [
    "oil",
    "wheat",
    "profit",
    "stake",
    "rate",
    "ship",
    "money",
    "tariff",
    "said",
    "the",
    "company",
    "of",
    "in",
    "its",
]
TEXT_WORDS = 300  # some 2 KB


class Fakes:
    """Builds fake sources, as ``SourcePool`` would, without loading torch."""

    def source(self, codebook: Codebook, active: ActiveSource) -> FakeSource:
        """The source ready to propose."""
        return FakeSource(active.config.name, active.version, codebook)


def write_documents(path: Path, number: int) -> None:
    """So many documents of different words."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "text"])
        for n in range(number):
            writer.writerow([f"document-{n}", " ".join(WORDS[(n + i * i) % len(WORDS)] for i in range(TEXT_WORDS))])


def measure(folder: Path, number: int) -> dict[str, float]:
    """Classify so many documents in this process; what it took."""
    source = folder / f"{number}.csv"
    write_documents(source, number)
    config = SourceConfig("words", SourceKind.FAKE)
    spec = ClassifySpec(load_codebook("reuters8"), (ActiveSource(config, source_version(config, None)),))

    def made(chunks: Chunks) -> Made:
        for chunk in chunks:
            yield propose_all(Fakes(), spec, chunk)

    began = time.monotonic()
    job = BulkJob(source, folder / f"{number}.jsonl", spec)
    classify(job, lambda: Engine("fakes", made), Console(quiet=True), chunk_documents=64)
    seconds = time.monotonic() - began
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024  # Linux counts in KiB
    return {"peak_mib": round(peak, 1), "seconds": round(seconds, 2), "documents_per_second": round(number / seconds)}


def main(numbers: list[str]) -> None:
    """One number is measured here, several each in a process of its own."""
    if len(numbers) == 1:
        with tempfile.TemporaryDirectory() as folder:
            found = measure(Path(folder), int(numbers[0]))
    else:
        command = [sys.executable, "-m", "tests.benchmarks.classify_memory"]
        rows = {
            number: json.loads(subprocess.run([*command, number], check=True, capture_output=True).stdout)
            for number in numbers
        }
        growth = rows[numbers[-1]]["peak_mib"] - rows[numbers[0]]["peak_mib"]
        found = {"rows": rows, "growth_mib": round(growth, 1)}
    sys.stdout.write(f"{json.dumps(found)}\n")


if __name__ == "__main__":
    main(sys.argv[1:])
