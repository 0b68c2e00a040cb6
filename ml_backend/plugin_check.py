"""Whether the packages that bring a winnow.yaml's sources load and take their options: told by a process of its own.

    python -m ml_backend.plugin_check winnow.yaml

Commands that load no torch ask so, since a package may load it, and a package that breaks its process breaks no other.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from label_configs.errors import ConfigError, ModelError, WinnowError
from label_configs.strictyaml import build, load_yaml
from ml_backend.experiment import Experiment, with_paths
from ml_backend.source_config import SourceConfig, SourceKind
from ml_backend.source_plugins import plugin_of

SECONDS = 300.0  # a package may import torch from a cold disk


@dataclass(frozen=True, slots=True)
class CheckedPlugin:
    """A source of an installed package that loads; ``remote`` says whether it sends documents away."""

    source: str
    kind: str
    package: str
    version: str
    remote: bool

    def __str__(self) -> str:
        away = ", sends documents away" if self.remote else ""
        return f"{self.source} by {self.package} {self.version}{away}"


def checked_plugins(experiment: Experiment, path: Path) -> list[CheckedPlugin]:
    """The packages' sources of the experiment in ``path``. Runs no process where there are none.

    Raises ConfigError, with file and line, where one refuses its options or sends documents away without leave;
    ModelError where its code fails.
    """
    if all(isinstance(source.kind, SourceKind) for source in experiment.sources):
        return []
    command = [sys.executable, "-m", "ml_backend.plugin_check", str(path)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=False)
        told = json.loads(done.stdout.strip().rpartition("\n")[2])
    except subprocess.TimeoutExpired:
        raise ModelError(f"{path}: its plugins took over {SECONDS:.0f} s to load; is the disk slow?") from None
    except ValueError:
        raise ModelError(f"{path}: loading its plugins ended with code {done.returncode}; update them") from None
    if error := told.get("error"):
        raise (ConfigError if told["config"] else ModelError)(error)
    return [CheckedPlugin(**one) for one in told["plugins"]]


def _checked(path: Path) -> Iterator[CheckedPlugin]:
    from ml_backend.sources.plugged import checked, loaded

    file = load_yaml(path)
    for place, data in enumerate(file.data["sources"]):
        at = ("sources", place)
        config = build(SourceConfig, data, source=file, at=at)
        if isinstance(config.kind, SourceKind):
            continue
        config = replace(config, options=with_paths(config.options, path.parent))
        found = plugin_of(config.kind)
        plugin = loaded(found, config.name)
        checked(plugin, found, config, file, (*at, "options"))
        yield CheckedPlugin(config.name, config.kind, found.package, found.version, plugin.sends_documents_away)


def main(path: Path) -> None:
    """Print one JSON object: the packages' sources, or the error that one of them meets."""
    told: dict[str, object]
    try:
        told = {"plugins": [asdict(one) for one in _checked(path)]}
    except WinnowError as error:
        told = {"error": str(error), "config": isinstance(error, ConfigError)}
    sys.stdout.write(json.dumps(told) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
