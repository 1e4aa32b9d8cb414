"""What holds for every test: property tests are reproducible, and Ctrl-C can be pressed."""

import os
import signal
import sys
from collections.abc import Iterator
from functools import wraps
from itertools import count
from typing import Any

import pytest
from helpers import shapes_unchecked
from hypothesis import settings

settings.register_profile("llama_edu", deadline=None, derandomize=True, print_blob=True)
settings.load_profile("llama_edu")

# Of the examples of a property, for how many every annotated shape is looked at, where they are.
# Those behind them make the same calls; looking would take most of the time of all tests.
WITH_SHAPES = 12

# What the tests solve is no reader's; a test of the list itself takes a folder of its own.
os.environ["LLAMA_EDU_PROGRESS"] = "off"

# A run started in the background ignores Ctrl-C, and so would the programs that tests interrupt.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip on Windows what Windows has not."""
    if sys.platform == "win32" and item.get_closest_marker("posix"):
        pytest.skip("Windows has no such signals, terminals or pipes")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Iterator[None]:
    """Look at shapes in the first examples of a property, and again from one that failed on."""
    test = getattr(getattr(item, "obj", None), "hypothesis", None)
    if test is None:
        return (yield)
    inner, examples, failed = test.inner_test, count(), []

    @wraps(inner)
    def example(*args: Any, **values: Any) -> None:
        try:
            if next(examples) < WITH_SHAPES or failed:
                inner(*args, **values)
            else:
                with shapes_unchecked():
                    inner(*args, **values)
        except Exception as error:
            failed.append(error)  # Hypothesis tries it again, and has to see the same
            raise

    test.inner_test = example
    try:
        return (yield)
    finally:
        test.inner_test = inner


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the kernels: what one worker has compiled is there when the others need it."""
    items.sort(key=lambda item: item.path.name != "test_kernels.py")
