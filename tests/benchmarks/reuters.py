"""Reuters R8 as the learning benchmark reads it: the official files whole, draws of them, MiniLM's vectors of them."""

from __future__ import annotations

import csv
import hashlib
import random
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt

from label_configs.records import VerifiedExample
from trainer.demo.documents import HEADER_LINES

SEED = 20240601
LARGEST = 548
"""A tenth of the official training file, as the largest draw."""

Vectors = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Reuters:
    """The official 5,485 training and 2,189 test documents with their codes, nothing left out or repeated.

    ``demo`` is the demo's folder; vectors are kept in its ``learning/minilm.npz``, where a machine without MiniLM, or
    without the time, finds them.
    """

    demo: Path
    most: int | None = None  # test documents; None for all

    @cached_property
    def training(self) -> list[VerifiedExample]:
        """The training file, in its order."""
        return self._read("train")

    @cached_property
    def test(self) -> list[VerifiedExample]:
        """The test file, or a sample of it."""
        rows = self._read("test")
        return rows if self.most is None else random.Random(SEED).sample(rows, min(self.most, len(rows)))

    def drawn(self, size: int, seed: int) -> list[VerifiedExample]:
        """``size`` training documents drawn at random; a smaller draw of the same seed is within a larger one."""
        return random.Random(SEED + seed).sample(self.training, LARGEST)[:size]

    def rest(self, drawn: Sequence[VerifiedExample]) -> list[VerifiedExample]:
        """The training documents that no coder saw; nothing may look at their codes but to count."""
        taken = {example.document_id for example in drawn}
        return [example for example in self.training if example.document_id not in taken]

    def vectors(self, examples: Sequence[VerifiedExample]) -> Vectors:
        """MiniLM's unit vectors ``[examples, dimensions]``."""
        return np.stack([self._kept[_digest(example.text)] for example in examples])

    def keep_vectors(self) -> None:
        """Embed both files, which takes minutes on a CPU, unless it was done before."""
        if self._file.exists():
            return
        from ml_backend.devices import device_facts
        from ml_backend.embeddings import EmbeddingCache
        from ml_backend.sentence_encoder import SentenceEncoder

        encoder = SentenceEncoder(
            str(self.demo / "models" / "minilm"), device_facts(), EmbeddingCache(self.demo / "embeddings")
        )
        texts = list(dict.fromkeys(e.text for part in ("train", "test") for e in self._read(part)))
        vectors = encoder.embed(texts).vectors.numpy()
        self._file.parent.mkdir(parents=True, exist_ok=True)
        np.savez(self._file, digests=np.array([_digest(t) for t in texts]), vectors=vectors.astype(np.float16))

    @property
    def _file(self) -> Path:
        return self.demo / "learning" / "minilm.npz"

    @cached_property
    def _kept(self) -> dict[str, Vectors]:
        self.keep_vectors()
        with np.load(self._file) as kept:
            return dict(zip(kept["digests"].tolist(), kept["vectors"].astype(np.float32), strict=True))

    def _read(self, part: str) -> list[VerifiedExample]:
        path = self.demo / "documents" / f"reuters-r8-{part}.tab"
        with path.open(encoding="utf-8", newline="") as lines:
            rows = list(csv.reader(lines, delimiter="\t"))[HEADER_LINES:]
        return [
            VerifiedExample(f"{part}-{number:05d}", row[1].strip(), (row[0],), (), part == "test")
            for number, row in enumerate(rows, start=1)
            if row
        ]


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]
