"""Codes that change with the text: asked of fake sources, kept, gone on with, and read."""

from __future__ import annotations

import io
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from label_configs.codebook import Code, Codebook, Kind
from label_configs.errors import ConfigError, ModelError
from label_configs.records import Document
from ml_backend.classifying import ClassifySpec, propose_all
from ml_backend.source_config import ChatApi, SourceConfig, SourceKind
from ml_backend.sources.fake import FakePool
from ml_backend.versions import ActiveSource
from trainer.bulk.engine import Chunks, Engine, Made
from trainer.evaluation.blocks import Heatmap, Table, Tone
from trainer.evaluation.options import ReportOptions
from trainer.evaluation.perturbing import PERTURBATIONS
from trainer.evaluation.stability import stability_rows, stability_section
from trainer.evaluation.stability_file import ORIGINAL, StabilityFile, document_key
from trainer.evaluation.study import Study, StudyDocument
from trainer.stability_run import Asking, allowed, questions, sample

BOOK = Codebook("b", Kind.EXCLUSIVE, (Code("c", "Corn", "d", "corn"), Code("s", "Ships", "d", "ship")))
WORDS = ActiveSource(SourceConfig("words", SourceKind.FAKE), "fake/1")
OTHER = ActiveSource(SourceConfig("other", SourceKind.FAKE), "fake/2")
QUIET = Console(file=io.StringIO())
OPTIONS = ReportOptions(samples=50)


def study(number: int = 8, version: str = "fake/1") -> Study:
    """Documents whose first half says nothing: what the fake source looks for stands at the end."""
    ends = ("corn", "ship")
    texts = {f"d{at}": f"Text {at} that says little of it until it ends: {ends[at % 2]}" for at in range(number)}
    documents = {id_: StudyDocument(id_, text, holdout=True) for id_, text in texts.items()}
    truth = {id_: ("cs"[at % 2],) for at, id_ in enumerate(texts)}
    return Study("p", BOOK, documents, (), (), (), truth, "consensus", {"words": version}, project_id=3)


class Answering:
    """Makes engines of fake sources that count what they are asked, and fail after so many chunks."""

    def __init__(self, chunks: int = 1000) -> None:
        self.asked: list[str] = []
        self._chunks = chunks

    def __call__(self, spec: ClassifySpec) -> Engine:
        def classify(chunks: Chunks) -> Made:
            for number, chunk in enumerate(chunks):
                if number >= self._chunks:
                    raise ModelError("the model is gone")
                self.asked += [document.text for document in chunk]
                yield propose_all(FakePool(), spec, chunk)

        return Engine("fake", classify)


def asking(folder: Path, make: Answering, sources: Iterable[ActiveSource] = (WORDS,)) -> Asking:
    return Asking(StabilityFile.read(folder), ClassifySpec(BOOK, tuple(sources)), 5, make)


def test_what_was_answered_is_kept_and_read(tmp_path: Path) -> None:
    made, make = study(), Answering()
    total = asking(tmp_path, make).run(questions(sample(made, 100), 0), QUIET)
    assert total == len(make.asked) == 8 * (1 + len(PERTURBATIONS))
    rows = {row.perturbation.key: row for row in stability_rows(made, StabilityFile.read(tmp_path), OPTIONS)}
    assert set(rows) == {one.key for one in PERTURBATIONS}
    cut, upper = rows["truncated"], rows["upper"]
    # Without a word that it knows the fake source says the first code, which is right for half of the documents.
    assert (cut.changed.value, cut.before.value, cut.after.value, cut.lost.value) == (0.5, 1.0, 0.5, 0.5)
    assert (upper.changed.value, upper.lost.value, upper.changed.n) == (0.0, 0.0, 8)
    assert cut.lost.low is not None
    assert cut.lost.low > 0
    text = (tmp_path / "judging" / "stability.json").read_text(encoding="utf-8")
    assert "says little" not in text.lower(), "documents' texts are not kept"


