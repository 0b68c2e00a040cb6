"""Who classifies: this process, with models that it loads, or the propose workers over the queue."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Sequence
from dataclasses import dataclass

from label_configs.records import Document, Proposal
from ml_backend.classifying import ClassifySpec, propose_all
from ml_backend.experiment import Priority
from ml_backend.settings import Settings

Chunks = Iterable[Sequence[Document]]
Made = Generator[list[list[Proposal]], None, None]


@dataclass(frozen=True)
class Engine:
    """``classify`` gives for each chunk the proposals of its documents, in order; ``device`` says on what."""

    device: str
    classify: Callable[[Chunks], Made]


def local_engine(settings: Settings, spec: ClassifySpec) -> Engine:
    """This process, its models loaded. Imports torch. Raises ModelError or AdapterError when a source does not load."""
    from ml_backend.adapters import store_of
    from ml_backend.devices import device_facts, set_threads
    from ml_backend.sources.pool import SourcePool

    threads, facts = set_threads(settings.threads), device_facts()
    pool = SourcePool(facts, store_of(settings.home), settings.api_keys)
    for active in spec.sources:
        pool.source(spec.codebook, active)

    def classify(chunks: Chunks) -> Made:
        for chunk in chunks:
            yield propose_all(pool, spec, chunk)

    return Engine(f"{facts.name}, {facts.dtype_name}, {threads} threads", classify)


def queue_engine(settings: Settings, spec: ClassifySpec, priority: Priority) -> Engine:
    """The propose workers. Loads no model. Raises QueueError when Redis is away."""
    from ml_backend import queue
    from ml_backend.classify_queue import classify_over_queue
    from ml_backend.exchange import exchange_of

    redis, exchange = queue.connect(settings), exchange_of(settings)

    def classify(chunks: Chunks) -> Made:
        yield from classify_over_queue(redis, exchange, settings.home, spec, chunks, priority=priority)

    return Engine("propose workers", classify)
