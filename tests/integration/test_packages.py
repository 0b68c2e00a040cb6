"""Wheel and sdist: what is in them, and that the wheel works where nothing of the repository is."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

import pytest

from trainer.demo.label_studio import LabelStudioServer
from trainer.demo.walk import free_port

pytestmark = pytest.mark.timeout(300)

ROOT = Path(__file__).parents[2]
PACKAGES = ("label_configs", "ml_backend", "trainer")
BESIDE = {"README.md", "LICENSE", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md", "pyproject.toml", "PKG-INFO"}
ALSO = {".gitignore"}  # hatchling adds it, so that a build from the sdist leaves out the same
CONFIG = "codebook: codebook.yaml\nsources:\n  - {name: words, kind: fake}\n"


@dataclass(frozen=True)
class Built:
    """What `python -m build` made, and what lay in the tree just before."""

    sdist: Path
    wheel: Path
    tree: dict[str, bytes]


def tree() -> dict[str, bytes]:
    """Every file of the three packages by its path, but for what Python leaves there."""
    files = [path for package in PACKAGES for path in (ROOT / package).rglob("*") if path.is_file()]
    kept = [path for path in files if "__pycache__" not in path.parts]
    return {path.relative_to(ROOT).as_posix(): path.read_bytes() for path in kept}


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    """An sdist of the repository, and a wheel that was built from the sdist alone."""
    folder, before = tmp_path_factory.mktemp("dist"), tree()
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(folder), str(ROOT)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    (sdist,), (wheel,) = folder.glob("*.tar.gz"), folder.glob("*.whl")
    return Built(sdist, wheel, before)


def test_the_wheel_holds_the_packages_and_nothing_else(built: Built) -> None:
    with zipfile.ZipFile(built.wheel) as wheel:
        found = {name: wheel.read(name) for name in wheel.namelist()}
    told = {name for name in found if ".dist-info/" in name}
    assert {name.rpartition("/")[2] for name in told} == {"METADATA", "WHEEL", "RECORD", "LICENSE", "entry_points.txt"}
    assert {name: found[name] for name in found.keys() - told} == built.tree
    kinds = {Path(name).suffix for name in built.tree}
    assert {".xml", ".yaml", ".j2", ".css", ".html", ".txt", ".md"} <= kinds, "what is not Python is among them"


def test_the_sdist_holds_what_a_wheel_is_built_from(built: Built) -> None:
    with tarfile.open(built.sdist) as sdist:
        names = {name.partition("/")[2] for name in sdist.getnames()}
    assert names == {*built.tree, *BESIDE, *ALSO}
    assert built.sdist.stat().st_size < 5_000_000


@dataclass(frozen=True)
class Installed:
    """An environment with the wheel, and a folder to work in."""

    python: Path
    folder: Path

    def run(self, *command: str, **variables: str) -> subprocess.CompletedProcess[str]:
        """A program of the environment, with nothing in its environment that names the repository."""
        kept = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}
        own = {"WINNOW_HOME": str(self.folder / "home"), "WINNOW_THREADS": "1", "COLUMNS": "250"} | variables
        return subprocess.run(
            [str(self.python.with_name(command[0])), *command[1:]], cwd=self.folder, env=kept | own,
            capture_output=True, text=True, check=False,
        )  # fmt: skip


@pytest.fixture(scope="module")
def installed(built: Built, tmp_path_factory: pytest.TempPathFactory) -> Installed:
    """The wheel in a new environment. Its dependencies are those that the tests have: to fetch them takes minutes."""
    folder = tmp_path_factory.mktemp("installed")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder / "venv")], check=True)
    python = folder / "venv" / "bin" / "python"
    pip = [sys.executable, "-m", "pip", "--python", str(python), "install", "-q", "--no-index", "--no-deps"]
    done = subprocess.run([*pip, str(built.wheel)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (site,) = (folder / "venv" / "lib").glob("python*/site-packages")
    # A folder that is named so has its own .pth files left unread: those would name the repository.
    (site / "dependencies.pth").write_text(sysconfig.get_paths()["purelib"] + "\n")
    (folder / "work").mkdir()
    return Installed(python, folder / "work")


def test_it_runs_from_the_wheel(installed: Installed) -> None:
    told = installed.run("python", "-c", "import label_configs, ml_backend, trainer; print(trainer.__path__[0])")
    assert Path(told.stdout.strip()).is_relative_to(installed.python.parents[1]), told.stderr
    version = installed.run("winnow", "--version")
    assert version.stdout.startswith("winnow, version "), version.stderr


def test_it_drafts_a_codebook_and_classifies(installed: Installed) -> None:
    rows = [f"{n},{word} and more {n},{word}" for n, word in enumerate(["ships", "corn"] * 10)]
    (installed.folder / "verified.csv").write_text("\n".join(("id,text,code", *rows)) + "\n")
    drafted = installed.run("winnow", "codebook", "from-data", "verified.csv", "--code-column", "code")
    assert drafted.returncode == 0, drafted.stderr
    (installed.folder / "winnow.yaml").write_text(CONFIG)
    done = installed.run("winnow", "classify", "verified.csv", "--config", "winnow.yaml", "--out", "coded.jsonl")
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in (installed.folder / "coded.jsonl").read_text().splitlines()]
    assert len(lines) == len(rows)


@pytest.mark.label_studio
def test_doctor_finds_nothing_wrong(installed: Installed, label_studio: LabelStudioServer) -> None:
    done = installed.run(
        "winnow", "doctor", WINNOW_LABEL_STUDIO_URL=label_studio.url, WINNOW_LABEL_STUDIO_TOKEN=label_studio.token(),
        WINNOW_PORT=str(free_port()),
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "wrong" not in done.stdout
    assert str(ROOT) not in done.stdout.replace(sysconfig.get_paths()["purelib"], "")
