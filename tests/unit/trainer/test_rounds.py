from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from label_configs.errors import ConfigError, TrainingError
from trainer.rounds import (
    RoundRecord,
    RoundState,
    due,
    last_verified,
    list_rounds,
    load_round,
    round_id,
    rounds_folder,
    save_round,
)

START = datetime(2024, 5, 1, 12, tzinfo=UTC)
thresholds = st.lists(st.integers(1, 500), max_size=4)
every = st.none() | st.integers(1, 200)


def record(identifier: str, verified: int, *, minutes: int = 0, state: RoundState = RoundState.PROMOTED) -> RoundRecord:
    started = START + timedelta(minutes=minutes)
    return RoundRecord(identifier, 4, state, verified, verified - 20, 20, started_at=started)


@pytest.mark.parametrize(
    ("verified", "last", "expected"),
    [
        (99, 0, None),
        (100, 0, 100),
        (101, 0, 100),  # a batch jumped over the threshold
        (250, 0, 200),  # two thresholds at once are one round
        (100, 100, None),  # the same count again
        (150, 101, None),
        (151, 101, 151),  # grown by fifty
        (200, 190, 200),  # a threshold, though little has grown
        (249, 200, None),
        (251, 200, 250),
        (90, 120, None),  # annotations were deleted
    ],
)
def test_when_a_round_is_due(verified: int, last: int, expected: int | None) -> None:
    assert due(verified, thresholds=[100, 200], every=50, last_verified=last) == expected


def test_every_alone_counts_from_nothing_and_with_thresholds_waits_for_the_first() -> None:
    assert due(50, thresholds=[], every=50, last_verified=0) == 50
    assert due(60, thresholds=[100], every=50, last_verified=0) is None
    assert due(500, thresholds=[], every=None, last_verified=0) is None


@pytest.mark.parametrize(("points", "step"), [([0], None), ([100, -1], 5), ([], 0)])
def test_nonsense_is_refused(points: list[int], step: int | None) -> None:
    with pytest.raises(ConfigError, match="1 or more"):
        due(10, thresholds=points, every=step, last_verified=0)


@given(st.integers(0, 1000), thresholds, every)
def test_no_round_twice_on_the_same_documents(verified: int, points: list[int], step: int | None) -> None:
    assert due(verified, thresholds=points, every=step, last_verified=verified) is None


@given(st.integers(0, 600), st.integers(0, 600), st.integers(0, 300), thresholds, every)
def test_once_due_it_stays_due_while_documents_arrive(
    verified: int, last: int, more: int, points: list[int], step: int | None
) -> None:
    now = due(verified, thresholds=points, every=step, last_verified=last)
    if now is not None:
        later = due(verified + more, thresholds=points, every=step, last_verified=last)
        assert last < now <= verified
        assert later is not None
        assert later >= now


@given(st.lists(st.integers(1, 40), max_size=40), st.lists(st.integers(1, 500), min_size=1, max_size=4), every)
def test_every_threshold_is_covered_however_documents_arrive(
    batches: list[int], points: list[int], step: int | None
) -> None:
    verified = last = 0
    rounds = []
    for batch in batches:
        verified += batch
        if due(verified, thresholds=points, every=step, last_verified=last) is not None:
            last = verified
            rounds.append(verified)
    for point in points:
        reached = [count for count in rounds if count >= point]
        assert bool(reached) == (verified >= point)
        if reached:  # with the batch that passed it, and a batch is at most 40
            assert reached[0] < point + 40
    if step is not None and verified >= min(points):
        assert verified - last < step


def test_the_round_id_changes_with_each_input() -> None:
    inputs = ["examples", "recipe", "base", "codebook"]
    ids = {round_id(*inputs)}
    for place in range(4):
        ids.add(round_id(*[*inputs[:place], "other", *inputs[place + 1 :]]))
    assert len(ids) == 5
    assert all(len(identifier) == 16 for identifier in ids)
    assert round_id("ab", "c", "d", "e") != round_id("a", "bc", "d", "e")


def test_a_record_reads_back_as_it_was(tmp_path: Path) -> None:
    folder = rounds_folder(tmp_path, 4)
    assert folder == tmp_path / "projects" / "4" / "rounds"
    full = RoundRecord(
        id="0123456789abcdef",
        project=4,
        state=RoundState.KEPT,
        verified=120,
        training_examples=95,
        holdout_examples=24,
        adapter_id="a1b2",
        reason="macro-F1 0.700 against 0.710 – not better",
        metrics={"new": 0.7, "current": None},
        seconds=81.5,
        started_at=datetime(2024, 5, 1, 12, tzinfo=timezone(timedelta(hours=2))),
        ended_at=START,
    )
    save_round(folder, full)
    assert load_round(folder, full.id) == full
    assert (folder / full.id / "round.json").is_file()
    running = record("b" * 16, 100, state=RoundState.RUNNING)
    save_round(folder, running)
    save_round(folder, replace(running, state=RoundState.FAILED, reason="out of memory"))
    assert load_round(folder, running.id).state is RoundState.FAILED


def test_rounds_are_listed_oldest_first(tmp_path: Path) -> None:
    assert list_rounds(tmp_path / "none") == []
    for identifier, minutes in (("c", 5), ("a", 10), ("b", 0)):
        save_round(tmp_path, record(identifier, 100 + minutes, minutes=minutes))
    (tmp_path / "notes.txt").write_text("not a round")
    assert [one.id for one in list_rounds(tmp_path)] == ["b", "c", "a"]


@pytest.mark.parametrize("state", list(RoundState))
def test_the_last_round_counts_in_every_state(tmp_path: Path, state: RoundState) -> None:
    assert last_verified(tmp_path) == 0
    save_round(tmp_path, record("a", 200, minutes=0))
    save_round(tmp_path, record("b", 150, minutes=1, state=state))
    # The latest, not the largest: annotations may have been deleted since.
    assert last_verified(tmp_path) == 150
    assert due(150, thresholds=[100], every=50, last_verified=last_verified(tmp_path)) is None


@pytest.mark.parametrize("text", ["{", "[]", "{}", '"round"', "\xff"])
def test_a_damaged_record_is_refused_with_its_path(tmp_path: Path, text: str) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "round.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(TrainingError, match=r"a/round\.json: not a round's record") as caught:
        list_rounds(tmp_path)
    assert "\n" not in str(caught.value)


def test_an_unknown_state_or_field_is_refused(tmp_path: Path) -> None:
    save_round(tmp_path, record("a", 100))
    path = tmp_path / "a" / "round.json"
    good = json.loads(path.read_text())
    for change in ({"state": "paused"}, {"colour": "red"}, {"started_at": "2024-05-01T12:00:00"}):
        path.write_text(json.dumps(good | change))
        with pytest.raises(TrainingError, match="not a round's record"):
            load_round(tmp_path, "a")


def test_a_missing_record_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="cannot be read"):
        load_round(tmp_path, "none")


def test_times_need_a_zone() -> None:
    with pytest.raises(ValueError, match="time zone"):
        RoundRecord("a", 1, RoundState.RUNNING, 1, 1, 0, started_at=datetime(2024, 5, 1))
