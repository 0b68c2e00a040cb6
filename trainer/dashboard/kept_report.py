"""The report that the dashboard shows: made now and then by a process of its own, kept in the project's folder.

    <project folder>/judging/dashboard.json        what was found, for programs, and each section as the page shows it
    <project folder>/judging/dashboard-fault.json  why the last one could not be made, where it could not

A page reads these files; it never computes.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from markupsafe import Markup

from label_configs.errors import EnvironmentFault, reason
from ml_backend.atomic import write_atomically

FOLDER = "judging"
REPORT_FILE, FAULT_FILE = "dashboard.json", "dashboard-fault.json"
MODE = 0o600  # pages name tasks and say what was found on coders
MOST = 16  # projects whose newest report a process holds


@dataclass(frozen=True, slots=True)
class KeptSection:
    """A section of the report as HTML, escaped where it was made; ``key`` is its id in the page."""

    key: str
    title: str
    html: str

    @property
    def markup(self) -> Markup:
        """The HTML, for a template to take as it is."""
        return Markup(self.html)  # nosec B704 # a page that Winnow rendered, escaped


@dataclass(frozen=True)
class KeptReport:
    """A report that was made at ``made_at`` in ``seconds``, of the mirror's ``revision``.

    ``data`` is what ``sections_json`` gives, ``kept_rates`` the share of candidates kept by source, None where a source
    had none.
    """

    title: str
    made_at: datetime
    seconds: float
    revision: str
    sections: tuple[KeptSection, ...]
    data: Mapping[str, Any] = field(default_factory=dict)
    kept_rates: Mapping[str, float | None] = field(default_factory=dict)


_known: dict[
    Path, tuple[str, KeptReport]
] = {}  # by file, with the stamp it was read at: every look at a page asks for it


def report_path(project_folder: Path) -> Path:
    """Where a project's report is kept."""
    return project_folder / FOLDER / REPORT_FILE


def save_report(project_folder: Path, report: KeptReport) -> None:
    """Keep a report in place of the one before. Raises EnvironmentFault where that fails."""
    data = asdict(report) | {"made_at": report.made_at.isoformat()}
    write_atomically(report_path(project_folder), json.dumps(data, ensure_ascii=False, allow_nan=False), mode=MODE)
    (project_folder / FOLDER / FAULT_FILE).unlink(missing_ok=True)


def load_report(project_folder: Path) -> KeptReport | None:
    """The report kept last, None before the first. Raises EnvironmentFault where the file is damaged."""
    path = report_path(project_folder)
    stamp = _stamp(path)
    if not stamp:
        return None
    known = _known.get(path)
    if known is None or known[0] != stamp:
        known = _known[path] = (stamp, _read(path))
        while len(_known) > MOST:
            _known.pop(next(iter(list(_known))), None)
    return known[1]


def _read(path: Path) -> KeptReport:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        sections = tuple(KeptSection(one["key"], one["title"], one["html"]) for one in found["sections"])
        made_at = datetime.fromisoformat(found["made_at"])
        return KeptReport(**{**found, "made_at": made_at, "sections": sections})
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise EnvironmentFault(
            f"{path}: not a report ({reason(error)}); delete it, the scheduler makes another"
        ) from error


def report_stamp(project_folder: Path) -> str:
    """Another whenever ``load_report`` or ``load_fault`` may give others."""
    return " ".join(_stamp(project_folder / FOLDER / name) for name in (REPORT_FILE, FAULT_FILE))


def save_fault(project_folder: Path, message: str) -> None:
    """Keep why a report could not be made, in one line; the report before it stays."""
    write_atomically(project_folder / FOLDER / FAULT_FILE, json.dumps({"fault": message}), mode=MODE)


def load_fault(project_folder: Path) -> str:
    """Why the last report could not be made; empty where it could."""
    try:
        return str(json.loads((project_folder / FOLDER / FAULT_FILE).read_text(encoding="utf-8"))["fault"])
    except FileNotFoundError:
        return ""
    except (OSError, ValueError, KeyError, TypeError) as error:
        return f"{FAULT_FILE}: cannot be read ({reason(error)}); delete it"


def _stamp(path: Path) -> str:
    try:
        found = path.stat()
    except FileNotFoundError:
        return ""
    return f"{found.st_mtime_ns} {found.st_ino} {found.st_size}"
