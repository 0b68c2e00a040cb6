"""`winnow classify` as people run it: its process, stopped and started again, in every form, over the queue."""

from __future__ import annotations

import csv
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from pyarrow import csv as arrow_csv
from pyarrow import parquet

from ml_backend import queue
from ml_backend.heartbeat import live_workers
from ml_backend.settings import load_settings
from tests.integration.running import until
from trainer.cli import main

ROOT = Path(__file__).parent.parent.parent
TOPICS = ["oil and barrels", "wheat harvest", "profit and earnings", "a stake in a company", "interest rate", "a ship"]
FAKE = "codebook: reuters8\nsources:\n  - name: words\n    kind: fake\n"
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture(autouse=True)
def somewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A home and a folder of the test's own; small chunks, so that many are finished before a file is."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WINNOW_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("WINNOW_CHUNK_DOCUMENTS", "2")
    monkeypatch.setenv("WINNOW_THREADS", "1")
    Path("winnow.yaml").write_text(FAKE, encoding="utf-8")


@pytest.fixture
def run(capfd: pytest.CaptureFixture[str]) -> Run:
    """Runs a command in this process: exit code, standard output, standard error."""

    def run(*arguments: object) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as caught:
            main([str(a) for a in arguments])
        captured = capfd.readouterr()
        return int(caught.value.code or 0), captured.out, captured.err

    return run


def documents(number: int, suffix: str = ".csv") -> Path:
    path = Path(f"in{suffix}")
    rows = [{"id": f"d{n}", "text": f"{TOPICS[n % 6]}, {n}"} for n in range(number)]
    if suffix == ".json":
        path.write_text(json.dumps(rows), encoding="utf-8")
    elif suffix == ".jsonl":
        path.write_text("\n".join(json.dumps(row) for row in rows), encoding="utf-8")
    elif suffix == ".parquet":
        parquet.write_table(arrow_csv.read_csv(documents(number)), path)
    else:
        with path.open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, ["id", "text"], delimiter="\t" if suffix == ".tsv" else ",")
            writer.writeheader()
            writer.writerows(rows)
    return path


def rows_of(path: Path) -> list[dict[str, Any]]:
    """The rows of an output in any form, its cells as JSON has them, seconds left out."""
    if path.suffix == ".parquet":
        rows = parquet.read_table(path).to_pylist()
    elif path.suffix == ".jsonl":
        rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    elif path.suffix == ".json":
        rows = json.loads(path.read_text(encoding="utf-8"))
    else:
        with path.open(encoding="utf-8", newline="") as file:
            rows = [_as_json(row) for row in csv.DictReader(file, delimiter="\t" if path.suffix == ".tsv" else ",")]
    assert all(float(row.pop("seconds")) >= 0 for row in rows)
    return rows


def _as_json(row: dict[str, str]) -> dict[str, Any]:
    top = [cell.rpartition(":") for cell in row["top"].split("|")]
    return row | {
        "code": row["code"].split("|"),
        "probability": [float(cell) for cell in row["probability"].split("|")],
        "top": [{"label": label, "probability": float(p)} for label, _, p in top],
        "tokens": int(row["tokens"]),
        "truncated": int(row["truncated"]),
    }


def environment() -> dict[str, str]:
    """The test's, for a process that works in another folder than the checkout."""
    return {**os.environ, "PYTHONPATH": str(ROOT)}


