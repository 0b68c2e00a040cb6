"""Kinds of source that installed packages bring: entry points of the group ``winnow.sources``.

Here they are looked up by their packages' metadata alone: no code of theirs is run, so the web process knows them too.
``ml_backend.sources.plugged`` loads them, in the processes that propose.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib.metadata import EntryPoint, entry_points

from label_configs.errors import ConfigError

GROUP = "winnow.sources"


@dataclass(frozen=True, slots=True)
class InstalledPlugin:
    """A kind of source, and the package with its version that brings it."""

    kind: str
    package: str
    version: str
    entry: EntryPoint

    def __str__(self) -> str:
        return f"{self.package} {self.version}"


@lru_cache(maxsize=1)
def installed_plugins() -> Mapping[str, tuple[InstalledPlugin, ...]]:
    """By the kind those that bring it: one, or more that get in each other's way. As found once in a process."""
    found: dict[str, tuple[InstalledPlugin, ...]] = {}
    for entry in sorted(entry_points(group=GROUP), key=lambda one: (one.name, one.value)):
        if entry.dist is not None:
            plugin = InstalledPlugin(entry.name, entry.dist.name, entry.dist.version, entry)
            found[entry.name] = (*found.get(entry.name, ()), plugin)
    return found


def plugin_of(kind: str) -> InstalledPlugin:
    """The plugin that brings a kind. Raises ConfigError where none is installed here, or more than one."""
    found = installed_plugins().get(kind, ())
    if not found:
        raise ConfigError(f"no package installed here brings the kind of source {kind!r}; install the one that does")
    if len(found) > 1:
        names = " and ".join(map(str, found))
        raise ConfigError(f"{names} both bring the kind of source {kind!r}; uninstall one of them")
    return found[0]
