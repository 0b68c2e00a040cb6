"""A project as those who judge it see it: everything in memory, from Label Studio, from pulled files or from others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property

from label_configs.codebook import Codebook
from label_configs.records import Decision, Proposal, VerifiedExample
from ml_backend.source_config import SourceConfig


@dataclass(frozen=True, slots=True)
class StudyDocument:
    """A document with what its task says of it beside the text, as texts: language, country, year.

    ``holdout``: nothing was trained on it. ``random``: its place among the documents to be coded was drawn by its id
    alone, so that estimates from such documents hold for the corpus (see ``ordering.is_random``).
    """

    id: str
    text: str
    task_id: int | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)
    holdout: bool = False
    random: bool = True


@dataclass(frozen=True)
class Study:
    """One project at one moment.

    ``documents`` are without the copies that are shown again; ``decisions`` are all: skips, repeated ones, those on
    tasks without a record of what was shown. ``proposals`` are of all sources in all versions. ``truth`` is what
    documents are judged against, and ``truth_from`` names it in words. ``versions`` are those in force by source.
    """

    title: str
    codebook: Codebook
    documents: Mapping[str, StudyDocument]
    decisions: Sequence[Decision]
    proposals: Sequence[Proposal]
    examples: Sequence[VerifiedExample]
    truth: Mapping[str, tuple[str, ...]]
    truth_from: str
    versions: Mapping[str, str] = field(default_factory=dict)
    configs: Mapping[str, SourceConfig] = field(default_factory=dict)
    show_coder_names: bool = False
    names: Mapping[str, str] = field(default_factory=dict)  # of coders, by id
    url: str = ""  # of Label Studio
    project_id: int | None = None
    pulled_at: datetime | None = None

    @cached_property
    def coders(self) -> tuple[str, ...]:
        """Ids of all who decided something, in a fixed order: numbers by their value, others by name after them."""
        return tuple(sorted({decision.coder for decision in self.decisions}, key=_order))

    def coder_name(self, coder: str) -> str:
        """What a coder is called in a report: a pseudonym, or with ``show_coder_names`` their name."""
        if self.show_coder_names:
            return self.names.get(coder, coder)
        return f"Coder {self.coders.index(coder) + 1}"

    def task_url(self, task_id: int | None) -> str:
        """Address of a task's page in Label Studio; empty where it is not known."""
        if task_id is None or self.project_id is None or not self.url:
            return ""
        return f"{self.url}/projects/{self.project_id}/data?task={task_id}"


def _order(coder: str) -> tuple[bool, int, str]:
    return (False, int(coder), "") if coder.isdecimal() else (True, 0, coder)
