"""What was spent on each source of an installation, and what may still be: the ledger behind ``api.budget``.

Before a request its upper bound is reserved, after it the real amount is booked. What is booked and reserved together
never passes the budget, over all threads and processes of the installation.
"""

from __future__ import annotations

import os
import socket
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from label_configs.errors import EnvironmentFault, SourceError
from ml_backend.source_config import Budget, Price

FILE = "spending.sqlite"
WAIT_SECONDS = 30.0  # for another process's transaction, which takes milliseconds

_TABLES = """
PRAGMA journal_mode = WAL;
PRAGMA synchronous = NORMAL;
CREATE TABLE IF NOT EXISTS spent (source TEXT PRIMARY KEY, tokens INTEGER NOT NULL, money REAL NOT NULL);
CREATE TABLE IF NOT EXISTS reserved (
    id INTEGER PRIMARY KEY, source TEXT NOT NULL, tokens INTEGER NOT NULL, money REAL NOT NULL,
    host TEXT NOT NULL, pid INTEGER NOT NULL, until REAL NOT NULL
);
"""
_SUMS = "SELECT COALESCE(SUM(tokens), 0), COALESCE(SUM(money), 0) FROM {} WHERE source = ?"


@dataclass(frozen=True, slots=True)
class Amount:
    """Tokens of prompts and answers, and what they cost in the currency of the source's prices."""

    tokens: int = 0
    money: float = 0.0


class Reservation:
    """An amount set apart for one request. ``settle`` tells what was really spent; without it, that is all of it."""

    def __init__(self, bound: Amount) -> None:
        self.spent = bound

    def settle(self, spent: Amount) -> None:
        """The request cost this much; the rest is free again."""
        self.spent = spent


def cost(price: Price | None, tokens: int, output_tokens: int) -> float:
    """What tokens of prompts and answers cost; prices are per million."""
    return (tokens * price.input + output_tokens * price.output) / 1e6 if price else 0.0


class Ledger:
    """The spendings of an installation, in ``home/spending.sqlite``; for many threads and processes at once.

    Raises EnvironmentFault where the file cannot be written.
    """

    def __init__(self, home: Path, *, clock: Callable[[], float] = time.time) -> None:
        self._path = home / FILE
        self._clock = clock
        self._host = socket.gethostname()
        self._lock = threading.Lock()
        with self._faults():
            home.mkdir(parents=True, exist_ok=True)
            self._database = sqlite3.connect(
                self._path, timeout=WAIT_SECONDS, isolation_level=None, check_same_thread=False
            )
            self._database.executescript(_TABLES)

    def spent(self, source: str) -> Amount:
        """What was spent on a source so far; requests under way are not part of it."""
        with self._transaction() as database:
            return _sum(database, "spent", source)

    @contextmanager
    def reserved(self, source: str, budget: Budget, bound: Amount, seconds: float) -> Iterator[Reservation]:
        """Set ``bound`` apart while a request is under way, at most ``seconds``, and book what it really cost.

        A request that ends without ``settle`` is booked at its bound: nobody knows what the server has computed. What a
        process had reserved when it was killed is free again once the process is seen to be gone, or after ``seconds``.
        Raises SourceError where the bound would pass the budget.
        """
        number = self._reserve(source, budget, bound, seconds)
        reservation = Reservation(bound)
        try:
            yield reservation
        finally:
            self._book(number, source, reservation.spent)

    def close(self) -> None:
        """Close the file; a ledger that was closed is of no more use."""
        self._database.close()

    def _reserve(self, source: str, budget: Budget, bound: Amount, seconds: float) -> int:
        with self._transaction() as database:
            self._forget_the_dead(database)
            booked, under_way = _sum(database, "spent", source), _sum(database, "reserved", source)
            _check("tokens", source, budget.tokens, booked.tokens, under_way.tokens, bound.tokens)
            _check("money", source, budget.money, booked.money, under_way.money, bound.money)
            row = (source, bound.tokens, bound.money, self._host, os.getpid(), self._clock() + seconds)
            columns = "(source, tokens, money, host, pid, until)"
            cursor = database.execute(f"INSERT INTO reserved {columns} VALUES (?, ?, ?, ?, ?, ?)", row)  # nosec B608 # names above
            return cursor.lastrowid or 0

    def _book(self, number: int, source: str, amount: Amount) -> None:
        with self._transaction() as database:
            database.execute("DELETE FROM reserved WHERE id = ?", (number,))
            database.execute(
                "INSERT INTO spent VALUES (?, ?, ?) ON CONFLICT (source) DO UPDATE SET "
                "tokens = tokens + excluded.tokens, money = money + excluded.money",
                (source, amount.tokens, amount.money),
            )

    def _forget_the_dead(self, database: sqlite3.Connection) -> None:
        """Drop reservations of processes that are gone; on another host only time tells."""
        database.execute("DELETE FROM reserved WHERE until < ?", (self._clock(),))
        holders = database.execute("SELECT DISTINCT pid FROM reserved WHERE host = ?", (self._host,)).fetchall()
        gone = [(self._host, pid) for (pid,) in holders if not _runs(pid)]
        database.executemany("DELETE FROM reserved WHERE host = ? AND pid = ?", gone)

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._lock, self._faults():
            self._database.execute("BEGIN IMMEDIATE")
            try:
                yield self._database
            except BaseException:
                with suppress(sqlite3.Error):  # the error at hand is the one to report
                    self._database.execute("ROLLBACK")
                raise
            self._database.execute("COMMIT")

    @contextmanager
    def _faults(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            raise EnvironmentFault(
                f"{self._path}: cannot be used ({error}); make room, check its owner, or move it away"
            ) from None


def _sum(database: sqlite3.Connection, table: str, source: str) -> Amount:
    with closing(database.execute(_SUMS.format(table), (source,))) as cursor:
        tokens, money = cursor.fetchone()
    return Amount(int(tokens), float(money))


def _check(unit: str, source: str, limit: float | None, booked: float, under_way: float, bound: float) -> None:
    if limit is not None and booked + under_way + bound > limit:
        raise SourceError(
            f"source {source}: the budget of {limit:,.10g} {unit} is spent ({booked:,.10g} so far, {under_way:,.10g} "
            f"set apart for requests under way, {bound:,.10g} for the next); raise api.budget.{unit} in winnow.yaml"
        )


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # it runs, as another user
        return True
    return True
