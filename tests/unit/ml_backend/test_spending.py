"""The ledger: what is booked and set apart never passes the budget, over threads, processes and their deaths."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from label_configs.errors import EnvironmentFault, ModelError
from ml_backend.source_config import Budget, Price
from ml_backend.spending import FILE, Amount, Ledger, cost

HOLDER = """
import sys
from pathlib import Path
from ml_backend.source_config import Budget
from ml_backend.spending import Amount, Ledger
with Ledger(Path(sys.argv[1])).reserved("far", Budget(tokens=100), Amount(100), 3600):
    print("reserved", flush=True)
    sys.stdin.read()
"""


def spend(ledger: Ledger, budget: Budget, bound: Amount, real: Amount, source: str = "far") -> None:
    with ledger.reserved(source, budget, bound, 60) as reservation:
        reservation.settle(real)


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(tmp_path)


def test_what_was_spent_is_kept_for_each_source(ledger: Ledger, tmp_path: Path) -> None:
    spend(ledger, Budget(), Amount(10, 0.5), Amount(4, 0.25))
    spend(ledger, Budget(), Amount(10, 0.5), Amount(3, 0.25))
    spend(ledger, Budget(), Amount(10), Amount(1), source="near")
    assert Ledger(tmp_path).spent("far") == Amount(7, 0.5)
    assert ledger.spent("near") == Amount(1)
    assert ledger.spent("new") == Amount()


@pytest.mark.parametrize(
    ("budget", "message"),
    [
        (
            Budget(tokens=1000),
            r"budget of 1,000 tokens is spent \(960 so far, 0 .*, 41 for the next\); raise api.budget",
        ),
        (Budget(money=1), r"budget of 1 money is spent \(0.96 so far, .*; raise api.budget.money in winnow.yaml"),
    ],
)
def test_a_request_that_might_pass_the_budget_is_refused(ledger: Ledger, budget: Budget, message: str) -> None:
    spend(ledger, Budget(), Amount(960, 0.96), Amount(960, 0.96))
    with pytest.raises(ModelError, match=message):
        spend(ledger, budget, Amount(41, 0.041), Amount())
    spend(ledger, budget, Amount(40, 0.04), Amount(40, 0.04))
    spend(ledger, budget, Amount(1000, 1), Amount(), source="another source has its own budget")


def test_what_is_under_way_counts(ledger: Ledger) -> None:
    with ledger.reserved("far", Budget(tokens=100), Amount(60), 60) as first:
        with pytest.raises(ModelError, match="60 set apart for requests under way"):
            spend(ledger, Budget(tokens=100), Amount(60), Amount())
        first.settle(Amount(10))
    spend(ledger, Budget(tokens=100), Amount(60), Amount())


def test_a_request_without_an_outcome_is_booked_at_its_bound(ledger: Ledger) -> None:
    with pytest.raises(TimeoutError), ledger.reserved("far", Budget(), Amount(60, 0.1), 60):
        raise TimeoutError
    assert ledger.spent("far") == Amount(60, 0.1)


def test_what_a_killed_process_held_is_free_again(ledger: Ledger, tmp_path: Path) -> None:
    command = [sys.executable, "-c", HOLDER, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "reserved\n"
        with pytest.raises(ModelError, match="100 set apart"):
            spend(ledger, Budget(tokens=100), Amount(1), Amount())
        os.kill(holder.pid, signal.SIGKILL)
    spend(ledger, Budget(tokens=100), Amount(100), Amount(1))


def test_what_is_held_for_too_long_is_free_again(tmp_path: Path) -> None:
    now = 1000.0
    ledger = Ledger(tmp_path, clock=lambda: now)
    with ledger.reserved("far", Budget(tokens=100), Amount(100), 60):
        now = 1059.0
        with pytest.raises(ModelError):
            spend(ledger, Budget(tokens=100), Amount(1), Amount())
        now = 1061.0
        spend(ledger, Budget(tokens=100), Amount(1), Amount())


AMOUNTS = st.tuples(st.integers(0, 40), st.integers(0, 40)).map(sorted)


@settings(max_examples=25, deadline=None)
@given(requests=st.lists(AMOUNTS, min_size=1, max_size=40), limit=st.integers(1, 200))
def test_spending_never_passes_the_budget(requests: Sequence[list[int]], limit: int) -> None:
    """Threads of two ledgers over one file, as two processes have; what the server computes is added up meanwhile."""
    used, lock = 0, threading.Lock()
    price = Price(input=2e4)  # 0.02 for a token
    budget = Budget(tokens=limit, money=0.02 * limit)

    def ask(numbered: tuple[int, list[int]]) -> bool:
        nonlocal used
        number, (real, most) = numbered
        bound = Amount(most, cost(price, most, 0))
        try:
            with ledgers[number % 2].reserved("far", budget, bound, 60) as reservation:
                with lock:
                    used += real
                    assert used <= limit
                reservation.settle(Amount(real, cost(price, real, 0)))
        except ModelError:
            return False
        return True

    with TemporaryDirectory() as folder:
        ledgers = [Ledger(Path(folder)), Ledger(Path(folder))]
        with ThreadPoolExecutor(8) as pool:
            asked = list(pool.map(ask, enumerate(requests)))
        spent = ledgers[0].spent("far")
        for ledger in ledgers:
            ledger.close()
    assert spent.tokens == used == sum(real for (real, _), done in zip(requests, asked, strict=True) if done)
    assert spent.money == pytest.approx(0.02 * used)
    if not all(asked):
        assert used + max(most for _, most in requests) * len(requests) > limit, "refused although there was room"


def test_a_file_that_is_no_ledger_is_told(tmp_path: Path) -> None:
    (tmp_path / FILE).write_text("not a database, but long enough to look like one" * 10, encoding="utf-8")
    with pytest.raises(EnvironmentFault, match=r"spending.sqlite: cannot be used \(file is not a database\)"):
        Ledger(tmp_path)


def test_prices_are_per_million_tokens() -> None:
    assert cost(Price(input=0.15, output=0.6), 1_000_000, 500_000) == pytest.approx(0.45)
    assert cost(None, 1000, 1000) == 0
