"""Asking a project's sources about changed texts, for ``winnow evaluate --stability``; resumable at every chunk.

Whoever classifies asks: the propose workers where one is alive, else this process, as ``winnow classify`` does.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from label_configs.errors import QueueError, TrainingError
from label_configs.records import Document, chosen_labels
from ml_backend import queue
from ml_backend.classifying import ClassifySpec
from ml_backend.experiment import Project
from ml_backend.heartbeat import live_workers
from ml_backend.proposing import Plan
from ml_backend.settings import Settings
from ml_backend.source_config import is_local_url
from ml_backend.versions import ActiveSource
from trainer.bulk.engine import Engine, local_engine, queue_engine
from trainer.evaluation.judged import basis_of
from trainer.evaluation.perturbing import PERTURBATIONS
from trainer.evaluation.stability_file import ORIGINAL, StabilityFile, document_key
from trainer.evaluation.study import Study

log = logging.getLogger(__name__)

DOCUMENTS = 100

MakeEngine = Callable[[ClassifySpec], Engine]


@dataclass(frozen=True)
class Question:
    """One text to ask about: a document's, changed by the perturbation ``key``."""

    name: str  # in the file
    key: str
    seed: int
    text: str


def measure_stability(
    settings: Settings, project: Project, study: Study, console: Console, *, documents: int = DOCUMENTS, seed: int = 0
) -> int:
    """Ask every source in force about up to ``documents`` judged documents, changed in every way; how often one was.

    What is kept already is not asked again, so that a run that was stopped goes on. Raises TrainingError where no
    document has a truth, and what the sources raise.
    """
    chosen = sample(study, documents)
    if not chosen:
        raise TrainingError(
            f"project {project.id}: no document with a truth to ask sources about; verify some of the holdout first"
        )
    spec = ClassifySpec(project.codebook, allowed(Plan.of(project).sources))
    if not spec.sources:
        raise TrainingError(f"project {project.id}: no source is in force that may be asked; see winnow.yaml")
    make = engine_of(settings, project)
    return Asking(StabilityFile.read(project.folder), spec, settings.chunk_documents, make).run(
        questions(chosen, seed), console
    )


def sample(study: Study, number: int) -> list[Document]:
    """So many of the documents that sources are judged on, drawn by their ids: more of them begin with the same."""
    known = [study.documents[id_] for id_ in basis_of(study).documents if id_ in study.documents]
    with_text = [one for one in known if one.text.strip()]
    drawn = sorted(with_text, key=lambda one: hashlib.sha256(f"stability\0{one.id}".encode()).digest())
    return [Document(one.id, one.text) for one in drawn[:number]]


def questions(documents: Sequence[Document], seed: int) -> list[Question]:
    """Every document as it is and in every change."""
    found = []
    for document in documents:
        name = document_key(document.id, document.digest)
        found.append(Question(name, ORIGINAL, 0, document.text))
        found += [Question(name, one.key, seed, one.apply(document.text, seed)) for one in PERTURBATIONS]
    return found


def allowed(sources: Sequence[ActiveSource]) -> tuple[ActiveSource, ...]:
    """Those on this machine, and those that documents may leave it for."""
    return tuple(
        one
        for one in sources
        if one.config.api is None or is_local_url(one.config.api.base_url) or one.config.api.allow_remote
    )


def engine_of(settings: Settings, project: Project) -> MakeEngine:
    """The propose workers where one is alive, else this process; the models load when there is something to ask."""

    def make(spec: ClassifySpec) -> Engine:
        try:
            workers = live_workers(queue.connect(settings))
        except QueueError:
            workers = set()
        if workers:
            return queue_engine(settings, spec, project.experiment.priority)
        return local_engine(settings, spec)

    return make


@dataclass(frozen=True)
class Asking:
    """Asks the sources of ``spec`` through the engine that ``make`` makes, ``chunk`` texts at a time."""

    kept: StabilityFile
    spec: ClassifySpec
    chunk: int
    make: MakeEngine

    def run(self, asked: Sequence[Question], console: Console) -> int:
        """Ask what is not kept yet, and keep it chunk by chunk; the number of answers that were had now."""
        lacking: dict[tuple[ActiveSource, ...], list[Question]] = {}
        for question in asked:
            if sources := tuple(s for s in self.spec.sources if not self._known(s, question)):
                lacking.setdefault(sources, []).append(question)
        total = sum(len(sources) * len(own) for sources, own in lacking.items())
        all_of_them = len(asked) * len(self.spec.sources)
        if total < all_of_them:
            log.info("%s of %s answers are kept from before", all_of_them - total, all_of_them)
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        with Progress(*columns, console=console, disable=not console.is_terminal) as bar:
            task = bar.add_task("asking", total=total)
            try:
                for sources, own in lacking.items():
                    for done in self._ask(replace(self.spec, sources=sources), own):
                        bar.advance(task, done * len(sources))
            except KeyboardInterrupt:
                console.print("What was answered so far is kept; the same command goes on from there.")
                raise
        return total

    def _known(self, source: ActiveSource, question: Question) -> bool:
        key = (source.config.name, source.version, question.key, question.seed)
        return question.name in self.kept.answers.get(key, ())

    def _ask(self, spec: ClassifySpec, asked: Sequence[Question]) -> Iterator[int]:
        """The number of texts of each chunk, once its answers are written."""
        chunks = [asked[at : at + self.chunk] for at in range(0, len(asked), self.chunk)]
        texts = ([Document(f"{q.name}#{q.key}", q.text) for q in chunk] for chunk in chunks)
        with closing(self.make(spec).classify(texts)) as made:
            for chunk, rows in zip(chunks, made, strict=True):
                for question, proposals in zip(chunk, rows, strict=True):
                    for source, proposal in zip(spec.sources, proposals, strict=True):
                        labels = chosen_labels(proposal, kind=spec.codebook.kind)
                        name, version = source.config.name, source.version
                        self.kept.add(name, version, question.key, question.seed, {question.name: labels})
                self.kept.write()
                yield len(chunk)
