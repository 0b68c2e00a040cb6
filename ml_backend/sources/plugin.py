"""What a package of another team gives to bring a kind of source: an entry point of ``winnow.sources`` names it.

    [project.entry-points."winnow.sources"]
    keyword = "winnow_keyword_source:plugin"

``ml_backend/docs/plugins.md`` tells it step by step.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from label_configs.codebook import Codebook
from ml_backend.sources.base import Source


@dataclass(frozen=True)
class SourcePlugin:
    """A kind of source.

    ``make`` gets the source's name and version, the codebook and the options, and gives a source that proposes under
    that name and version; it is called once for each process, codebook and version. ``sends_documents_away`` says
    whether documents leave this machine: then winnow.yaml must say ``allow_remote: true``, or ``make`` is not called.
    ``options`` is a frozen dataclass that ``options:`` in winnow.yaml is built as, its fields checked strictly; a
    ValueError of its ``__post_init__`` is told to the user. Without one there are no options and ``make`` gets None.
    """

    make: Callable[[str, str, Codebook, Any], Source]
    sends_documents_away: bool
    options: type[Any] | None = None
