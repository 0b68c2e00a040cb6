from __future__ import annotations

from pathlib import Path

import pytest

from label_configs.errors import EnvironmentFault
from ml_backend.atomic import write_atomically


def test_it_makes_folders_and_replaces_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "file.json"
    write_atomically(path, "first")
    write_atomically(path, "zweite – ü")
    assert path.read_text(encoding="utf-8") == "zweite – ü"
    assert list(path.parent.iterdir()) == [path]


def test_a_failed_write_leaves_no_temporary_file(tmp_path: Path) -> None:
    occupied = tmp_path / "file.json"
    (occupied / "inside").mkdir(parents=True)
    with pytest.raises(EnvironmentFault, match=r"file\.json: cannot be written"):
        write_atomically(occupied, "text")
    assert list(tmp_path.iterdir()) == [occupied]


def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(EnvironmentFault, match="check the folder's rights"):
        write_atomically(tmp_path / "file" / "round.json", "text")
