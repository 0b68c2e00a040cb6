"""A Chromium that talks to nobody but the test's own servers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, ViewportSize, sync_playwright

OUTPUT = Path(__file__).parent.parent / "output"
SCREEN: ViewportSize = {"width": 1280, "height": 720}
QUIET = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


@pytest.fixture(scope="session")
def browser(chromium: str) -> Iterator[Browser]:
    """One browser for all tests."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=list(QUIET), headless=True)
        yield browser
        browser.close()


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """A page of its own, nobody logged in, 1280 × 720 pixels."""
    with browser.new_context(viewport=SCREEN) as context:
        context.set_default_timeout(30_000)
        yield context.new_page()


@pytest.fixture(scope="session")
def output() -> Path:
    """Where pictures go that a person may want to look at."""
    OUTPUT.mkdir(exist_ok=True)
    return OUTPUT
