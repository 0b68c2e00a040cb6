"""What a task's data says of its document beside the text."""

from __future__ import annotations

import pytest

from label_configs import wire


def test_texts_numbers_and_truth_values_are_metadata_under_the_teams_names() -> None:
    data = {
        "body": "the text", "document_id": "d1", "candidates": [], "repeat": 1, "language": " de ", "year": 2020,
        "score": 0.25, "whole": 2020.0, "old": False, "empty": "", "blank": "  ", "none": None, "tags": ["a"],
        "more": {"a": 1}, "text": "a column of that name",
    }  # fmt: skip
    assert wire.metadata({"data": data}, text_key="body") == {
        "language": "de", "year": "2020", "score": "0.25", "whole": "2020", "old": "false",
        "text": "a column of that name",
    }  # fmt: skip


@pytest.mark.parametrize("data", [None, [], "text"])
def test_a_task_without_data_has_none(data: object) -> None:
    assert wire.metadata({"data": data}) == {}


def test_half_a_surrogate_pair_is_replaced() -> None:
    assert wire.metadata({"data": {"odd\ud800": "half \udc00"}}) == {"odd?": "half ?"}
