"""Names: the right one, several that cannot be told apart, two at once, and none."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from .bench import ALIKE, ALONE, HARMLESS, TOGETHER, UNKNOWN

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def measured() -> dict[str, Any]:
    """What `bench.py` measures, in a program without the tests' checks of every annotation."""
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OPENBLAS_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, str(Path(__file__).with_name("bench.py"))],
        capture_output=True,
        text=True,
        check=True,
        env=environment,
    )
    return json.loads(done.stdout)


@pytest.mark.parametrize("key", ALONE)
def test_a_mistake_is_named(measured: dict[str, Any], key: str) -> None:
    names = measured["alone"][key]
    assert [key] in names
    # Where a row is all -inf, it does not matter what else is hidden.
    assert names == [[key]] or key == "mask.not_itself"
    assert all(group[0].startswith(key.split(".")[0]) for group in names)


@pytest.mark.parametrize("keys", TOGETHER)
def test_two_at_once_are_named(measured: dict[str, Any], keys: tuple[str, str]) -> None:
    names = measured["together"]["+".join(keys)]
    assert {frozenset(group) for group in names} == {frozenset(keys)}


def test_what_cannot_be_told_apart_is_named_together(measured: dict[str, Any]) -> None:
    # 40 / 4 is a whole number: rounding it down changes nothing on this model.
    named = {key for group in measured["same on a model"] for key in group}
    assert {"scale.by_hidden_over_heads", "scale.by_hidden_over_heads_whole"} <= named


@pytest.mark.parametrize("what", UNKNOWN)
def test_what_is_not_in_the_catalogue_is_found_and_not_named(
    measured: dict[str, Any], what: str
) -> None:
    assert measured["found"][what]
    assert measured["unknown"][what] == []


@pytest.mark.parametrize("what", ALIKE)
def test_answers_that_are_all_alike_are_not_named(measured: dict[str, Any], what: str) -> None:
    """Logits of 0 are near to every mistake that makes logits small."""
    assert measured["alike"][what] == []


@pytest.mark.parametrize("what", HARMLESS)
def test_what_cancels_is_no_mistake(measured: dict[str, Any], what: str) -> None:
    assert not measured["found"][what]


def test_every_entry_shows_on_some_checkpoint(measured: dict[str, Any]) -> None:
    # For a window of 512 positions only the book's own `chat` is long enough.
    assert measured["unseen"] == ["mask.window_512"]