@contextmanager
def started(*arguments: object) -> Iterator[subprocess.Popen[str]]:
    """The real command in a process of its own."""
    command = [sys.executable, "-m", "trainer.cli", *map(str, arguments)]
    with subprocess.Popen(
        command, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def stopped(number: signal.Signals, command: tuple[object, ...], before: int) -> tuple[int, int, str]:
    """Start a command and stop it in the midst: the chunks that are finished then, its exit code, its last words."""

    def chunks() -> int:
        return len(list(Path("out.csv.progress").glob("0*.jsonl")))

    with started(*command) as process:
        until(lambda: chunks() > before, 120)
        process.send_signal(number)
        out, err = process.communicate()
    assert out == ""
    assert not Path("out.csv").exists()
    return chunks(), process.returncode, err


def test_what_was_stopped_goes_on_without_classifying_anything_twice(run: Run) -> None:
    total = 1000
    command = ("classify", documents(8 * total), "--config", "winnow.yaml", "--out", "out.csv", "--json")
    first, code, err = stopped(signal.SIGINT, command, 0)
    assert code == 130
    assert err.endswith("winnow: stopped\n")
    assert re.search(rf"stopped: {first * 8} of {total * 8} documents .* the same command goes on from there\n", err)
    second, code, err = stopped(signal.SIGKILL, command, first)
    assert code == -signal.SIGKILL
    assert f"going on: {first * 8} of {total * 8} documents are classified already" in err
    assert 0 < first < second < total
    code, out, _ = run(*command)
    assert code == 0
    # A chunk names the run that it was classified by: one that was classified again would count for the later one.
    assert [one["chunks"] for one in json.loads(out)["runs"]] == [first, second - first, total - second]
    assert [row["id"] for row in rows_of(Path("out.csv"))] == [f"d{n}" for n in range(8 * total)]
    assert run("classify", "in.csv", "--config", "winnow.yaml", "--out", "whole.csv")[0] == 0
    assert Path("out.csv").read_bytes() == Path("whole.csv").read_bytes()
    assert not [path.name for path in Path.cwd().iterdir() if "progress" in path.name or path.name.startswith(".")]


def test_a_real_model_from_and_to_every_form(run: Run, tiny_llama: Path) -> None:
    llama = f"  - {{name: llama, kind: causal, model: {tiny_llama}, max_document_tokens: 20}}\n"
    Path("winnow.yaml").write_text(FAKE + llama, encoding="utf-8")
    found = {}
    for suffix in (".csv", ".tsv", ".json", ".jsonl", ".parquet"):
        out = Path(f"out{suffix}")
        arguments = ("--config", "winnow.yaml", "--source", "llama", "--source", "words", "--top", 2, "--json")
        code, printed, _ = run("classify", documents(11, suffix), "--out", out, *arguments)
        assert code == 0
        manifest = json.loads(printed)
        found[suffix] = rows_of(out)
        source = manifest["sources"][0]
        assert (source["name"], source["documents"], source["truncated_documents"]) == ("llama", 11, 4)
        assert source["tokens"] > 11 * 8, "one token is one byte"
        assert source["seconds"] > 0
        assert manifest["device"].startswith("cpu, float32, 1 thread")
    rows = found[".csv"]
    assert [(row["id"], row["source"]) for row in rows] == [
        (f"d{n}", name) for n in range(11) for name in ("llama", "words")
    ]
    assert all(len(row["top"]) == 2 and row["top"][0]["label"] == row["code"][0] for row in rows)
    assert all(other == rows for other in found.values())


def test_the_queue_gives_what_this_process_gives_and_loads_no_model_here(
    run: Run, redis_db: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WINNOW_REDIS_URL", redis_db)
    command = ["classify", str(documents(50)), "--config", "winnow.yaml", "--out", "queue.jsonl", "--workers"]
    code, _, err = run(*command)
    assert code == 2
    assert "no propose worker is alive; start one" in err
    program = (
        f"import sys; from trainer.cli import main\ntry: main({command})\nfinally: assert 'torch' not in sys.modules"
    )
    with started("worker", "propose"):
        redis = queue.connect(load_settings())
        until(lambda: live_workers(redis), 120)
        ended = subprocess.run([sys.executable, "-c", program], env=environment(), capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    assert json.loads(Path("queue.jsonl.manifest.json").read_text())["device"] == "propose workers"
    assert run("classify", "in.csv", "--config", "winnow.yaml", "--out", "here.jsonl")[0] == 0
    assert rows_of(Path("queue.jsonl")) == rows_of(Path("here.jsonl"))


def test_memory_does_not_grow_with_the_file() -> None:
    """Documents of 1.5 KB and more: 18,000 more of them would take 27 MB, if they were held."""
    command = [sys.executable, "-m", "tests.benchmarks.classify_memory", "2000", "20000"]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    found = json.loads(ended.stdout)
    assert found["growth_mib"] < 12, found
