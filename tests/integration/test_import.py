"""`winnow import` against the real server: every document once, with all of its row, whatever stops it."""

from __future__ import annotations

import csv
import json
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow
import pytest
from label_studio_sdk import LabelStudio
from pyarrow import parquet
from pydantic import SecretStr

from label_configs.codebook import load_codebook
from label_configs.forms import ReviewForm
from label_configs.render import render_label_config
from ml_backend.experiment import Experiment, Project, Review
from ml_backend.labelstudio import LabelStudioClient
from ml_backend.registered_projects import register
from ml_backend.settings import Settings
from ml_backend.source_config import SourceConfig, SourceKind
from tests.integration.running import until
from trainer.demo.label_studio import LabelStudioServer
from trainer.up import environment

pytestmark = [pytest.mark.label_studio, pytest.mark.timeout(180)]

CODEBOOK = load_codebook("reuters8")


@pytest.fixture
def settings(label_studio: LabelStudioServer, redis_db: str, tmp_path: Path) -> Settings:
    return Settings(
        home=tmp_path / "home",
        label_studio_url=label_studio.url,
        label_studio_token=SecretStr(label_studio.token()),
        redis_url=SecretStr(redis_db),
    )


@pytest.fixture
def client(settings: Settings) -> LabelStudioClient:
    return LabelStudioClient(settings)


@pytest.fixture
def project(client: LabelStudioClient, settings: Settings) -> Project:
    form = ReviewForm.REJECT
    made = client.create_project("import", render_label_config(CODEBOOK, form))
    experiment = Experiment("reuters8", (SourceConfig("words", SourceKind.FAKE),), review=Review(form))
    return register(settings.home, made, experiment, CODEBOOK)


