"""What a new codebook does to the labels of the one before."""

from __future__ import annotations

from dataclasses import replace

import pytest

from label_configs.codebook import Code, Codebook, Kind
from label_configs.errors import CodebookError
from label_configs.records import Decision
from ml_backend.changes import review_settings
from ml_backend.codebook_change import codebook_change, orphans_line
from ml_backend.config_check import same_xml
from ml_backend.experiment import Order, Review


def book(*keys: str, kind: Kind = Kind.EXCLUSIVE, levels: tuple[str, ...] = ()) -> Codebook:
    return Codebook("book", kind, tuple(Code(key, key.title(), f"About {key}.", key) for key in keys), levels=levels)


def test_added_removed_and_renamed_are_told_apart() -> None:
    change = codebook_change(book("a", "b", "c"), book("x", "b", "d"), {"a": "x"})
    assert (change.added, change.removed, change.names) == (("d",), ("c",), {"a": "x"})
    assert not codebook_change(book("a", "b"), book("b", "a"), {}), "order is no change"


def test_a_graded_code_stands_for_its_levels() -> None:
    old = book("a", "b", kind=Kind.GRADED, levels=("low", "high"))
    change = codebook_change(old, replace(old, codes=book("x", "b").codes), {"a": "x"})
    assert change.names == {"a:low": "x:low", "a:high": "x:high"}
    assert (change.added, change.removed) == ((), ())


def test_a_graded_level_is_renamed_by_its_label() -> None:
    old = book("a", "b", kind=Kind.GRADED, levels=("low", "high"))
    new = replace(old, levels=("low", "strong"))
    change = codebook_change(old, new, {"a:high": "a:strong"})
    assert change.names == {"a:high": "a:strong"}
    assert change.removed == ("b:high",)


@pytest.mark.parametrize(
    ("renames", "told"),
    [
        ({"a": "z"}, "book has no z; its codes are x, b"),
        ({"b": "x"}, "still has b; only a code that is gone is renamed, so swap two by a third name"),
    ],
)
def test_a_rename_that_cannot_be_is_refused(renames: dict[str, str], told: str) -> None:
    with pytest.raises(CodebookError, match=told):
        codebook_change(book("a", "b"), book("x", "b"), renames)


@pytest.mark.parametrize("renames", [{"a": "c", "b": "c"}, {"a": ""}])
def test_graded_codes_neither_merge_nor_vanish(renames: dict[str, str]) -> None:
    levels = ("low", "high")
    old, new = book("a", "b", kind=Kind.GRADED, levels=levels), book("c", "d", kind=Kind.GRADED, levels=levels)
    with pytest.raises(CodebookError, match="can neither become one nor be dropped"):
        codebook_change(old, new, renames)


def test_orphans_are_counted_by_code_with_the_first_tasks() -> None:
    found = {
        "a": [Decision("d", task, task, "1", "reject", kept=("a",) if task < 5 else ()) for task in range(1, 13)],
        "b": [Decision("d", 7, 7, "1", "reject", rejected=("b",))],
    }
    assert orphans_line(found) == (
        "a in 12 (4 say it holds; tasks 1, 2, 3, 4, 5, 6, 7, 8, 9, 10 and 2 more), b in 1 (0 say it holds; tasks 7)"
    )


def test_the_settings_of_a_review() -> None:
    several = review_settings(Review(overlap=2, order=Order.DISAGREEMENT))
    assert (several["maximum_annotations"], several["overlap_cohort_percentage"]) == (2, 100)
    assert several["show_overlap_first"] is False
    assert several["sampling"] == "Uncertainty sampling"
    # A share is written into the tasks, so the project's own number is for the others.
    for alone in (Review(), Review(overlap=2, overlap_share=0), Review(overlap=2, overlap_share=0.5)):
        made = review_settings(alone)
        assert (made["maximum_annotations"], made["overlap_cohort_percentage"]) == (1, 100)
        assert made["sampling"] == "Uniform sampling"


def test_white_space_between_elements_is_no_edit() -> None:
    assert same_xml('<View><Text name="a" value="$t"/></View>', '<View>\n  <Text value="$t" name="a" />\n</View>\n')
    assert not same_xml('<View><Text name="a"/></View>', '<View><Text name="b"/></View>')
    assert not same_xml("<View>", "<View>")
