"""What holds for every test: property tests are reproducible, and Ctrl-C can be pressed."""

import os
import signal
import sys

import pytest
from hypothesis import settings

settings.register_profile("llama_edu", deadline=None, derandomize=True, print_blob=True)
settings.load_profile("llama_edu")

# What the tests solve is no reader's; a test of the list itself takes a folder of its own.
os.environ["LLAMA_EDU_PROGRESS"] = "off"

# A run started in the background ignores Ctrl-C, and so would the programs that tests interrupt.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip on Windows what Windows has not."""
    if sys.platform == "win32" and item.get_closest_marker("posix"):
        pytest.skip("Windows has no such signals, terminals or pipes")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the kernels: what one worker has compiled is there when the others need it."""
    items.sort(key=lambda item: item.path.name != "test_kernels.py")
