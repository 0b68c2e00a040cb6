"""What sources said of changed texts, kept with a project: whom it was asked of, about which text, changed how.

``<project folder>/judging/stability.json`` holds no text: a document by its id and its text's digest, and codes.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from label_configs.errors import ConfigError
from ml_backend.atomic import write_atomically

JUDGING = "judging"  # folder in the project's
NAME = "stability.json"
ORIGINAL = "original"  # the key of texts as they are

Labels = tuple[str, ...]
Answers = dict[str, Labels]  # by document


@dataclass
class StabilityFile:
    """Answers by (source, version, perturbation, seed), then by ``id#digest`` of the document."""

    path: Path
    answers: dict[tuple[str, str, str, int], Answers] = field(default_factory=dict)

    @classmethod
    def read(cls, project_folder: Path) -> StabilityFile:
        """What is kept with the project; empty before the first time. Raises ConfigError where it is damaged."""
        path = project_folder / JUDGING / NAME
        try:
            rows = json.loads(path.read_text(encoding="utf-8"))["answers"]
            found = {
                (str(row["source"]), str(row["version"]), str(row["perturbation"]), int(row["seed"])): {
                    str(name): tuple(map(str, labels)) for name, labels in row["labels"].items()
                }
                for row in rows
            }
        except FileNotFoundError:
            return cls(path)
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            raise ConfigError(f"{path}: damaged; delete it and run `winnow evaluate --stability` again") from None
        return cls(path, found)

    def add(self, source: str, version: str, perturbation: str, seed: int, labels: Mapping[str, Labels]) -> None:
        """Keep what a source said, by document; nothing is written yet."""
        self.answers.setdefault((source, version, perturbation, seed), {}).update(labels)

    def write(self) -> None:
        """Write all of it, atomically. Raises EnvironmentFault where it cannot be."""
        rows = [
            {"source": source, "version": version, "perturbation": key, "seed": seed,
             "labels": {name: list(own) for name, own in labels.items()}}
            for (source, version, key, seed), labels in self.answers.items()
        ]  # fmt: skip
        write_atomically(self.path, json.dumps({"answers": rows}, ensure_ascii=False, indent=1) + "\n")


def document_key(document_id: str, digest: str) -> str:
    """How a document is named in the file: another text is another document."""
    return f"{document_id}#{digest[:12]}"
