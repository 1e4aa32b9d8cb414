"""The option of `bench_operators.py`."""

from pathlib import Path

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--mine FILE`: a reader's own operators."""
    parser.addoption("--mine", type=Path, metavar="FILE", help="functions named as the operators")
