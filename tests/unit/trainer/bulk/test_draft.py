from __future__ import annotations

import json
from pathlib import Path

import pytest

from label_configs.codebook import load_codebook
from label_configs.codes import Kind
from label_configs.errors import ConfigError
from ml_backend.row_report import OnError
from trainer.bulk.draft import draft_codebook
from trainer.demo import wheels

STORIES = {
    "Crude oil": "opec barrels crude output barrels the said",
    "Trade": "tariff deficit exports exports tariff the said",
    "Öffentlicher Dienst": "Beamte Behörde Verwaltung the said",
}


def verified(folder: Path, rows: list[tuple[str, str]], name: str = "verified.jsonl") -> Path:
    path = folder / name
    path.write_text("\n".join(json.dumps({"topic": code, "text": text}) for code, text in rows), encoding="utf-8")
    return path


def test_a_codebook_is_drafted_that_loads(tmp_path: Path) -> None:
    rows = [(code, f"{text} {n}") for n in range(6) for code, text in STORIES.items()]
    path = verified(tmp_path, [*rows, ("Trade", "tariff exports")] + [("earn", "profit")] * 2)
    draft = draft_codebook(path, tmp_path / "mine.yaml", code_column="topic")
    assert load_codebook(tmp_path / "mine.yaml") == draft.codebook
    assert (draft.codebook.name, draft.codebook.kind, draft.documents) == ("mine", Kind.EXCLUSIVE, 21)
    assert [(code.key, code.name, code.word) for code in draft.codebook.codes] == [
        ("Trade", "Trade", "trade"),
        ("crude-oil", "Crude oil", "crude oil"),
        ("offentlicher-dienst", "Öffentlicher Dienst", "öffentlicher dienst"),
        ("earn", "earn", "earn"),
    ]
    definition = draft.codebook.code("crude-oil").definition
    assert definition.startswith("TO BE WRITTEN: when does a document get this code")
    assert "Typical words: barrels, crude, opec, output." in definition, "and neither `the` nor `said`"
    assert "behörde" in draft.codebook.code("offentlicher-dienst").definition
    assert draft.warnings == ("code 'earn' has 2 documents, too few to learn it; find more, or merge it with another",)
    text = (tmp_path / "mine.yaml").read_text(encoding="utf-8")
    assert "# Drafted from 21 documents of verified.jsonl. Write the definitions" in text
    assert "  # 7 documents\n  - key: Trade\n" in text
    assert "  # 2 documents, too few to learn it\n  - key: earn\n" in text


def test_a_code_that_can_be_a_key_is_its_own_so_that_the_files_values_fit(tmp_path: Path) -> None:
    path = verified(tmp_path, [("Money-FX", "x x"), ("101", "y y"), ("A B", "z z"), ("a-b", "w w"), ("日本", "v v")])
    draft = draft_codebook(path, tmp_path / "c.yaml", code_column="topic")
    assert {code.name: code.key for code in draft.codebook.codes} == {
        "Money-FX": "Money-FX", "101": "101", "A B": "a-b", "a-b": "a-b-2", "日本": "code-5",
    }  # fmt: skip
    assert load_codebook(tmp_path / "c.yaml") == draft.codebook


@pytest.mark.parametrize("several", ["earn | trade", ["earn", "trade"]])
def test_several_codes_in_a_row_make_it_multilabel(tmp_path: Path, several: object) -> None:
    rows = [{"code": "earn", "text": "profit"}, {"code": several, "text": "profit tariff"}]
    path = tmp_path / "a.json"
    path.write_text(json.dumps(rows), encoding="utf-8")
    draft = draft_codebook(path, tmp_path / "c.yaml", name="Two topics")
    assert (draft.codebook.name, draft.codebook.kind) == ("Two topics", Kind.MULTILABEL)
    assert [code.key for code in draft.codebook.codes] == ["earn", "trade"]
    assert load_codebook(tmp_path / "c.yaml") == draft.codebook


def test_rows_without_a_code_stop_it_or_are_listed(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("code,text\nearn,profit\n,nothing\ntrade,tariff\n|,nothing\ntrade, \n", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"a\.csv:3: no code in 'code'; .*:5: no code.*:6: no text in 'text'; mend"):
        draft_codebook(path, tmp_path / "c.yaml")
    assert list(tmp_path.iterdir()) == [path]
    draft = draft_codebook(path, tmp_path / "c.yaml", on_error=OnError.SKIP)
    assert draft.documents == 2
    assert draft.warnings[0] == f"3 rows of {path} are left out, see {tmp_path / 'c.yaml.skipped.csv'}"
    assert len((tmp_path / "c.yaml.skipped.csv").read_text().splitlines()) == 4


@pytest.mark.parametrize(
    ("rows", "out", "message"),
    [
        ([("earn", "x")], "c.yaml", "only one code, a codebook needs at least two"),
        ([("earn", "x"), ("EARN", "x")], "c.yaml", "'EARN' and 'earn' differ in their case alone; write them alike"),
        ([(f"c{n}", "x") for n in range(1001)], "c.yaml", "jsonl:1001: more than 1000 different codes so far"),
        ([], "c.yaml", "no documents with a code in 'topic'"),
        ([("earn", "x"), ("trade", "y")], "c.csv", "a codebook is drafted as YAML"),
        ([("earn", "x"), ("trade", "y")], "verified.yaml", "is there already; name another file, or remove it"),
    ],
)
def test_what_makes_no_codebook(tmp_path: Path, rows: list[tuple[str, str]], out: str, message: str) -> None:
    (tmp_path / "verified.yaml").write_text("mine", encoding="utf-8")
    path = verified(tmp_path, rows)
    with pytest.raises(ConfigError, match=message) as caught:
        draft_codebook(path, tmp_path / out, code_column="topic")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "c.yaml").exists()
    assert (tmp_path / "verified.yaml").read_text(encoding="utf-8") == "mine"


def test_texts_without_words_have_none_that_are_typical(tmp_path: Path) -> None:
    draft = draft_codebook(verified(tmp_path, [("a", "1 2"), ("b", "3 4")]), tmp_path / "c.yaml", code_column="topic")
    assert "Typical" not in draft.codebook.codes[0].definition


@pytest.mark.models
def test_the_words_of_real_newswire_say_what_it_is_about(demo_files: wheels.DemoFiles, tmp_path: Path) -> None:
    path = tmp_path / "reuters.tsv"
    head, _, _, *rows = demo_files.reuters_train.read_text(encoding="utf-8").splitlines()  # two lines are Orange's own
    path.write_text("\n".join([head, *rows]), encoding="utf-8")
    draft = draft_codebook(path, tmp_path / "c.yaml", code_column="Category", text_column="Text")
    words = {code.key: code.definition for code in draft.codebook.codes}
    assert len(words) == 8
    for key, word in {"crude": "oil", "grain": "grain", "ship": "port", "interest": "rate"}.items():
        assert word in words[key], words[key]
