"""Pulling a project: Label Studio -> mirror -> Parquet, of which only what changed is read and written."""

from __future__ import annotations

import fcntl
import hashlib
import json
import logging
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from rich.console import Console

from label_configs.codebook import codebook_data
from label_configs.errors import ConfigError, EnvironmentFault, reason
from ml_backend.experiment import Project
from ml_backend.proposing import Plan
from ml_backend.task_reader import ProjectReader
from trainer.bulk.meter import Meter
from trainer.evaluation.study_documents import holdout_share
from trainer.mirror import Blocks, Mirror
from trainer.pulled_folder import SCHEMA_VERSION, Block, Manifest, PulledFolder
from trainer.pulled_tables import rows_of

log = logging.getLogger(__name__)

LOCK_FILE = ".pull.lock"


@dataclass(frozen=True)
class Pulled:
    """What a pull did: rows by table with skips and drafts, and how many of the blocks were written anew."""

    folder: Path
    counts: dict[str, int]
    written: int
    blocks: int


class Pull:
    """Brings a folder up to date with a project; ``console`` shows how far it is."""

    def __init__(self, project: Project, folder: Path, console: Console) -> None:
        self._project = project
        self._folder = PulledFolder(folder)
        self._console = console
        self._rules = _digest(rules_of(project), SCHEMA_VERSION)
        self._staged: dict[tuple[int, str], Block] = {}

    def run(self, reader: ProjectReader, now: datetime | None = None) -> Pulled:
        """Pull. Stopped or killed, the folder is as it was before, and the next pull goes on where this one was.

        Raises ConfigError where the folder holds something else, LabelStudioError, WireError or EnvironmentFault.
        """
        with self._alone(), Mirror(self._project.folder) as mirror:
            before = self._before(reader.url)
            try:
                self._read(reader, mirror, before, now)
                shown = self._project.experiment.review.show_coder_names
                mirror.look_about(reader, self._project.id, names=shown, now=now)
                manifest = self._write(mirror, before)
            except KeyboardInterrupt:
                kept = "the earlier pull is whole" if before.blocks else "nothing is pulled yet"
                log.warning("stopped; %s, what was read is kept, and the same command goes on from there", kept)
                raise
            self._folder.commit(manifest)
            written = sum(before.blocks.get(number) is not block for number, block in manifest.blocks.items())
            return Pulled(self._folder.path, manifest.counts, written, len(manifest.blocks))

    def _before(self, url: str) -> Manifest:
        """What the folder holds already, with its files in their places."""
        found = self._folder.manifest()
        if found is None:
            return Manifest({}, {})
        holds = (found.about.get("label_studio"), found.about.get("project"))
        if holds != (url, self._project.id):
            raise ConfigError(
                f"{self._folder.path}: holds project {holds[1]} of {holds[0]}; name another folder with --out"
            )
        self._folder.settle(found)
        return found

    def _read(self, reader: ProjectReader, mirror: Mirror, before: Manifest, now: datetime | None) -> None:
        """Bring the mirror up to date. Blocks are written while Label Studio makes the next part."""
        with ExitStack() as stack:
            meters: list[Meter] = []

            def told(done: int, total: int) -> None:
                if not meters or meters[-1].total != total:
                    stack.close()
                    meters[:] = [Meter(total, 0, self._console, doing="reading", did="read")]
                    stack.enter_context(meters[-1])
                meters[-1].advance(done - meters[-1].done)
                with mirror.blocks() as blocks:
                    for number in list(blocks.names)[:-1]:  # of the last, more may come
                        self._block(number, blocks, before)

            mirror.refresh(reader, self._project.id, whole=True, now=now, told=told)

    def _write(self, mirror: Mirror, before: Manifest) -> Manifest:
        """All blocks in one state of the mirror, those that are not there already written."""
        with mirror.blocks() as blocks, Meter(blocks.total, 0, self._console, doing="writing", did="wrote") as meter:
            found = {}
            for number in blocks.names:
                block = self._block(number, blocks, before)
                if block.parts:
                    found[number] = block
                    meter.advance(block.parts["documents"].rows)
            return Manifest(about_of(self._project, mirror), found)

    def _block(self, number: int, blocks: Blocks, before: Manifest) -> Block:
        """A block as it is now: from before, from a pull that was stopped, or written."""
        state = _digest(blocks.names[number], self._rules)[:12]
        known = before.blocks.get(number)
        if known and known.state == state and self._folder.holds(number, known):
            return known
        if (number, state) in self._staged:
            return self._staged[number, state]
        block = self._folder.staged(number, state) or self._stage(number, state, blocks)
        self._staged[number, state] = block
        return block

    def _stage(self, number: int, state: str, blocks: Blocks) -> Block:
        rows = rows_of(blocks.tasks(number), self._project)
        counts = {
            "drafts": sum(row["draft"] for row in rows["documents"]),
            "skips": sum(row["skipped"] for row in rows["annotations"]),
        }
        return self._folder.stage(number, state, rows, counts)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        path = self._folder.path / LOCK_FILE
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            lock = path.open("a")
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise EnvironmentFault(f"{self._folder.path}: another pull is at work there; wait for it") from error
        except OSError as error:
            raise EnvironmentFault(
                f"{path}: cannot be written ({reason(error)}); check the folder's rights, or name another with --out"
            ) from error
        with lock:
            yield


def rules_of(project: Project) -> dict[str, Any]:
    """All that rows depend on beside the tasks, as plain data."""
    experiment = project.experiment
    training, review = experiment.training, experiment.review
    return {
        "codebook": project.codebook.fingerprint,
        "text": experiment.text,
        "form": project.form.value,
        "team": asdict(project.team) if project.team else None,
        "holdout_share": holdout_share(project),
        "order": review.order.value,
        "random_share": review.random_share,
        "trains": training is not None,
    }


def about_of(project: Project, mirror: Mirror) -> dict[str, Any]:
    """What the manifest says of the project. Coders' names are there only where reports may show them."""
    about = mirror.about
    assert about is not None, "the mirror was read"
    plan, review = Plan.of(project), project.experiment.review
    return {
        "label_studio": about.url,
        "project": project.id,
        "title": about.title,
        "pulled_at": about.read_at.isoformat(),
        "codebook": codebook_data(project.codebook),
        "codebook_fingerprint": project.codebook.fingerprint,
        "rules": rules_of(project),
        "consensus": review.consensus.value,
        "show_coder_names": review.show_coder_names,
        "coders": dict(about.names) if review.show_coder_names else {},
        "sources": [{"version": one.version, "config": asdict(one.config)} for one in plan.sources],
    }


def _digest(*parts: object) -> str:
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()
