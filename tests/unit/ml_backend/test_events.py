"""Webhooks: what Label Studio sends is understood, what anybody else sends is refused."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from label_configs.errors import WireError
from ml_backend.events import Change, Event, parse_event, parse_project_id

anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)
likely = st.fixed_dictionaries({"action": anything, "project": anything | st.fixed_dictionaries({"id": anything})})


@given(anything | likely)
def test_arbitrary_json_gives_an_event_or_a_wire_error(payload: Any) -> None:
    refusal = ""
    try:
        event = parse_event(payload)
    except WireError as error:
        refusal = str(error)
    else:
        assert event.project_id >= 0
    assert "\n" not in refusal
    assert len(refusal) < 200


@pytest.mark.parametrize(
    ("action", "change"),
    [
        ("ANNOTATION_CREATED", Change.ANNOTATIONS),
        ("ANNOTATIONS_CREATED", Change.ANNOTATIONS),
        ("ANNOTATION_UPDATED", Change.ANNOTATIONS),
        ("ANNOTATIONS_DELETED", Change.ANNOTATIONS),
        ("TASKS_CREATED", Change.TASKS),
        ("TASKS_DELETED", Change.TASKS),
        ("START_TRAINING", Change.TRAIN),
        ("PROJECT_UPDATED", Change.OTHER),
    ],
)
def test_label_studios_actions_are_understood(action: str, change: Change) -> None:
    assert parse_event({"action": action, "project": {"id": 7, "token": "secret"}}) == Event(change, 7)
    assert parse_event({"action": action, "project": 7}) == Event(change, 7)


@pytest.mark.parametrize(("value", "expected"), [(7, 7), ("7", 7), ("7.1717171717", 7), (0, 0)])
def test_project_ids(value: Any, expected: int) -> None:
    assert parse_project_id(value, "setup") == expected


deep: Any = []
for _ in range(100_000):
    deep = [deep]


@pytest.mark.parametrize(
    "value",
    [None, True, -1, 7.0, "", "seven", "٧", "-7", "../7", 10**40, 10**5000, [7], {"id": {"id": 7}}, "7" * 5000, deep],
    ids=lambda value: type(value).__name__,
)
def test_what_is_no_project_id_is_refused(value: Any) -> None:
    with pytest.raises(WireError, match=r"^setup: field 'project' is an? \w+ that is no project id; ") as caught:
        parse_project_id(value, "setup")
    assert "seven" not in str(caught.value)
