"""Passwords: hashed, compared, and remembered for some minutes."""

from __future__ import annotations

import re
from typing import Any

import pytest

from ml_backend import passwords
from ml_backend.passwords import Remembered, hashed, is_hash, is_password, new_password


def test_a_hash_goes_with_its_password_alone() -> None:
    made = hashed("a long päss:word")
    assert is_hash(made)
    assert made != hashed("a long päss:word"), "each has a salt of its own"
    assert is_password("a long päss:word", made)
    for wrong in ("a long pass:word", "", None, made):
        assert not is_password(wrong, made)


@pytest.mark.parametrize("secret", ["", "hunter2", "scrypt:hunter2", "scrypt:1$salt", "md5:1$salt$" + "0" * 64])
def test_what_is_no_hash_is_a_password_itself(secret: str) -> None:
    assert not is_hash(secret)
    assert is_password(secret, secret)
    assert not is_password(secret + "x", secret)


def test_new_ones_are_long_and_plain() -> None:
    made = {new_password() for _ in range(50)}
    assert len(made) == 50
    assert all(re.fullmatch(r"[\w-]{24}", one) for one in made)


def test_what_was_found_is_remembered_for_a_while() -> None:
    now = [0.0]
    lately: Remembered[int] = Remembered(seconds=10, clock=lambda: now[0])
    lately.put(7, "1.2.3.4", "viewer", "secret")
    now[0] = 9.9
    assert lately.get("1.2.3.4", "viewer", "secret") == 7
    for other in (("1.2.3.5", "viewer", "secret"), ("1.2.3.4", "viewer", "secre"), ("1.2.3.4viewer", "secret")):
        assert lately.get(*other) is None
    now[0] = 10.0
    assert lately.get("1.2.3.4", "viewer", "secret") is None


def test_the_oldest_is_forgotten_where_there_are_too_many() -> None:
    lately: Remembered[int] = Remembered(most=2)
    for number in range(3):
        lately.put(number, str(number))
    assert [lately.get(str(number)) for number in range(3)] == [None, 1, 2]


def test_no_password_is_kept_in_memory_by_it() -> None:
    lately: Remembered[int] = Remembered()
    lately.put(1, "here", "viewer", "secret-password")
    assert "secret-password" not in repr(vars(lately))


def test_few_hashes_are_computed_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A right password's, too, waits for one of two places: guesses take no more than that of cores and memory."""
    free: list[Any] = []
    held = passwords.HASHING

    def check(*_: str) -> bool:
        free.append(held._value)
        return True

    monkeypatch.setattr(passwords, "check_password_hash", check)
    assert is_password("x", hashed("x"))
    assert free == [1]
