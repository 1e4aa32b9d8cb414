"""A pytest plugin for mutants: quick tests first, and a counterexample need not be small.

The tests are timed once, on the code as it is. Afterwards those that take next to nothing come
first, file by file, and the others behind them: most mutants fall to one of the many quick ones.
Hypothesis spends most of its time on making a failure readable, which nobody reads here.
"""

import json
import os
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest
from hypothesis import Phase, settings

__all__ = ["KNOWN", "RECORD"]

KNOWN = "MUTATION_KNOWN"  # the variable that names the file of what is known of the tests
RECORD = "MUTATION_RECORD"  # set in the run that makes it
QUICK_S = 0.1

_seconds: defaultdict[str, float] = defaultdict(float)
_failed: set[str] = set()


def pytest_sessionstart() -> None:
    """Search as the tests do, and stop at the first failure."""
    phases = (Phase.explicit, Phase.generate)
    settings.register_profile("mutants", settings.get_profile("llama_edu"), phases=phases)
    settings.load_profile("mutants")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Quick ones first, without tearing the tests of a file apart more than once.

    Tests that fail on the code as it is are left out.
    """
    path = Path(os.environ.get(KNOWN, ""))
    if RECORD in os.environ or not path.is_file():
        return
    known: dict[str, Any] = json.loads(path.read_text("utf-8"))
    files = {item.path: place for place, item in reversed(list(enumerate(items)))}

    def place(item: pytest.Item) -> tuple[bool, int, float]:
        seconds = known["seconds"].get(item.nodeid, 0.0)
        return seconds > QUICK_S, files[item.path], seconds

    items[:] = sorted((i for i in items if i.nodeid not in known["failed"]), key=place)


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Count what a test takes, its fixtures included."""
    _seconds[report.nodeid] += report.duration
    if report.failed:
        _failed.add(report.nodeid)


def pytest_sessionfinish() -> None:
    """Keep what the run on the code as it is has shown."""
    if RECORD in os.environ:
        path = Path(os.environ[KNOWN])
        before = json.loads(path.read_text("utf-8"))["failed"] if path.exists() else []
        found = {"seconds": _seconds, "failed": sorted(_failed | set(before))}
        path.write_text(json.dumps(found), "utf-8")
