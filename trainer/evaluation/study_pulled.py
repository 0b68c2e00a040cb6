"""A study from the files of ``winnow pull``: no Label Studio, no Redis, no models."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from label_configs.codebook import Codebook, read_codebook
from label_configs.errors import ConfigError, WinnowError, reason
from label_configs.records import (
    Arm,
    Candidate,
    CandidateSet,
    Decision,
    Document,
    Proposal,
    Proposer,
    ScoredLabel,
)
from ml_backend.experiment import Consensus
from ml_backend.source_config import SourceConfig
from trainer.evaluation.study import Study, StudyDocument
from trainer.evaluation.study_gold import truth_of
from trainer.examples import verified_examples
from trainer.pulled_folder import MANIFEST, Manifest, PulledFolder

TRIES = 3  # readings while a pull replaces what is read
_CONFIG = TypeAdapter(SourceConfig)
_DECISION = ("document_id", "task_id", "annotation_id", "coder", "form", "unsure", "skipped", "unresolved", "untouched",
             "ground_truth", "seconds", "updated_at", "repeat")  # fmt: skip
_LISTS = ("kept", "rejected", "missed")
_PROPOSAL = ("document_id", "source", "version", "tokens", "output_tokens", "truncated", "seconds", "price")


def read_pulled(folder: Path, *, gold: Path | None = None) -> Study:
    """The project that was pulled into a folder, as a study made at that moment would have it.

    Raises ConfigError where nothing was pulled into it, or a file is damaged, and for a gold file that cannot be.
    """
    pulled = PulledFolder(folder)
    for _ in range(TRIES):
        manifest = pulled.manifest()
        if manifest is None:
            raise ConfigError(f"{folder}: has no {MANIFEST}; run `winnow pull --project N --out {folder}`")
        try:
            return _study(_About.of(folder / MANIFEST, manifest.about), _Rows(pulled, manifest), gold)
        except _GoneError as gone:
            what = gone
    raise ConfigError(str(what)) from None


class _GoneError(ConfigError):
    """A file that the manifest names is not there: it is damage, unless a pull has just replaced the manifest."""


@dataclass(frozen=True)
class _About:
    """What the manifest says of the project."""

    codebook: Codebook
    consensus: Consensus
    holdout_share: float
    versions: Mapping[str, str]
    configs: Mapping[str, SourceConfig]
    title: str
    show_coder_names: bool
    names: Mapping[str, str]
    url: str
    project_id: int
    pulled_at: datetime

    @classmethod
    def of(cls, path: Path, found: Mapping[str, Any]) -> _About:
        try:
            sources = [
                (_CONFIG.validate_json(json.dumps(one["config"]), strict=True, extra="forbid"), str(one["version"]))
                for one in found["sources"]
            ]
            return cls(
                read_codebook(found["codebook"], where=f"{path}: codebook"), Consensus(found["consensus"]),
                float(found["rules"]["holdout_share"]), {config.name: version for config, version in sources},
                {config.name: config for config, _ in sources}, str(found["title"]), bool(found["show_coder_names"]),
                dict(found["coders"]), str(found["label_studio"]), int(found["project"]),
                datetime.fromisoformat(found["pulled_at"]),
            )  # fmt: skip
        except (KeyError, TypeError, ValueError, ValidationError, WinnowError) as error:
            raise ConfigError(
                f"{path}: cannot be read ({type(error).__name__}: {reason(error)}), it is of another version of Winnow "
                "or damaged; pull again with this one"
            ) from None


class _Rows:
    """The rows of a pulled folder by table, each file checked against the manifest."""

    def __init__(self, folder: PulledFolder, manifest: Manifest) -> None:
        self._folder, self._manifest = folder, manifest

    def of(self, table: str) -> Iterator[dict[str, Any]]:
        """A table's rows in the order of their tasks; a block at a time in memory."""
        import pyarrow
        from pyarrow import parquet

        for number, block in sorted(self._manifest.blocks.items()):
            if table not in block.parts:
                continue
            path = self._folder.file(number, block.state, table)
            content = self._content(path)
            try:
                if hashlib.sha256(content).hexdigest() != block.parts[table].sha256:
                    raise ConfigError(f"{path}: is not as it was pulled; delete it and pull again")
                yield from parquet.read_table(io.BytesIO(content)).to_pylist()
            except pyarrow.ArrowException as error:
                raise ConfigError(f"{path}: damaged ({reason(error)}); delete it and pull again") from error

    def _content(self, path: Path) -> bytes:
        try:
            return path.read_bytes()
        except FileNotFoundError as error:
            raise _GoneError(f"{path}: is gone, though {MANIFEST} names it; pull again") from error
        except OSError as error:
            raise ConfigError(f"{path}: cannot be read ({reason(error)}); check its rights") from error


def _study(about: _About, rows: _Rows, gold: Path | None) -> Study:
    documents: dict[str, StudyDocument] = {}
    for row in rows.of("documents"):
        if not (row["problem"] or row["repeat"]):
            documents[row["document_id"]] = StudyDocument(
                row["document_id"], row["text"], row["task_id"], dict(row["metadata"]), row["holdout"], row["random"]
            )
    decisions = [_decision(row) for row in rows.of("decisions")]
    examples = verified_examples(
        {one.id: Document(one.id, one.text, one.task_id) for one in documents.values()}, decisions,
        kind=about.codebook.kind, holdout_share=about.holdout_share, rule=about.consensus,
        max_codes=about.codebook.max_codes,
    )  # fmt: skip
    truth, truth_from = truth_of(examples, about.consensus, about.codebook, documents, gold)
    return Study(
        title=about.title, codebook=about.codebook, documents=documents, decisions=decisions,
        proposals=[_proposal(row) for row in rows.of("proposals")], examples=examples, truth=truth,
        truth_from=truth_from, versions=about.versions, configs=about.configs, show_coder_names=about.show_coder_names,
        names=about.names, url=about.url, project_id=about.project_id, pulled_at=about.pulled_at,
    )  # fmt: skip


def _decision(row: Mapping[str, Any]) -> Decision:
    fields = {name: row[name] for name in _DECISION} | {name: tuple(row[name]) for name in _LISTS}
    shown = row["shown"]
    return Decision(**fields, shown=None if shown is None else _candidate_set(shown))


def _candidate_set(shown: Mapping[str, Any]) -> CandidateSet:
    candidates = tuple(
        Candidate(one["label"], one["probability"], tuple(Proposer(**proposer) for proposer in one["proposers"]))
        for one in shown["candidates"]
    )
    return CandidateSet(shown["document_id"], shown["version"], candidates, Arm(shown["arm"]))


def _proposal(row: Mapping[str, Any]) -> Proposal:
    labels = tuple(ScoredLabel(one["label"], one["probability"]) for one in row["labels"])
    return Proposal(**{name: row[name] for name in _PROPOSAL}, labels=labels)