def test_the_section_shows_each_source_and_change(tmp_path: Path) -> None:
    asking(tmp_path, Answering()).run(questions(sample(study(), 100), 0), QUIET)
    section = stability_section(study(), replace(OPTIONS, folder=tmp_path))
    (finding,) = section.findings
    assert (finding.tone, finding.text) == (
        Tone.WARNING,
        "words gives other codes to 50.0 % of 8 documents after truncation, more than after any other change; that "
        "costs 50.0 points of accuracy.",
    )
    table, heat = section.blocks
    assert isinstance(table, Table)
    assert len(table.rows) == len(PERTURBATIONS)
    assert isinstance(heat, Heatmap)
    assert heat.values[0][heat.columns.index("Truncation")] == 0.5


def test_a_run_that_broke_off_goes_on(tmp_path: Path) -> None:
    wanted, first, second = questions(sample(study(), 100), 0), Answering(chunks=3), Answering()
    with pytest.raises(ModelError):
        asking(tmp_path, first).run(wanted, QUIET)
    assert asking(tmp_path, second).run(wanted, QUIET) == len(wanted) - 15
    assert sorted(first.asked + second.asked) == sorted(one.text for one in wanted)
    assert asking(tmp_path, second).run(wanted, QUIET) == 0


def test_another_source_seed_version_or_text_is_asked_anew(tmp_path: Path) -> None:
    made = study()
    asking(tmp_path, Answering()).run(questions(sample(made, 2), 0), QUIET)
    changes = len(PERTURBATIONS)
    make = Answering()
    assert asking(tmp_path, make, (WORDS, OTHER)).run(questions(sample(made, 2), 0), QUIET) == 2 * (1 + changes)
    assert asking(tmp_path, Answering()).run(questions(sample(made, 2), 1), QUIET) == 2 * changes
    newer = replace(WORDS, version="fake/9")
    assert asking(tmp_path, Answering(), (newer,)).run(questions(sample(made, 2), 0), QUIET) == 2 * (1 + changes)
    documents = {id_: replace(one, text=f"{one.text}!") for id_, one in made.documents.items()}
    edited = replace(made, documents=documents)
    assert not stability_rows(edited, StabilityFile.read(tmp_path), OPTIONS)
    assert asking(tmp_path, Answering()).run(questions(sample(edited, 2), 0), QUIET) == 2 * (1 + changes)


def test_more_documents_begin_with_the_same() -> None:
    of = study(30)
    assert sample(of, 10) == sample(of, 30)[:10]
    assert {one.id for one in sample(of, 10)} != {f"d{at}" for at in range(10)}


def test_only_sources_in_force_are_shown(tmp_path: Path) -> None:
    asking(tmp_path, Answering()).run(questions(sample(study(), 100), 0), QUIET)
    (finding,) = stability_section(study(version="fake/2"), replace(OPTIONS, folder=tmp_path)).findings
    assert finding.tone is Tone.NEXT
    assert "`winnow evaluate --project 3 --stability`" in finding.text


def test_documents_leave_this_machine_only_where_they_may() -> None:
    def api(url: str, *, remote: bool) -> ActiveSource:
        config = SourceConfig("m", SourceKind.CHAT_API, model="m", api=ChatApi(url, allow_remote=remote))
        return ActiveSource(config, "m/1")

    here, away = api("http://127.0.0.1:8000/v1", remote=False), api("https://example.org/v1", remote=False)
    let = api("https://example.org/v1", remote=True)
    assert allowed([WORDS, here, away, let]) == (WORDS, here, let)


def test_a_damaged_file_and_no_file_are_told(tmp_path: Path) -> None:
    options = replace(OPTIONS, folder=tmp_path)
    assert stability_section(study(), options).findings[0].tone is Tone.NEXT
    assert not stability_section(study(), OPTIONS).blocks
    (tmp_path / "judging").mkdir()
    (tmp_path / "judging" / "stability.json").write_text('{"answers": [{"source": 1}]}')
    with pytest.raises(ConfigError, match=r"stability\.json: damaged; delete it"):
        StabilityFile.read(tmp_path)
    assert "damaged" in stability_section(study(), options).findings[0].text


def test_the_original_is_asked_once_whatever_the_seed() -> None:
    document = Document("d", "Some text about corn and ships")
    keys = {(one.key, one.seed) for one in questions([document], 4)}
    assert (ORIGINAL, 0) in keys
    assert {seed for key, seed in keys if key != ORIGINAL} == {4}
    assert questions([document], 4)[0].name == document_key("d", document.digest)
