"""Unit tests' models are so small that threads cost more than they give, most of all beside other work."""

from __future__ import annotations

import sys

import pytest


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    """Has torch, where tests have imported it, compute in one thread."""
    if torch := sys.modules.get("torch"):
        torch.set_num_threads(1)
