"""Objects that lie between processes: whole or not there, readable by their owner alone, gone in time."""

from __future__ import annotations

import os
import stat
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from label_configs.errors import ConfigError, EnvironmentFault
from ml_backend.exchange import Exchange, exchange_of
from ml_backend.settings import Settings

ROWS = [{"id": "d1", "text": "Größe \ud800 \u2028 of\na ship"}, {"id": "d2", "text": ""}]


@pytest.fixture(params=["folder", "file", "memory"])
def exchange(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Exchange]:
    place = {"folder": str(tmp_path / "x"), "file": f"file://{tmp_path}/x", "memory": f"memory://{tmp_path}/x"}
    made = Exchange(place[request.param])
    yield made
    made.clean(-60)


def test_what_was_put_comes_back_from_another_process(exchange: Exchange) -> None:
    assert exchange.get("one.request") is None
    assert not exchange.has("one.request")
    exchange.put("one.request", ROWS)
    other = Exchange(exchange.url)
    assert other.get("one.request") == ROWS
    other.put("one.request", ROWS[:1])
    assert exchange.get("one.request") == ROWS[:1]
    exchange.put("one.result", [])
    assert exchange.get("one.result") == []
    exchange.delete("one.request", "absent", "one.result")
    assert exchange.get("one.request") is None
    assert not exchange.has("one.result")


@pytest.mark.parametrize(
    "name", ["", ".", "..", "../one", "a/b", "/etc/passwd", "a.b.c", "a\0", "a b", "a\n", "é", "a" * 101]
)
def test_no_name_leads_elsewhere(exchange: Exchange, name: str) -> None:
    for refused in (lambda: exchange.put(name, []), lambda: exchange.get(name), lambda: exchange.has(name),
                    lambda: exchange.delete(name)):  # fmt: skip
        with pytest.raises(ConfigError, match="no name of an object"):
            refused()


def test_what_nobody_fetched_expires(exchange: Exchange) -> None:
    exchange.put("old.request", ROWS)
    assert exchange.clean(3600) == 0
    assert exchange.has("old.request")
    assert exchange.clean(-60) == 1
    assert not exchange.has("old.request")
    assert exchange.clean(-60) == 0


def test_only_its_owner_reads_it(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        Exchange(str(tmp_path / "x")).put("one", ROWS)
    finally:
        os.umask(before)
    (path,) = (tmp_path / "x").iterdir()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_cleaning_leaves_other_files_and_takes_what_a_crash_left(tmp_path: Path) -> None:
    exchange = Exchange(str(tmp_path))
    exchange.put("one.request", ROWS)
    (tmp_path / "thesis.docx").write_text("years of work")
    (tmp_path / "rows.jsonl").write_text("{}")
    (tmp_path / ".two.request.winnow.jsonl.k3j2h1").write_text("half a docum")
    assert exchange.clean(-60) == 2
    assert sorted(path.name for path in tmp_path.iterdir()) == ["rows.jsonl", "thesis.docx"]


def test_a_reader_sees_an_object_in_full_or_none(tmp_path: Path) -> None:
    exchange, stop, wrong = Exchange(str(tmp_path / "x")), threading.Event(), []
    sizes = (1, 3000)

    def read() -> None:
        while not stop.is_set():
            rows = exchange.get("one")
            if rows is not None and len(rows) not in sizes:
                wrong.append(len(rows))

    reader = threading.Thread(target=read)
    reader.start()
    for turn in range(40):
        exchange.put("one", [{"id": str(i)} for i in range(sizes[turn % 2])])
    stop.set()
    reader.join()
    assert wrong == []


def test_what_is_wrong_with_the_place_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for act in (lambda e: e.put("one", ROWS), lambda e: e.get("one")):
        with pytest.raises(EnvironmentFault, match=r"exchange .*/file/x: .*; set WINNOW_EXCHANGE") as caught:
            act(Exchange(str(tmp_path / "file" / "x")))
        assert "\n" not in str(caught.value)
    with pytest.raises(ConfigError, match=r"WINNOW_EXCHANGE nosuch://: .*fsspec knows") as told:
        Exchange("nosuch://user:hunter2@bucket/x")
    assert "hunter2" not in str(told.value)
    (tmp_path / "one.winnow.jsonl").write_text('{"id": ')
    with pytest.raises(EnvironmentFault, match="one is damaged; classify again"):
        Exchange(str(tmp_path)).get("one")


def test_a_scheme_whose_library_is_missing_is_told(tmp_path: Path) -> None:
    with pytest.raises(EnvironmentFault, match=r"WINNOW_EXCHANGE gs://: .*gcsfs") as caught:
        Exchange("gs://bucket/x")
    assert "\n" not in str(caught.value)


def test_the_settings_say_where(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert exchange_of(Settings(home=tmp_path / "home")).url == str(tmp_path / "home" / "exchange")
    assert Settings(home=Path("home")).exchange_url == str(tmp_path / "home" / "exchange")
    assert Settings(home=tmp_path, exchange="shared").exchange_url == str(tmp_path / "shared")
    assert Settings(home=tmp_path, exchange="s3://bucket/x").exchange_url == "s3://bucket/x"
