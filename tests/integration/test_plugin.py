"""A source of another team's package, installed by pip, in real processes."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "tests" / "plugins" / "keyword_source"
CODEBOOK = """name: things
kind: exclusive
codes:
  - {key: ships, name: Ships, definition: "Vessels, harbours and freight at sea.", word: ship}
  - {key: corn, name: Corn, definition: "Grain, harvest and farms.", word: corn}
"""
CONFIG = """codebook: codebook.yaml
sources:
  - name: keywords
    kind: keyword
    options: {shortest: 5}
"""
TEXTS = {"ships": "Freight left the harbours, and no vessels came back.", "corn": "A harvest of grain from farms."}

# What the web process does of a project, and then whether it has the package's code.
WEB = """
import sys
from pathlib import Path
from redis import Redis
from ml_backend.app import create_app
from ml_backend.experiment import load_experiment
from ml_backend.registered_projects import load_project, register
from ml_backend.proposing import Plan
from ml_backend.settings import Settings, with_secrets
home = Path(sys.argv[1])
register(home, 3, *load_experiment(Path("winnow.yaml")))
create_app(with_secrets(Settings(home=home)), Redis(port=1))
sys.stdout.write(Plan.of(load_project(home, 3)).sources[0].version)
sys.exit("keyword_source" in sys.modules or "torch" in sys.modules)
"""


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of packages with the example in it, as pip puts it there from its wheel."""
    folder = tmp_path_factory.mktemp("packages")
    pip = [sys.executable, "-m", "pip", "install", "-q", "--no-index", "--no-deps", "--no-build-isolation", "--target"]
    done = subprocess.run([*pip, str(folder), str(EXAMPLE)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """The folder of a team that uses it."""
    (tmp_path / "codebook.yaml").write_text(CODEBOOK)
    (tmp_path / "winnow.yaml").write_text(CONFIG)
    rows = [f'{key},"{text}"' for key, text in TEXTS.items()]
    (tmp_path / "documents.csv").write_text("\n".join(("id,text", *rows)) + "\n")
    return tmp_path


def ran(folder: Path, installed: Path | None, *command: str) -> subprocess.CompletedProcess[str]:
    variables = {"WINNOW_HOME": str(folder / "home"), "WINNOW_THREADS": "1", "PYTHONPATH": str(installed or "")}
    return subprocess.run(
        [sys.executable, *command], cwd=folder, env=os.environ | variables, capture_output=True, text=True, check=False
    )


def classify(folder: Path, installed: Path | None) -> subprocess.CompletedProcess[str]:
    named = ["classify", "documents.csv", "--config", "winnow.yaml", "--out", "coded.csv"]
    return ran(folder, installed, "-m", "trainer.cli", *named)


def test_it_classifies(files: Path, installed: Path) -> None:
    done = classify(files, installed)
    assert done.returncode == 0, done.stderr
    with (files / "coded.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len(TEXTS)
    for row in rows:
        assert row["id"] in {value for key, value in row.items() if key != "id"}, "its definition has the same words"
    manifest = next(files.glob("coded*.json")).read_text()
    assert "keywords/keyword-0.1.0-" in manifest, "the package's version is a part of the source's"


def test_the_web_process_knows_it_and_does_not_load_it(files: Path, installed: Path) -> None:
    done = ran(files, installed, "-c", WEB, str(files / "home"))
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("keywords/keyword-0.1.0-")
    assert done.stdout.endswith("@base")


@pytest.mark.parametrize("kind", ["missing", "keywort"])
def test_a_kind_that_no_package_brings_names_those_there_are(files: Path, installed: Path, kind: str) -> None:
    (files / "winnow.yaml").write_text(CONFIG.replace("kind: keyword", f"kind: {kind}"))
    done = classify(files, installed)
    assert done.returncode == 2
    assert f"winnow.yaml:4: sources.0.kind: '{kind}' is unknown, rename it or install the package" in done.stderr
    assert (
        "(nearest kind: 'keyword')" if kind == "keywort" else "similarity, probe, chat_api, fake, keyword)"
    ) in done.stderr
    assert done.stderr.count("\n") == 1


def test_it_refuses_its_options_itself(files: Path, installed: Path) -> None:
    (files / "winnow.yaml").write_text(CONFIG.replace("shortest: 5", "shortst: 5, smoothing: 0.5"))
    done = classify(files, installed)
    assert done.returncode == 2
    assert (
        "winnow: source keywords: options.shortst: unknown key, remove or rename it (nearest valid key" in done.stderr
    )
    check = ran(files, installed, "-m", "ml_backend.plugin_check", "winnow.yaml")
    error = json.loads(check.stdout)["error"]
    assert error.startswith("winnow.yaml:5: sources.0.options.shortst: unknown key"), "with file and line"
    (files / "winnow.yaml").write_text(CONFIG.replace("shortest: 5", "shortest: 0"))
    check = ran(files, installed, "-m", "ml_backend.plugin_check", "winnow.yaml")
    assert "shortest: counts letters; use 1 or more" in json.loads(check.stdout)["error"]
    (files / "winnow.yaml").write_text(CONFIG)
    told = json.loads(ran(files, installed, "-m", "ml_backend.plugin_check", "winnow.yaml").stdout)
    named = {"source": "keywords", "kind": "keyword", "package": "winnow-keyword-source", "version": "0.1.0"}
    assert told == {"plugins": [named | {"remote": False}]}
