"""Classifying a file in this process: every document once, whatever stops it, in the order of the input."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from pyarrow import parquet
from rich.console import Console

from label_configs.codebook import Codebook, load_codebook
from label_configs.errors import ConfigError, EnvironmentFault, ModelError
from label_configs.records import Document, Proposal
from ml_backend.classifying import ClassifySpec
from ml_backend.row_report import OnError
from ml_backend.source_config import SourceConfig, SourceKind
from ml_backend.sources.fake import FakeSource
from ml_backend.versions import ActiveSource, source_version
from trainer.bulk.classify import classify, finished
from trainer.bulk.engine import Chunks, Engine, Made
from trainer.bulk.job import BulkJob, file_digest
from trainer.bulk.results import COLUMNS

REUTERS = load_codebook("reuters8")
WORDS = ["oil", "wheat", "profit", "stake", "rate", "ship", "money", "tariff"]
QUIET = Console(quiet=True)


def spec(*names: str, codebook: Codebook = REUTERS) -> ClassifySpec:
    configs = [SourceConfig(name, SourceKind.FAKE) for name in names or ("words",)]
    return ClassifySpec(codebook, tuple(ActiveSource(one, source_version(one, None)) for one in configs))


@dataclass
class Fakes:
    """An engine of fake sources that notes each chunk, and ends with ``error`` at the chunk numbered ``fails_at``."""

    spec: ClassifySpec
    fails_at: int = -1
    error: BaseException = field(default_factory=KeyboardInterrupt)
    chunks: list[list[str]] = field(default_factory=list)

    def __call__(self) -> Engine:
        return Engine("fakes", self._classify)

    def _classify(self, chunks: Chunks) -> Made:
        sources = [FakeSource(name, version, self.spec.codebook) for name, version in self.spec.names]
        for chunk in chunks:
            if len(self.chunks) == self.fails_at:
                raise self.error
            self.chunks.append([document.id for document in chunk])
            yield _rows(sources, chunk)

    @property
    def ids(self) -> list[str]:
        return [one for chunk in self.chunks for one in chunk]


def _rows(sources: Sequence[FakeSource], chunk: Sequence[Document]) -> list[list[Proposal]]:
    return [list(row) for row in zip(*(source.propose(chunk) for source in sources), strict=True)]


def documents(folder: Path, number: int, name: str = "in.csv") -> Path:
    path = folder / name
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "text"])
        writer.writerows([f"d{n}", f"{WORDS[n % 8]} {WORDS[n % 8]} é\n{n}"] for n in range(number))
    return path


def run(job: BulkJob, engine: Callable[[], Engine], *, restart: bool = False, size: int = 4) -> dict[str, Any]:
    return classify(job, engine, QUIET, chunk_documents=size, restart=restart)


def lines(path: Path) -> list[list[str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.reader(file))


def test_one_row_for_each_document_and_source_in_order(tmp_path: Path) -> None:
    job = BulkJob(documents(tmp_path, 10), tmp_path / "out" / "o.csv", spec("words", "again"), top=2)
    engine = Fakes(job.spec)
    manifest = run(job, engine)
    head, *rows = lines(job.out)
    assert tuple(head) == COLUMNS
    assert [row[0] for row in rows] == [f"d{n}" for n in range(10) for _ in range(2)]
    assert [row[3] for row in rows] == ["words", "again"] * 10
    expected = FakeSource("words", "", REUTERS).propose([Document("d0", "oil oil é\n0")])[0].labels
    first = dict(zip(head, rows[0], strict=True))
    assert (first["code"], first["probability"]) == ("crude", str(expected[0].probability))
    assert first["top"] == "|".join(f"{one.label}:{one.probability}" for one in expected[:2])
    assert [len(chunk) for chunk in engine.chunks] == [4, 4, 2]
    assert sorted(path.name for path in job.out.parent.iterdir()) == ["o.csv", "o.csv.manifest.json"]
    assert finished(job) == manifest


def test_the_manifest_says_what_was_done(tmp_path: Path) -> None:
    path = tmp_path / "in.csv"
    path.write_text("nr,body\n1,oil oil\n2,\n3,wheat\n", encoding="utf-8")
    job = BulkJob(path, tmp_path / "o.json", spec(), id_column="nr", text_column="body", on_error=OnError.SKIP)
    manifest = run(job, Fakes(job.spec))
    assert manifest == json.loads(job.manifest_path.read_text(encoding="utf-8"))
    assert manifest["input"] == {
        "file": str(path), "sha256": file_digest(path), "encoding": "UTF-8, or as its byte order mark says",
        "id_column": "nr", "text_column": "body", "rows": 3, "classified": 2, "skipped": 1,
        "skipped_rows": str(job.skipped_path),
    }  # fmt: skip
    assert manifest["output"] == {"file": str(job.out), "sha256": file_digest(job.out), "rows": 2}
    assert manifest["codebook"] == {"name": "reuters8", "kind": "exclusive", "fingerprint": REUTERS.fingerprint}
    source = manifest["sources"][0]
    assert (source["name"], source["version"], source["documents"], source["tokens"]) == (
        "words",
        "words/fake@base",
        2,
        3,
    )
    assert source["config"]["kind"] == "fake"
    assert manifest["device"] == "fakes"
    assert manifest["seeds"].startswith("none")
    assert manifest["packages"].keys() >= {"label-studio-winnow", "torch", "pyarrow"}
    assert [run["documents"] for run in manifest["runs"]] == [2]
    assert lines(job.skipped_path)[1:] == [[f"{path}:3", "no text in 'body'"]]


def test_a_password_in_an_address_is_not_written(tmp_path: Path) -> None:
    from ml_backend.source_config import ChatApi

    config = SourceConfig("api", SourceKind.CHAT_API, model="m", api=ChatApi("http://me:hunter2@127.0.0.1:1/v1"))
    active = ActiveSource(config, source_version(config, None))
    job = BulkJob(documents(tmp_path, 2), tmp_path / "o.csv", ClassifySpec(REUTERS, (active,)))
    manifest = run(job, Fakes(job.spec))
    assert manifest["sources"][0]["config"]["api"]["base_url"] == "http://127.0.0.1:1/v1"
    assert "hunter2" not in job.manifest_path.read_text(encoding="utf-8")


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".json", ".jsonl", ".parquet"])
def test_every_form_goes_in_and_out(tmp_path: Path, suffix: str) -> None:
    """What is written is read again as documents, with the codes as their texts."""
    first = BulkJob(documents(tmp_path, 9), tmp_path / f"one{suffix}", spec())
    run(first, Fakes(first.spec))
    second = BulkJob(first.out, tmp_path / "two.jsonl", spec(), text_column="version")
    manifest = run(second, Fakes(second.spec))
    assert manifest["input"]["classified"] == 9
    ids = [json.loads(line)["id"] for line in second.out.read_text(encoding="utf-8").splitlines()]
    assert ids == [f"d{n}" for n in range(9)]


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
@pytest.mark.parametrize("fails_at", [0, 1, 3])
def test_what_was_stopped_goes_on_and_ends_as_if_it_had_not_been(tmp_path: Path, suffix: str, fails_at: int) -> None:
    source = documents(tmp_path, 18)
    whole = BulkJob(source, tmp_path / f"whole{suffix}", spec("words", "again"))
    run(whole, Fakes(whole.spec))
    job = replace(whole, out=tmp_path / f"o{suffix}")
    broken, rest = Fakes(job.spec, fails_at), Fakes(job.spec)
    with pytest.raises(KeyboardInterrupt):
        run(job, broken)
    assert not job.out.exists()
    assert finished(job) is None
    manifest = run(job, rest, size=7)
    assert broken.ids + rest.ids == [f"d{n}" for n in range(18)], "each document once, the rest after the first"
    assert job.out.read_bytes() == whole.out.read_bytes()
    assert [one["documents"] for one in manifest["runs"]] == [fails_at * 4, 18 - fails_at * 4]
    assert not job.progress_path.exists()


def test_a_model_that_fails_keeps_what_was_done(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    job = BulkJob(documents(tmp_path, 10), tmp_path / "o.csv", spec())
    with pytest.raises(ModelError):
        run(job, Fakes(job.spec, 2, ModelError("out of memory")))
    assert f"8 of 10 documents are classified and kept in {job.progress_path}; the same command goes on" in caplog.text
    engine = Fakes(job.spec)
    run(job, engine)
    assert engine.ids == ["d8", "d9"]


def test_an_engine_that_cannot_be_built_leaves_nothing_behind(tmp_path: Path) -> None:
    job = BulkJob(documents(tmp_path, 3), tmp_path / "o.csv", spec())

    def fails() -> Engine:
        raise ModelError("no such model")

    with pytest.raises(ModelError):
        run(job, fails)
    assert [path.name for path in tmp_path.iterdir()] == ["in.csv"]


def test_a_finished_output_is_left_alone_and_another_refused(tmp_path: Path) -> None:
    job = BulkJob(documents(tmp_path, 5), tmp_path / "o.csv", spec())
    assert finished(job) is None
    run(job, Fakes(job.spec))
    assert finished(job) is not None
    with pytest.raises(ConfigError, match=r"o\.csv: holds another classification \(top differ\); .* with --restart"):
        finished(replace(job, top=4))
    job.manifest_path.write_text("{}", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"manifest\.json: damaged, so what .* with --restart"):
        finished(job)
    job.manifest_path.unlink()
    with pytest.raises(
        ConfigError, match=r"o\.csv: is there already; choose another --out, or replace it with --restart"
    ):
        finished(job)
    run(job, Fakes(job.spec), restart=True)
    assert finished(job) is not None


def test_a_restart_that_is_stopped_is_gone_on_with(tmp_path: Path) -> None:
    job = BulkJob(documents(tmp_path, 10), tmp_path / "o.csv", spec())
    run(job, Fakes(job.spec))
    with pytest.raises(KeyboardInterrupt):
        run(job, Fakes(job.spec, 1), restart=True)
    assert finished(job) is None, "the output is the one before the restart"
    engine = Fakes(job.spec)
    run(job, engine)
    assert engine.ids == [f"d{n}" for n in range(4, 10)]


@pytest.mark.parametrize(
    "change", [{"top": 5}, {"spec": spec("others")}, {"text_column": "id"}, {"encoding": "cp1252"}]
)
def test_progress_of_another_job_is_refused(tmp_path: Path, change: dict[str, Any]) -> None:
    job = BulkJob(documents(tmp_path, 10), tmp_path / "o.csv", spec())
    with pytest.raises(KeyboardInterrupt):
        run(job, Fakes(job.spec, 1))
    other = replace(job, **change)
    with pytest.raises(ConfigError, match=r"progress: holds the progress of another classification .* with --restart"):
        run(other, Fakes(other.spec))
    engine = Fakes(other.spec)
    run(other, engine, restart=True)
    assert len(engine.ids) == 10


def test_progress_of_another_input_is_refused(tmp_path: Path) -> None:
    job = BulkJob(documents(tmp_path, 10), tmp_path / "o.csv", spec())
    with pytest.raises(KeyboardInterrupt):
        run(job, Fakes(job.spec, 1))
    documents(tmp_path, 11)
    with pytest.raises(ConfigError, match=r"\(input differ\)"):
        run(replace(job), Fakes(job.spec))


def test_an_input_that_changes_meanwhile_is_not_written_as_if_it_had_not(tmp_path: Path) -> None:
    job = BulkJob(documents(tmp_path, 10), tmp_path / "o.csv", spec())

    def engine() -> Engine:
        documents(tmp_path, 12)
        return Fakes(job.spec)()

    with pytest.raises((ConfigError, EnvironmentFault), match=r"with --restart"):
        run(job, engine)
    assert not job.out.exists()


def test_rows_at_fault_stop_it_before_anything_is_done(tmp_path: Path) -> None:
    path = tmp_path / "in.csv"
    path.write_text("id,text\n1,oil\n2\n3,\n1,oil\n", encoding="utf-8")
    engine = Fakes(spec())
    job = BulkJob(path, tmp_path / "o.csv", spec())
    with pytest.raises(
        ConfigError, match=r":3: 1 fields .*:4: no text .*:5: id '1' .*mend these rows, or .*--on-error skip$"
    ):
        run(job, engine)
    assert not engine.chunks
    assert list(tmp_path.iterdir()) == [path]
    manifest = run(replace(job, on_error=OnError.SKIP), engine)
    assert engine.ids == ["1"]
    assert [row[0].rpartition(":")[2] for row in lines(job.skipped_path)[1:]] == ["3", "4", "5"]
    assert (manifest["input"]["rows"], manifest["input"]["skipped"]) == (4, 3)


def test_a_file_without_documents(tmp_path: Path) -> None:
    path = tmp_path / "in.csv"
    path.write_text("id,text\n", encoding="utf-8")
    job = BulkJob(path, tmp_path / "o.csv", spec(), on_error=OnError.SKIP)
    with pytest.raises(ConfigError, match="no documents; the file is empty"):
        run(job, Fakes(job.spec))
    path.write_text("id,text\n1,\n2,\n", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"no documents, all 2 rows are at fault; see .*o\.csv\.skipped\.csv"):
        run(replace(job), Fakes(job.spec))


def test_what_cannot_be_asked_for(tmp_path: Path) -> None:
    source = documents(tmp_path, 1)
    with pytest.raises(ConfigError, match="is the file to classify; choose another"):
        BulkJob(source, tmp_path / "." / "in.csv", spec())
    with pytest.raises(ConfigError, match="unknown kind of file"):
        BulkJob(source, tmp_path / "out.xlsx", spec())


def test_several_codes_may_hold(tmp_path: Path) -> None:
    codes = tuple(replace(code, word=word) for code, word in zip(REUTERS.codes[:2], ("oil", "ship"), strict=True))
    multilabel = replace(REUTERS, kind=type(REUTERS.kind)("multilabel"), codes=codes)
    path = tmp_path / "in.csv"
    path.write_text("id,text\n1,oil ship\n2,oil oil\n", encoding="utf-8")
    job = BulkJob(path, tmp_path / "o.parquet", spec(codebook=multilabel))
    run(job, Fakes(job.spec))
    rows = parquet.read_table(job.out).to_pylist()
    assert [row["code"] for row in rows] == [[code.key for code in codes], [codes[0].key]]
    assert rows[0]["probability"] == [0.5, 0.5]
