"""What the commands for plain files say: a result, or one line that names what is wrong."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from label_configs.codebook import load_codebook
from trainer.cli import main

YAML = "codebook: reuters8\nsources:\n  - name: words\n    kind: fake\n  - {name: lost, kind: causal, model: /absent}\n"
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture(autouse=True)
def somewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A home and a folder of the test's own, with a file to classify."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WINNOW_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("WINNOW_LOG_LEVEL", "WARNING")
    monkeypatch.setenv("WINNOW_THREADS", "1")
    Path("winnow.yaml").write_text(YAML, encoding="utf-8")
    Path("in.csv").write_text("id,text,code\n1,oil oil,crude\n2,wheat,grain\n", encoding="utf-8")


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    def run(*arguments: object) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as caught:
            main([str(a) for a in arguments])
        captured = capsys.readouterr()
        return int(caught.value.code or 0), captured.out, captured.err

    return run


def test_classifying_and_doing_it_again(run: Run) -> None:
    command = ("classify", "in.csv", "--config", "winnow.yaml", "--source", "words", "--out", "out.csv")
    code, out, err = run(*command)
    assert (code, err) == (0, "")
    assert re.fullmatch(r"Classified 2 documents into out\.csv, .* documents/s\. .*: out\.csv\.manifest\.json\n", out)
    before = Path("out.csv").stat().st_mtime_ns
    assert run(*command) == (0, "out.csv is finished: nothing to do. --restart classifies anew.\n", "")
    assert Path("out.csv").stat().st_mtime_ns == before
    code, out, _ = run(*command, "--json")
    assert (code, json.loads(out)["output"]["rows"]) == (0, 2)
    assert run(*command, "--restart")[0] == 0
    assert Path("out.csv").stat().st_mtime_ns > before


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ("in.csv --out o.csv", "no codebook to classify by; name a codebook"),
        ("in.csv --out o.csv --codebook reuters8", "no source to classify with; name one, such as adapter:<id>"),
        ("in.csv --out o.csv --codebook absent.yaml --source words", "absent.yaml: cannot be read"),
        ("in.csv --out o.csv --codebook reuters8 --source adapter:0123456789abcdef", "adapter 0123456789abcdef"),
        ("in.csv --out o.csv --config winnow.yaml --source wrds", "source 'wrds'"),
        ("in.csv --out o.csv --config winnow.yaml --project 3", "--config and --project both name sources"),
        ("in.csv --out o.csv --project 3", "project 3: not known to Winnow"),
        ("in.csv --out o.csv --config winnow.yaml --source lost", "/absent"),
        ("in.csv --out o.doc --config winnow.yaml", "--out o.doc: unknown kind of file; use .csv"),
        ("in.csv --out in.csv --config winnow.yaml", "--out in.csv: is the file to classify; choose another"),
        ("in.csv --out winnow.csv/o.csv --config winnow.yaml --source words --text-column txt", "no columns 'txt'"),
        ("in.csv --out winnow.yaml/o.csv --config winnow.yaml --source words", "winnow.yaml/o.csv.progress: cannot be"),
        ("in.doc --out o.csv --config winnow.yaml --source words", "in.doc: unknown kind of file"),
        ("absent.csv --out o.csv --config winnow.yaml --source words", "absent.csv: cannot be read"),
        ("latin.csv --out o.csv --config winnow.yaml --source words", "latin.csv:2: byte 0xE9 is not UTF-8; save the"),
        ("in.csv --out o.csv --config winnow.yaml --source words --encoding x", "--encoding x: no such encoding"),
        ("in.csv --out o.csv --config winnow.yaml --top 0", "0 is not in the range x>=1"),
        ("in.csv --out o.csv --config winnow.yaml --on-error ask", "'ask' is not one of 'stop', 'skip'"),
        ("in.csv --out o.csv --config winnow.yaml --source words --workers", "start it with `winnow up`"),
        ("in.csv --out latin.csv --config winnow.yaml --source words", "latin.csv: is there already; choose another"),
        ("in.csv --config winnow.yaml", "Missing option '--out'"),
    ],
)
def test_what_cannot_be_classified_is_told_in_one_line(run: Run, arguments: str, told: str) -> None:
    Path("latin.csv").write_bytes(b"id,text\n1,caf\xe9\n")
    code, out, err = run("classify", *arguments.split())
    assert (code, out) == (2, "")
    assert re.fullmatch(r"winnow: [^\n]+\n", err), err
    assert told in err
    assert not [path.name for path in Path.cwd().iterdir() if path.name.startswith(("o.", ".o"))]


def test_the_encoding_that_was_named(run: Run) -> None:
    Path("latin.csv").write_bytes(b"id,text\n1,caf\xe9\n")
    command = ("classify", "latin.csv", "--config", "winnow.yaml", "--source", "words", "--out", "o.csv")
    assert run(*command, "--encoding", "latin-1")[0] == 0
    assert json.loads(Path("o.csv.manifest.json").read_text())["input"]["encoding"] == "latin-1"


def test_rows_that_are_skipped_are_told(run: Run) -> None:
    Path("in.csv").write_text("id,text\n1,oil\n2\n", encoding="utf-8")
    command = ("classify", "in.csv", "--config", "winnow.yaml", "--source", "words", "--out", "o.csv")
    code, out, err = run(*command, "--on-error", "skip")
    assert code == 0
    assert out.startswith("Classified 1 documents into o.csv")
    assert "in.csv: 1 rows are left out, see o.csv.skipped.csv" in err


def test_a_codebook_from_data(run: Run) -> None:
    code, out, err = run("codebook", "from-data", "in.csv", "--code-column", "code")
    assert code == 0
    assert "Drafted 2 codes (exclusive) from 2 documents into codebook.yaml. Write their definitions" in out
    assert err.splitlines()[0].startswith("warning: code 'crude' has 1 documents, too few to learn it")
    assert [code.key for code in load_codebook("codebook.yaml").codes] == ["crude", "grain"]
    code, out, err = run("codebook", "from-data", "in.csv")
    assert (code, out) == (2, "")
    assert err == "winnow: --out codebook.yaml: is there already; name another file, or remove it\n"
    assert (
        "no columns 'topic'; the columns are id, text, code: name yours with --code-column\n"
        in run("codebook", "from-data", "in.csv", "--code-column", "topic", "--out", "c.yaml")[2]
    )
