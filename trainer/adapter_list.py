"""What `winnow adapters list` and `show` tell of adapters."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.table import Table
from rich.text import Text

from label_configs.errors import AdapterError
from ml_backend import adapters, promotions, shared_projects
from ml_backend.adapter_files import FILES, Adapter, damaged_files
from ml_backend.registered_projects import load_project, registered

FIGURES = ("accuracy", "macro_f1", "micro_f1", "balanced_accuracy", "jaccard")


@dataclass(frozen=True)
class AdapterRow:
    """An adapter in one line; None and empty where its manifest does not say, ``fault`` where it cannot be read.

    ``new`` and ``compared`` are the gate's metric on the holdout, of the adapter and of what it was compared with;
    ``current_in`` are the projects where it proposes now, ``size`` is in bytes, ``reason`` the gate's in words.
    """

    id: str
    project: int | None = None
    round: str = ""
    base: str = ""
    verdict: str = ""
    metric: str = ""
    new: float | None = None
    compared: float | None = None
    training_examples: int | None = None
    holdout_examples: int | None = None
    made_at: str = ""
    size: int = 0
    current_in: tuple[int, ...] = ()
    fault: str = ""
    reason: str = ""

    def as_json(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)


def adapter_rows(home: Path, project_id: int | None) -> list[AdapterRow]:
    """The adapters in the store, oldest first; with a project those trained in it or promoted to it.

    Raises AdapterError where the store cannot be read, ConfigError for an unknown project.
    """
    if project_id is not None:
        load_project(home, project_id)
    store = adapters.store_of(home)
    folders = {project: home / "projects" / str(project) for project in registered(home)}
    for folder in folders.values():
        shared_projects.refresh(folder)
    histories = {project: promotions.history(folder) for project, folder in folders.items()}
    rows = [adapter_row(store, adapter_id, histories) for adapter_id in store.ids()]
    if project_id is None:
        return rows
    named = promotions.history(home / "projects" / str(project_id))
    return [row for row in rows if row.project == project_id or row.id in named]


def adapter_row(store: adapters.AdapterStore, adapter_id: str, histories: Mapping[int, Sequence[str]]) -> AdapterRow:
    """One adapter; ``histories`` are those of the projects that may use it."""
    current = tuple(project for project, ids in histories.items() if ids[-1:] == [adapter_id])
    try:
        adapter = store.described(adapter_id)
    except AdapterError as error:
        return AdapterRow(adapter_id, current_in=current, fault=str(error))
    manifest = adapter.manifest
    gate = manifest.get("gate") or {}
    return AdapterRow(
        adapter_id, manifest.get("project"), manifest.get("round", ""), manifest.get("base", ""),
        gate.get("verdict", ""), gate.get("metric", ""), gate.get("new"), gate.get("current"),
        manifest.get("training_examples"), manifest.get("holdout_examples"), manifest.get("made_at", ""),
        adapter.size or _size(adapter.folder), current, reason=gate.get("reason", ""),
    )  # fmt: skip


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.iterdir() if path.is_file())


def adapter_table(rows: Sequence[AdapterRow], project_id: int | None) -> Table:
    """The rows for a person."""
    table = Table(title="Adapters" if project_id is None else f"Adapters of project {project_id}")
    table.add_column("adapter", no_wrap=True, min_width=16)  # to be copied
    for name in ("round", "base", "verdict", "holdout", "examples", "made", "MB", "current in"):
        table.add_column(name, overflow="fold")
    for row in rows:
        if row.fault:
            table.add_row(row.id, Text(row.fault, style="red"))
            continue
        figures = f"{row.metric} {figure(row.new)} against {figure(row.compared)}" if row.metric else ""
        examples = "" if row.training_examples is None else f"{row.training_examples} + {row.holdout_examples}"
        current = ", ".join(f"project {project}" for project in row.current_in)
        name, size = short_name(row.base), f"{row.size / 1e6:.1f}"
        table.add_row(row.id, row.round, name, row.verdict, figures, examples, row.made_at[:10], size, current)
    return table


def adapter_details(adapter: Adapter) -> Table:
    """A manifest for a person: what the adapter was made from, how it was judged, what lies beside it."""
    table = Table("", "", title=f"Adapter {adapter.id}", show_header=False)
    for name, line in _details(adapter):
        table.add_row(name, Text(line, overflow="fold"))
    return table


def _details(adapter: Adapter) -> Iterator[tuple[str, str]]:
    """Names and lines; what the manifest of an earlier version does not say is left out."""
    said = adapter.manifest
    yield "base", f"{said['base']} ({said.get('base_revision') or said.get('base_digest') or 'state not recorded'})"
    yield "prompt", f"{said['prompt']}, up to {said['max_document_tokens']} tokens of a document"
    yield "codebook", str(said["codebook"])
    if "training_examples" in said:
        where = f"project {said['project']}" if "project" in said else said.get("examples_file", "a file")
        yield "trained on", f"{said['training_examples']} documents of {where}, digest {said['examples_digest']}"
    if recipe := said.get("recipe"):
        yield "recipe", ", ".join(f"{name} {value}" for name, value in recipe.items() if name != "prompt")
    if gate := said.get("gate"):
        yield "verdict", f"{gate['verdict']}: {gate['reason']}"
    for who, figures in (said.get("metrics") or {}).items():
        yield f"holdout: {who}", holdout_line(figures)
    if said.get("ece") is not None:
        yield "calibration", f"temperature {said.get('temperature') or 'none'}, ECE {figure(said['ece'])}"
    if "device" in said:
        yield (
            "trained",
            f"in {said['training_seconds']} s on {said['device']}, {said['precision']}, round {said['round']}",
        )
    yield "made at", str(said.get("made_at", "not recorded"))
    if packages := said.get("packages"):
        yield "made with", ", ".join(f"{name} {version}" for name, version in packages.items())
    if git := said.get("git"):
        yield "git", f"{git['commit']}{', changed since' if git.get('changed') else ''}"
    yield "files", ", ".join(adapter.files or FILES)
    yield "lies in", str(adapter.folder)


def holdout_line(figures: Mapping[str, Any]) -> str:
    """Figures of merit with their number of documents."""
    told = ", ".join(f"{name.replace('_', ' ')} {figure(figures.get(name))}" for name in FIGURES)
    return f"{told} (n = {figures.get('n')})"


def short_name(base: str) -> str:
    """A model's name: that of its folder, or on the hub."""
    return Path(base).name if base.startswith("/") else base


def figure(value: float | None) -> str:
    """A figure with three places, a dash where it is undefined."""
    return "–" if value is None else f"{value:.3f}"


def check_files(adapter: Adapter) -> None:
    """Raise AdapterError where a file beside the adapter is missing or damaged."""
    if damaged := damaged_files(adapter):
        raise AdapterError(
            f"adapter {adapter.id}: {', '.join(damaged)} in {adapter.folder}: missing or damaged; the adapter itself "
            "is intact, restore the file from a backup"
        )
