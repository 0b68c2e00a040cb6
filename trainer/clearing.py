"""`winnow adapters gc`: which adapters nothing uses any more, and removing them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from label_configs.errors import AdapterError
from ml_backend import adapters, promotions
from ml_backend.adapter_files import Adapter
from ml_backend.adapters import AdapterStore
from ml_backend.registered_projects import load_project, registered

LEFTOVER_AGE = timedelta(days=1)  # what is younger may be at work


@dataclass(frozen=True)
class Clearable:
    """Something in the store that may go: an adapter's id or a leftover's name, its bytes, and why."""

    name: str
    size: int
    why: str

    def as_json(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)


def to_clear(home: Path, *, older_than: datetime, now: datetime, keep: int, others: bool) -> list[Clearable]:
    """What may go: adapters made before ``older_than`` that nothing uses, then what crashes left.

    In use is what any project's history or sources name, and each project's ``keep`` newest adapters. Those of no
    project, or of one that is not registered here, go only with ``others``. An adapter whose manifest cannot be read,
    or does not say when it was made, stays. Raises AdapterError or ConfigError where a history or a project cannot be
    read: then nobody knows what is in use.
    """
    store, projects = adapters.store_of(home), registered(home)
    used = _used(home, projects)
    found = list(_described(store))
    for project in {adapter.manifest.get("project") for adapter in found}:
        own = [adapter.id for adapter in found if adapter.manifest.get("project") == project]
        used |= set(own[len(own) - keep :] if keep else [])
    old = [
        Clearable(adapter.id, adapter.size, f"made {adapter.manifest['made_at']}, in no use")
        for adapter in found
        if adapter.id not in used
        and (others or adapter.manifest.get("project") in projects)
        and datetime.fromisoformat(adapter.manifest["made_at"]) < older_than
    ]
    left = store.leftovers(now - LEFTOVER_AGE)
    return old + [Clearable(name, size, "left by a crash") for name, size in sorted(left.items())]


def clear(home: Path, found: Iterable[Clearable]) -> None:
    """Remove what ``to_clear`` found. Raises AdapterError where that fails; what went before is gone."""
    store = adapters.store_of(home)
    published = set(store.ids())
    for one in found:
        if one.name in published:
            store.remove(one.name)
        else:
            store.remove_leftover(one.name)


def _used(home: Path, projects: Sequence[int]) -> set[str]:
    """Adapters that a project's history of promotions or one of its sources names."""
    used: set[str] = set()
    for project_id in projects:
        project = load_project(home, project_id, fresh=True)  # another host may have promoted one just now
        used |= set(promotions.history(project.folder))
        used |= {source.adapter for source in project.experiment.sources if source.adapter}
    return used


def _described(store: AdapterStore) -> Iterable[Adapter]:
    """The adapters whose manifests say when they were made, oldest first."""
    found = []
    for adapter_id in store.ids():
        try:
            adapter = store.described(adapter_id)
            made = datetime.fromisoformat(str(adapter.manifest.get("made_at")))
        except (AdapterError, ValueError):
            continue
        if made.tzinfo:
            found.append((made.astimezone(UTC), adapter))
    return [adapter for _, adapter in sorted(found, key=lambda pair: (pair[0], pair[1].id))]
