"""What a report was made from: enough to make the same figures again, and nothing secret.

winnow, packages                 versions of Winnow, Python, and what computes or draws
project, title, label_studio     the project, and Label Studio's address without credentials
pulled_at, truth                 when the project was read; what documents are judged against
codebook                         its name, kind and fingerprint; ``winnow_yaml`` is the digest of the project's file
sources, adapters                versions in force; the ids of all adapters that proposed
documents, decisions, proposals, verified, holdout, coders    how many there were
samples, seed, by                of the bootstrap; the columns that groups are made by
"""

from __future__ import annotations

import hashlib
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as package_version
from pathlib import Path
from platform import python_version
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from label_configs.errors import EnvironmentFault
from trainer.evaluation.options import ReportOptions
from trainer.evaluation.study import Study

PACKAGES = (
    "cleanlab", "jinja2", "krippendorff", "label-studio-sdk", "matplotlib", "numpy", "pandas", "scikit-learn", "scipy",
    "statsmodels",
)  # fmt: skip
BASE = "base"  # what a version names after @ where there is no adapter


def report_manifest(study: Study, options: ReportOptions) -> dict[str, Any]:
    """Plain data, the module's table. Raises EnvironmentFault where the project's winnow.yaml cannot be read."""
    return {
        "winnow": _version("label-studio-winnow"),
        "packages": {"python": python_version()} | {name: _version(name) for name in PACKAGES},
        "project": study.project_id,
        "title": study.title,
        "label_studio": _without_credentials(study.url),
        "pulled_at": study.pulled_at.isoformat(timespec="seconds") if study.pulled_at else None,
        "truth": study.truth_from,
        "codebook": {
            "name": study.codebook.name,
            "kind": study.codebook.kind.value,
            "fingerprint": study.codebook.fingerprint,
        },
        "winnow_yaml": _digest(options.folder / "winnow.yaml") if options.folder else None,
        "sources": dict(sorted(study.versions.items())),
        "adapters": adapters_of(study),
        "documents": len(study.documents),
        "decisions": len(study.decisions),
        "proposals": len(study.proposals),
        "verified": len(study.examples),
        "holdout": sum(document.holdout for document in study.documents.values()),
        "coders": len(study.coders),
        "samples": options.samples,
        "seed": options.seed,
        "by": list(options.by),
    }


def adapters_of(study: Study) -> list[str]:
    """Ids of the adapters that proposed or are in force, sorted: what stands after @ in a source's version."""
    versions = {proposal.version for proposal in study.proposals} | set(study.versions.values())
    named = {version.rpartition("@")[2] for version in versions if "@" in version}
    return sorted(named - {BASE, ""})


def _version(package: str) -> str | None:
    try:
        return package_version(package)
    except PackageNotFoundError:
        return None


def _without_credentials(url: str) -> str | None:
    """The address alone: a user, a password or a token in it is nobody's business."""
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    return urlunsplit((parts.scheme, host, parts.path, "", "")) or None


def _digest(path: Path) -> str | None:
    """SHA-256 of a file, None where there is none."""
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise EnvironmentFault(f"{path}: cannot be read ({error.strerror}); check the file's rights") from None
