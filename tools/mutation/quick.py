"""A pytest plugin for mutants: quick tests first, and a counterexample need not be small.

The tests are timed once, on the code as it is. Afterwards those that take next to nothing come
first, file by file, and the others behind them: most mutants fall to one of the many quick ones.
Hypothesis spends most of its time on making a failure readable, which nobody reads here.
"""

import json
import os
from collections import defaultdict
from pathlib import Path

import pytest
from hypothesis import Phase, settings

__all__ = ["TIMES"]

TIMES = "MUTATION_TIMES"  # the variable that names the file of seconds
QUICK_S = 0.1

_seconds: defaultdict[str, float] = defaultdict(float)


def pytest_sessionstart() -> None:
    """Search as the tests do, and stop at the first failure."""
    phases = (Phase.explicit, Phase.generate)
    settings.register_profile("mutants", settings.get_profile("llama_edu"), phases=phases)
    settings.load_profile("mutants")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Quick ones first, without tearing the tests of a file apart more than once."""
    path = Path(os.environ[TIMES])
    if not path.exists():
        return
    known: dict[str, float] = json.loads(path.read_text("utf-8"))
    files = {item.path: place for place, item in reversed(list(enumerate(items)))}

    def place(item: pytest.Item) -> tuple[bool, int, float]:
        seconds = known.get(item.nodeid, 0.0)
        return seconds > QUICK_S, files[item.path], seconds

    items.sort(key=place)


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Count what a test takes, its fixtures included."""
    _seconds[report.nodeid] += report.duration


def pytest_sessionfinish() -> None:
    """Keep the times of the first run, which is of the code as it is."""
    path = Path(os.environ[TIMES])
    if not path.exists():
        path.write_text(json.dumps(_seconds), "utf-8")
