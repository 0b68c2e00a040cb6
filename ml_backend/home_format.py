"""The version of what lies in the home folder, so that an older Winnow does not misread what a newer one wrote."""

from __future__ import annotations

import json
from pathlib import Path

from label_configs.errors import EnvironmentFault
from ml_backend.atomic import write_atomically

FILE = "format.json"
FORMAT = 1  # to be raised where an older Winnow would misread what this one writes; 0.1.0 wrote no file


def check_home(home: Path) -> None:
    """Raise EnvironmentFault where a newer Winnow has written the folder; without a file it is of the first format."""
    path = home / FILE
    try:
        found = json.loads(path.read_text(encoding="utf-8"))["format"] if path.exists() else FORMAT
        if not isinstance(found, int):
            raise TypeError(f"format {found!r}")
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise EnvironmentFault(
            f'{path}: cannot be read ({type(error).__name__}); write {{"format": {FORMAT}}} into it, or set WINNOW_HOME'
        ) from None
    if found > FORMAT:
        raise EnvironmentFault(
            f"{path}: format {found}, this Winnow reads up to {FORMAT}; install the newer Winnow that wrote the "
            "folder, or set WINNOW_HOME elsewhere"
        )


def mark_home(home: Path) -> None:
    """Say of which format the folder is, where that is not said yet. Raises EnvironmentFault."""
    path = home / FILE
    try:
        if not path.exists():
            home.mkdir(parents=True, exist_ok=True)
            write_atomically(path, json.dumps({"format": FORMAT}) + "\n")
    except OSError as error:
        raise EnvironmentFault(f"{path}: cannot be written ({error.strerror}); set WINNOW_HOME elsewhere") from None
