"""winnow.yaml: what it may say, what is wrong with it and where, and what stays of it for the workers."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from label_configs.codebook import Codebook
from label_configs.errors import ConfigError, EnvironmentFault
from label_configs.forms import ReviewForm
from ml_backend.experiment import Experiment, Project, load_experiment
from ml_backend.registered_projects import load_project, register, registered
from ml_backend.source_config import SourceKind

BOOK = """\
name: small
kind: exclusive
codes:
  - {key: ship, name: Ships, definition: Vessels., word: ship}
  - {key: grain, name: Grain, definition: Wheat., word: grain}
"""
SOURCES = """\
codebook: reuters8
sources:
  - name: words
    kind: fake
"""


def write(folder: Path, text: str) -> Path:
    path = folder / "winnow.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_the_shortest_experiment_has_every_default(tmp_path: Path) -> None:
    experiment, codebook = load_experiment(write(tmp_path, SOURCES))
    assert codebook.name == "reuters8"
    assert experiment.text == "text"
    assert (experiment.candidates.max, experiment.candidates.top_k) == (6, 2)
    assert experiment.training is None
    assert experiment.sources[0].kind is SourceKind.FAKE


def test_paths_are_meant_from_the_files_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "user"))
    (tmp_path / "book.yaml").write_text(BOOK)
    text = """\
codebook: book.yaml
sources:
  - {name: a, kind: causal, model: ./models/a, prompt: prompts/own.j2}
  - {name: b, kind: causal, model: ~/models/b}
  - {name: c, kind: similarity, model: sentence-transformers/all-MiniLM-L6-v2}
training:
  base: ../base
  recipe: recipes/mine.yaml
  overrides: {prompt: ./own.j2, epochs: 2}
"""
    monkeypatch.chdir("/")
    experiment, _ = load_experiment(write(tmp_path, text))
    a, b, c = experiment.sources
    assert (a.model, a.prompt) == (str(tmp_path / "models/a"), str(tmp_path / "prompts/own.j2"))
    assert b.model == str(tmp_path / "user/models/b")
    assert c.model == "sentence-transformers/all-MiniLM-L6-v2"
    assert experiment.training is not None
    assert experiment.training.base == str(tmp_path.parent / "base")
    assert experiment.training.recipe == str(tmp_path / "recipes/mine.yaml")
    assert experiment.training.overrides == {"prompt": str(tmp_path / "own.j2"), "epochs": 2}


FULL = (
    SOURCES
    + """\
text: body
candidates: {max: 4, top_k: 3, floor: 0.05, show_sources: false}
review: {form: keep}
training:
  base: org/model
  overrides: {epochs: 2}
  thresholds: [50]
  every: 100
  gate: {probability: 0.8, minimum: 30, metric: accuracy}
