"""What these tests need besides Python: node for the engine, a browser for the page."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from page_engine import PageEngine, end_node
from playwright.sync_api import Browser, sync_playwright

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


@pytest.fixture(scope="session")
def node() -> str:
    """Where node is; the test is skipped where it is not."""
    found = shutil.which("node")
    if found is None:
        message = "NO NODE FOUND: the engine in the page was not run"
        if os.environ.get("LLAMA_EDU_REQUIRE_BROWSER"):
            pytest.fail(message, pytrace=False)
        pytest.skip(message)
    return found


@pytest.fixture(scope="session")
def page_engine(node: str) -> Iterator[Callable[..., PageEngine]]:
    """A function that starts the page's engine on a model directory, once for each setting."""
    started: dict[tuple[str, ...], PageEngine] = {}

    def start(directory: Path, **settings: str) -> PageEngine:
        key = (str(directory), *(f"{name}={settings[name]}" for name in sorted(settings)))
        if key not in started:
            started[key] = PageEngine(directory, **settings)
        return started[key]

    yield start
    started.clear()
    end_node()


@pytest.fixture(scope="module")  # not longer: its event loop would run under other tests
def browser() -> Iterator[Browser]:
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    if found is None:
        message = (
            f"NO BROWSER FOUND (looked for {', '.join(BROWSERS)}): the engine was not run in one"
        )
        if os.environ.get("LLAMA_EDU_REQUIRE_BROWSER"):
            pytest.fail(message, pytrace=False)
        pytest.skip(message)
    with sync_playwright() as playwright:
        sealed = "--host-resolver-rules=MAP * ~NOTFOUND"
        launched = playwright.chromium.launch(executable_path=found, args=[sealed])
        yield launched
        launched.close()
