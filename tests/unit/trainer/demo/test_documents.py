"""Reading Reuters R8 and drawing the demo's sample from it."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from label_configs.errors import ConfigError
from trainer.demo.documents import read, sample
from trainer.demo.wheels import DemoFiles

R8 = ("earn", "acq", "crude", "trade", "money-fx", "interest", "ship", "grain")


def text(number: int) -> str:
    return f"document number {number} says something that is long enough to be coded by a person"


def write_table(
    folder: Path, rows: list[tuple[str, str]], header: str = "Category\tText\nd\tstring\nclass\t\n"
) -> Path:
    path = folder / "reuters-r8-train.tab"
    path.write_text(header + "".join(f"{code}\t{words}\n" for code, words in rows), encoding="utf-8")
    return path


def test_ids_count_the_rows_of_the_file(tmp_path: Path) -> None:
    path = write_table(tmp_path, [("earn", text(1)), ("acq", "too short"), ("grain", text(3))])
    found = read(path)
    assert [(document.id, code) for document, code in found] == [
        ("reuters-train-00001", "earn"),
        ("reuters-train-00003", "grain"),
    ]
    assert found[1][0].text == text(3)


def test_a_blank_row_is_passed_over_and_keeps_its_number(tmp_path: Path) -> None:
    path = write_table(tmp_path, [], header=f"Category\tText\nd\tstring\nclass\t\n\nearn\t{text(1)}\n")
    assert [document.id for document, _ in read(path)] == ["reuters-train-00002"]


def test_quoted_texts_may_hold_tabs_and_line_breaks(tmp_path: Path) -> None:
    path = write_table(tmp_path, [("earn", f'"{text(1)}\tand ""quotes""\nand lines"')])
    assert read(path)[0][0].text == f'{text(1)}\tand "quotes"\nand lines'


def test_repeated_texts_count_once_and_texts_with_two_codes_not_at_all(tmp_path: Path) -> None:
    rows = [("earn", text(1)), ("earn", text(1)), ("earn", text(2)), ("acq", text(2)), ("acq", text(3))]
    assert [document.id for document, _ in read(write_table(tmp_path, rows))] == [
        "reuters-train-00001",
        "reuters-train-00005",
    ]


def test_the_shortest_usable_text_has_60_characters(tmp_path: Path) -> None:
    path = write_table(tmp_path, [("earn", "a" * 59), ("earn", "b" * 60)])
    assert [document.text for document, _ in read(path)] == ["b" * 60]


def test_a_scarce_code_gives_all_and_the_others_share_the_rest(tmp_path: Path) -> None:
    rows = [(code, text(index)) for index, code in enumerate(["earn"] * 50 + ["acq"] * 50 + ["grain"] * 2)]
    chosen = sample(write_table(tmp_path, rows), ["earn", "acq", "grain"], total=31)
    counts = Counter(code for _, code in chosen)
    assert counts["grain"] == 2
    assert sorted((counts["earn"], counts["acq"])) == [14, 15]
    assert len({document.id for document, _ in chosen}) == 31


def test_same_seed_same_sample_in_the_same_order(tmp_path: Path) -> None:
    path = write_table(tmp_path, [("earn" if index % 2 else "acq", text(index)) for index in range(40)])
    assert sample(path, ["earn", "acq"], total=10) == sample(path, ["earn", "acq"], total=10)
    assert sample(path, ["earn", "acq"], total=10) != sample(path, ["earn", "acq"], total=10, seed=1)


def test_codes_that_were_not_asked_for_stay_out(tmp_path: Path) -> None:
    path = write_table(tmp_path, [("earn" if index % 2 else "acq", text(index)) for index in range(40)])
    assert {code for _, code in sample(path, ["acq"], total=20)} == {"acq"}


@pytest.mark.parametrize(
    ("codes", "total", "message"),
    [(["earn", "wheat"], 2, "no document has the code wheat"), (["earn"], 3, "fewer than 3 documents")],
)
def test_a_sample_that_cannot_be_drawn_is_refused(tmp_path: Path, codes: list[str], total: int, message: str) -> None:
    path = write_table(tmp_path, [("earn", text(1)), ("earn", text(2))])
    with pytest.raises(ConfigError, match=message):
        sample(path, codes, total=total)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("a,b\n", r"\.tab:1: not an Orange table"),
        ("Category\tText\nd\tstring\nclass\t\nearn\tx\ty\n", "row 1 has 3 columns"),
    ],
)
def test_other_files_are_refused_with_their_line(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "x.tab"
    path.write_text(content)
    with pytest.raises(ConfigError, match=message):
        read(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"nowhere\.tab: cannot be read"):
        read(tmp_path / "nowhere.tab")


@pytest.mark.models
def test_the_demos_sample_has_every_code_alike(demo_files: DemoFiles) -> None:
    chosen = sample(demo_files.reuters_train, R8)
    assert Counter(code for _, code in chosen) == dict.fromkeys(R8, 20)
    assert min(len(document.text) for document, _ in chosen) >= 60
    # Shuffled: no code fills the start, so that any first part of the sample knows most codes.
    assert len({code for _, code in chosen[:24]}) >= 6
