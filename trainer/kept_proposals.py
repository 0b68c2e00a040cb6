"""Proposals made outside of Label Studio and Redis, kept in a file so that the same question costs nothing again."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from label_configs.errors import ConfigError, EnvironmentFault, WireError
from label_configs.records import Document, Proposal
from label_configs.wire.shown import proposal_from_json, proposal_to_json


class KeptProposals:
    """A file of JSON lines, one for each text: its digest and the proposals of all sources, never the text itself.

    To be named by what made the proposals. Lines are added as they come, so that whatever stops a run loses little.
    """

    def __init__(self, path: Path) -> None:
        """Read what is there. Raises ConfigError where it is something else."""
        self._path = path
        self._kept: dict[str, list[Proposal]] = {}
        where = str(path)
        try:
            lines = path.read_text(encoding="utf-8").split("\n") if path.exists() else []
            for number, line in enumerate(lines[:-1], 1):  # what stands after the last line's end was cut off
                where = f"{path}:{number}"
                record = json.loads(line)
                self._kept[str(record["text"])] = [proposal_from_json(one) for one in record["proposals"]]
        except (OSError, UnicodeDecodeError, ValueError, KeyError, TypeError, WireError):
            raise ConfigError(f"{where}: damaged; delete the file, what it kept is computed anew") from None

    def of(self, document: Document) -> list[Proposal] | None:
        """The document's proposals, None where its text was never proposed for."""
        found = self._kept.get(document.digest)
        return None if found is None else [replace(one, document_id=document.id) for one in found]

    def keep(self, documents: Sequence[Document], proposals: Iterable[Sequence[Proposal]]) -> None:
        """Add what was proposed for these. Raises EnvironmentFault where the file cannot be written."""
        lines = []
        for document, made in zip(documents, proposals, strict=True):
            self._kept[document.digest] = list(made)
            record = {"text": document.digest, "proposals": [proposal_to_json(one) for one in made]}
            lines.append(json.dumps(record, ensure_ascii=False) + "\n")
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._end_last_line()
            with self._path.open("a", encoding="utf-8") as file:
                file.writelines(lines)
        except OSError as error:
            raise EnvironmentFault(
                f"{self._path}: cannot be written ({error.strerror}); set WINNOW_HOME to a folder of yours"
            ) from None

    def _end_last_line(self) -> None:
        """Drop the line that a stopped run left unfinished."""
        content = self._path.read_bytes() if self._path.exists() else b""
        if content and not content.endswith(b"\n"):
            with self._path.open("r+b") as file:
                file.truncate(content.rfind(b"\n") + 1)