"""
)


def test_a_registered_project_is_read_back_equal(tmp_path: Path) -> None:
    experiment, codebook = load_experiment(write(tmp_path, FULL))
    made = register(tmp_path / "home", 12, experiment, codebook)
    (tmp_path / "winnow.yaml").unlink()
    read = load_project(tmp_path / "home", 12)
    assert read == made
    assert read.codebook.fingerprint == codebook.fingerprint
    assert read.home == tmp_path / "home"
    assert read.form is ReviewForm.KEEP
    assert read.experiment.training is not None
    assert read.experiment.training.gate.metric == "accuracy"
    assert register(tmp_path / "home", 12, experiment, codebook) == made


def test_registered_projects_are_listed_and_others_are_not_known(
    tmp_path: Path, codebook: Codebook, settings: object
) -> None:
    home = tmp_path / "home"
    assert registered(home) == []
    experiment, book = load_experiment(write(tmp_path, SOURCES))
    for project in (12, 3):
        register(home, project, experiment, book)
    (home / "projects" / "notes").mkdir()
    (home / "projects" / "5").mkdir()
    assert registered(home) == [3, 12]
    with pytest.raises(ConfigError, match="project 5: not known to Winnow; run `winnow init --project 5` first"):
        load_project(home, 5)


def test_a_home_that_cannot_be_written_is_told(tmp_path: Path, codebook: Codebook) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(EnvironmentFault, match=r"cannot be written .*; set WINNOW_HOME elsewhere"):
        register(tmp_path / "file", 1, Experiment("x", ()), codebook)


@pytest.mark.parametrize(
    ("text", "messages"),
    [
        (SOURCES + "sorces: []\n", [":5: sorces: unknown key", "nearest valid key: 'sources'"]),
        (SOURCES + "candidates: {maxx: 3}\n", [":5: candidates.maxx: unknown key", "'max'"]),
        (SOURCES + "    modle: x\n", [":5: sources.0.modle: unknown key", "'model'"]),
        (SOURCES + "candidates:\n  floor: 'high'\n", [":6: candidates.floor"]),
        ("codebook: reuters8\n", [":1: sources: is missing"]),
        ("codebook: reuters8\nsources: []\n", [":2: sources: none; name at least one"]),
        (SOURCES + "  - {name: words, kind: fake}\n", [":5: sources.1.name: two are named 'words'; rename one"]),
        (SOURCES + "  - {name: '', kind: fake}\n", [":5: sources.1.name: '' is no name"]),
        (SOURCES + '  - {name: "a\\nb", kind: fake}\n', [":5: sources.1.name: 'a\\nb' is no name"]),
        (SOURCES + "  - {name: adapter, kind: fake}\n", ["'adapter' is kept for what training makes"]),
        (
            SOURCES + "  - {name: a, kind: adapter, model: x}\n",
            ["sources.1.adapter: a names none; add `adapter:` with an id"],
        ),
        (SOURCES + "  - {name: a, kind: causal}\n", [":5: sources.1.model: a has none; add `model:`"]),
        (
            SOURCES + "  - {name: a, kind: fake, max_document_tokens: 0}\n",
            [":5: sources.1.max_document_tokens: must be 1 or more"],
        ),
        (
            SOURCES + "candidates:\n  max: 0\n  top_k: 0\n  floor: 1.0\n",
            [":6: candidates.max: must be 1", ":7: candidates.top_k: must be 1", ":8: candidates.floor: must be at"],
        ),
        (SOURCES + "text: ''\n", [":5: text: empty"]),
        (SOURCES + "training: {base: ''}\n", ["training.base: empty"]),
        (SOURCES + "training:\n  base: x\n  holdout_share: 1.0\n", [":7: training.holdout_share: must lie between"]),
        (SOURCES + "training: {base: x, thresholds: []}\n", ["neither thresholds nor every"]),
        (SOURCES + "training:\n  base: x\n  thresholds: [0]\n", [":7: training.thresholds: counts documents"]),
        (SOURCES + "training:\n  base: x\n  every: 0\n", [":7: training.every: counts documents"]),
        (
            SOURCES + "training:\n  base: x\n  gate:\n    metric: f1\n    probability: 2\n    minimum: 0\n",
            [
                ":8: training.gate.metric: 'f1' is unknown; use macro_f1 or micro_f1 or accuracy",
                ":9: training.gate.probability: must lie between 0 and 1",
                ":10: training.gate.minimum: counts documents",
            ],
        ),
        (
            SOURCES.replace("reuters8", "dataverse") + "review:\n  form: reject\n",
            [":6: review.form: form reject needs"],
        ),
        (SOURCES + "review: {form: keeep}\n", [":5: review.form"]),
        (
            SOURCES.replace("reuters8", "flourishing") + "candidates:\n  max: 10\n",
            [":6: candidates.max: form graded shows at most 9 candidates, say 9 or less"],
        ),
        (SOURCES.replace("reuters8", "none"), ["none"]),
        (SOURCES.replace("reuters8", "absent.yaml"), ["absent.yaml", "cannot be read"]),
        ("[]", ["codebook"]),
    ],
)
def test_each_mistake_is_told_with_its_line(tmp_path: Path, text: str, messages: list[str]) -> None:
    with pytest.raises(ConfigError) as caught:
        load_experiment(write(tmp_path, text))
    told = str(caught.value)
    assert all(message in told for message in messages), told
    assert "\n" not in told


def test_an_absent_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"winnow\.yaml: cannot be read"):
        load_experiment(tmp_path / "winnow.yaml")


def test_a_project_is_read_again_only_when_it_was_registered_again(project: Project) -> None:
    found = load_project(project.home, project.id)
    assert load_project(project.home, project.id) is found, "each call of Label Studio asks for it"
    register(project.home, project.id, replace(found.experiment, text="body"), found.codebook)
    assert load_project(project.home, project.id).experiment.text == "body"
    path = project.folder / "codebook.yaml"
    path.write_text(path.read_text(encoding="utf-8").replace("key: grain", "key: corn"), encoding="utf-8")
    assert load_project(project.home, project.id).codebook.label_keys == ("ship", "shipping", "corn")
    (project.folder / "winnow.yaml").unlink()
    with pytest.raises(ConfigError, match="not known to Winnow"):
        load_project(project.home, project.id)
