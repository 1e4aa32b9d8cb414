"""What these tests need besides Python: Node, which runs the engine."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from page_engine import PageEngine, end_node


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