@pytest.fixture
def winnow_import(settings: Settings, project: Project) -> Callable[..., subprocess.Popen[str]]:
    def start(path: Path, *options: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "trainer.cli", "import", str(path), "--project", str(project.id)]
        return subprocess.Popen(
            [*command, "--no-prelabel", *options], env=environment(settings), text=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip

    return start


def ended(process: subprocess.Popen[str]) -> tuple[int, str]:
    """The exit code and what was printed."""
    out, errors = process.communicate(timeout=120)
    return process.returncode, out + errors


def written(path: Path, rows: Sequence[dict[str, Any]]) -> Path:
    """The rows as a CSV file."""
    with path.open("w", encoding="utf-8", newline="") as file:
        table = csv.DictWriter(file, list(rows[0]))
        table.writeheader()
        table.writerows(rows)
    return path


def test_an_import_that_is_stopped_twice_ends_with_every_document_once(
    label_studio: LabelStudioServer,
    client: LabelStudioClient,
    project: Project,
    winnow_import: Callable[..., subprocess.Popen[str]],
    tmp_path: Path,
) -> None:
    # Long texts, of which a request takes twenty: there is time to stop in the middle.
    rows = [{"id": f"d{n}", "text": f"Document {n} of the harvest. " * 4000} for n in range(240)]
    path = written(tmp_path / "many.csv", rows)

    sdk = LabelStudio(base_url=label_studio.url, api_key=label_studio.token())

    def imported() -> int:
        return int(sdk.projects.get(project.id).task_number or 0)

    first = winnow_import(path, "--similarity", "1")
    until(lambda: imported() > 0, 60)
    first.send_signal(signal.SIGINT)
    code, told = ended(first)
    before = imported()
    assert 0 < before < len(rows)
    assert code == 130
    assert "the same command goes on from there" in told
    assert "winnow: stopped" in told

    second = winnow_import(path, "--similarity", "1")
    until(lambda: imported() > before, 60)
    second.kill()
    ended(second)

    code, told = ended(winnow_import(path, "--similarity", "1"))
    assert code == 0, told
    ids = [data["document_id"] for data in client.task_data(project.id)]
    assert sorted(ids) == sorted(row["id"] for row in rows)
    found = re.search(r"Imported (\d+) documents into project \d+; (\d+) were there already", told)
    assert found
    assert int(found[1]) + int(found[2]) == len(rows)

    code, told = ended(winnow_import(path, "--similarity", "1"))
    assert (code, told.partition("\n")[0]) == (
        0, f"Imported 0 documents into project {project.id}; {len(rows)} were there already.",
    )  # fmt: skip
    assert len(list(client.task_data(project.id))) == len(rows)


def test_what_else_a_row_holds_is_kept_and_never_stands_over_winnows_own_keys(
    client: LabelStudioClient, project: Project, winnow_import: Callable[..., subprocess.Popen[str]], tmp_path: Path
) -> None:
    table = pyarrow.table(
        {
            "story": [7, 8],
            "body": ["The harvest was poor.", "Two ships wait."],
            "language": ["en", None],
            "printed": [date(2024, 2, 29), date(2023, 1, 1)],
            "price": [Decimal("1.50"), Decimal("2.00")],
            "share": [0.25, float("nan")],
            "tags": [["a", "b"], []],
            "text": ["theirs", "theirs"],
            "candidates": ["theirs", "theirs"],
            "data": ["x", "y"],
        }
    )
    parquet.write_table(table, tmp_path / "stories.parquet")
    columns = ("--id-column", "story", "--text-column", "body")
    code, told = ended(winnow_import(tmp_path / "stories.parquet", *columns))
    assert code == 0, told
    for column in ("text", "candidates"):
        assert f"column '{column}' is not kept" in told
    first, second = client.task_data(project.id)
    assert first == {
        "text": "The harvest was poor.", "document_id": "7", "candidates": [], "language": "en",
        "printed": "2024-02-29", "price": "1.50", "share": 0.25, "tags": ["a", "b"], "data": "x",
    }  # fmt: skip
    assert (second["language"], second["share"], second["tags"]) == (None, None, [])


def test_copies_are_imported_and_listed_or_left_out(
    client: LabelStudioClient, project: Project, winnow_import: Callable[..., subprocess.Popen[str]], tmp_path: Path
) -> None:
    client.import_tasks(project.id, [{"text": "Was there before.", "document_id": "old", "candidates": []}])
    words = [f"word{n}" for n in range(120)]
    rows = [
        {"id": "a", "text": " ".join(words)},
        {"id": "b", "text": " ".join(words)},
        {"id": "c", "text": " ".join([*words[:118], "quite", "different"])},
        {"id": "d", "text": "Was there before."},
        {"id": "e", "text": "Like none."},
    ]
    path = written(tmp_path / "copies.csv", rows)
    code, told = ended(winnow_import(path, "--skip-duplicates"))
    assert code == 0, told
    assert "Imported 3 documents" in told
    assert "2 exact copies (2 left out) and 1 near duplicates are listed: " in told
    assert {data["document_id"] for data in client.task_data(project.id)} == {"old", "a", "c", "e"}
    report = project.folder / "imports" / "copies.csv.duplicates.csv"
    with report.open(encoding="utf-8", newline="") as file:
        pairs = [(row["likeness"], row["id"], row["like"], row["where"]) for row in csv.DictReader(file)]
    assert pairs == [("exact", "b", "a", "file"), ("near", "c", "a", "file"), ("exact", "d", "old", "project")]

    code, told = ended(winnow_import(path))
    assert code == 0, told
    assert "Imported 2 documents" in told
    assert {data["document_id"] for data in client.task_data(project.id)} == {"old", *"abcde"}


def test_rows_at_fault_stop_an_import_before_it_begins_or_are_listed(
    client: LabelStudioClient, project: Project, winnow_import: Callable[..., subprocess.Popen[str]], tmp_path: Path
) -> None:
    path = tmp_path / "rows.jsonl"
    rows = [
        {"id": "a", "text": "harvest"},
        {"id": "a", "text": "twice"},
        {"id": "c"},
        {"id": "d", "text": "ship", "n": 1},
    ]
    path.write_text("\n".join(map(json.dumps, rows)) + "\nno json\n", encoding="utf-8")
    code, told = ended(winnow_import(path))
    assert code == 2
    assert "rows.jsonl:2" in told
    assert "--on-error skip" in told
    assert not list(client.task_data(project.id))

    code, told = ended(winnow_import(path, "--on-error", "skip"))
    assert code == 0, told
    assert "3 rows are no documents and were skipped: " in told
    assert [data["document_id"] for data in client.task_data(project.id)] == ["a", "d"]
    assert (project.folder / "imports" / "rows.jsonl.skipped.csv").read_text().count("\n") == 4


def test_an_empty_project_has_no_documents(client: LabelStudioClient, project: Project) -> None:
    assert list(client.task_data(project.id)) == []
    client.import_tasks(project.id, [{"text": "y", "candidates": []}])
    assert list(client.task_data(project.id)) == [{"text": "y", "candidates": []}]
