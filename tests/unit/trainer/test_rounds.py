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
    list_rounds,
    load_round,
    load_seen,
    round_id,
    rounds_folder,
    save_round,
    save_seen,
)

START = datetime(2024, 5, 1, 12, tzinfo=UTC)
thresholds = st.lists(st.integers(1, 500), max_size=4)
every = st.none() | st.integers(1, 200)


def record(identifier: str, verified: int, *, minutes: int = 0, state: RoundState = RoundState.PROMOTED) -> RoundRecord:
    started = START + timedelta(minutes=minutes)
    return RoundRecord(identifier, 4, state, verified, verified - 20, 20, started_at=started)


def ids(*spans: tuple[int, int]) -> set[str]:
    """Document ids d<from> to d<to - 1>, of each span."""
    return {f"d{n}" for start, end in spans for n in range(start, end)}


@pytest.mark.parametrize(
    ("verified", "seen", "expected"),
    [
        (ids((0, 99)), ids(), None),
        (ids((0, 100)), ids(), 100),
        (ids((0, 101)), ids(), 100),  # a batch jumped over the threshold
        (ids((0, 250)), ids(), 200),  # two thresholds at once are one round
        (ids((0, 100)), ids((0, 100)), None),  # the same again
        (ids((0, 150)), ids((0, 101)), None),
        (ids((0, 151)), ids((0, 101)), 50),  # fifty new ones
        (ids((0, 200)), ids((0, 190)), 200),  # a threshold, though few are new
        (ids((0, 249)), ids((0, 200)), None),
        (ids((0, 90)), ids((0, 120)), None),  # annotations were deleted
        (ids((0, 60), (120, 169)), ids((0, 120)), None),  # fewer than before, though nearly every is new
        (ids((0, 60), (120, 170)), ids((0, 120)), 50),  # fewer than before, and fifty new ones
        (ids((200, 300)), ids((0, 100)), 100),  # the same number, and all of them are others
        (ids((0, 10), (200, 290)), ids((0, 100)), 90),  # the same number, most of them others: by every
        (ids((0, 99), (200, 201)), ids((0, 100)), None),  # one deleted, one new
        (ids((0, 99), (200, 249)), ids((0, 100)), None),  # the threshold was reached by the last round
    ],
)
def test_when_a_round_is_due(verified: set[str], seen: set[str], expected: int | None) -> None:
    assert due(verified, seen, thresholds=[100, 200], every=50) == expected


def test_thresholds_alone_tell_documents_apart() -> None:
    assert due(ids((0, 190)), ids((0, 100)), thresholds=[100, 200], every=None) is None
    assert due(ids((100, 190)), ids((0, 100)), thresholds=[100, 200], every=None) is None
    assert due(ids((100, 200)), ids((0, 100)), thresholds=[100, 200], every=None) == 100
    assert due(ids((50, 200)), ids((0, 100)), thresholds=[100, 200], every=None) == 100
    assert due(ids((0, 90)), ids((0, 95)), thresholds=[90], every=None) is None, "nothing new"


def test_every_alone_counts_from_nothing_and_with_thresholds_waits_for_the_first() -> None:
    assert due(ids((0, 50)), (), thresholds=[], every=50) == 50
    assert due(ids((0, 60)), (), thresholds=[100], every=50) is None
    assert due(ids((0, 500)), (), thresholds=[], every=None) is None


@pytest.mark.parametrize(("points", "step"), [([0], None), ([100, -1], 5), ([], 0)])
def test_nonsense_is_refused(points: list[int], step: int | None) -> None:
    with pytest.raises(ConfigError, match="1 or more"):
        due(ids((0, 10)), (), thresholds=points, every=step)


spans = st.tuples(st.integers(0, 300), st.integers(0, 300)).map(lambda ends: ids((min(ends), max(ends))))


@given(spans, spans, thresholds, every)
def test_no_round_without_a_new_document(
    first: set[str], second: set[str], points: list[int], step: int | None
) -> None:
    assert due(first & second, first, thresholds=points, every=step) is None


@given(spans, spans, st.integers(0, 300), thresholds, every)
def test_once_due_it_stays_due_while_documents_arrive(
    verified: set[str], seen: set[str], more: int, points: list[int], step: int | None
) -> None:
    now = due(verified, seen, thresholds=points, every=step)
    if now is not None:
        later = due(verified | ids((400, 400 + more)), seen, thresholds=points, every=step)
        assert 0 < now <= len(verified)
        assert later is not None


@given(st.lists(st.integers(1, 40), max_size=40), st.lists(st.integers(1, 500), min_size=1, max_size=4), every)
def test_every_threshold_is_covered_however_documents_arrive(
    batches: list[int], points: list[int], step: int | None
) -> None:
    count, last = 0, 0
    rounds = []
    for batch in batches:
        count += batch
        if due(ids((0, count)), ids((0, last)), thresholds=points, every=step) is not None:
            last = count
            rounds.append(count)
    for point in points:
        reached = [made for made in rounds if made >= point]
        assert bool(reached) == (count >= point)
        if reached:  # with the batch that passed it, and a batch is at most 40
            assert reached[0] < point + 40
    if step is not None and count >= min(points):
        assert count - last < step


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
def test_the_last_rounds_data_count_in_every_state(tmp_path: Path, state: RoundState) -> None:
    assert load_seen(tmp_path) == frozenset()
    save_seen(tmp_path, "a", ids((0, 200)))
    save_round(tmp_path, record("a", 200, minutes=0))
    save_seen(tmp_path, "b", ids((0, 150)))
    save_round(tmp_path, record("b", 150, minutes=1, state=state))
    # The latest, not the largest: annotations may have been deleted since.
    assert load_seen(tmp_path) == ids((0, 150))


def test_a_round_that_was_never_recorded_has_seen_nothing(tmp_path: Path) -> None:
    save_seen(tmp_path, "a", ids((0, 200)))
    assert load_seen(tmp_path) == frozenset(), "its process was killed in between: it is due still"


@pytest.mark.parametrize("text", ["{", "[]", "{}", "\xff"])
def test_damaged_data_of_the_last_round_are_refused_with_their_path(tmp_path: Path, text: str) -> None:
    (tmp_path / "seen.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(TrainingError, match=r"seen\.json: not the last round's data .*delete it to go on"):
        load_seen(tmp_path)


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
