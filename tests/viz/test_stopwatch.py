"""The stopwatch: what it carries and prints. Its button is tried in tests/e2e."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from llama_edu import viz
from llama_edu.errors import InputError

PIECES = ["Once", " upon", " a", " time", ",", " there", " was"]
CLOCKS = {
    "reading everything again": [0.5, 1.1, 1.8, 2.6, 3.5, 4.5, 5.625],
    "remembering": [0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8],
}
HOSTILE = "</script><script>alert(1)</script>"


def data_of(figure: viz.Html) -> Any:
    packed = re.search(r'"application/json">(.*?)</script>', figure._repr_html_(), re.DOTALL)
    assert packed
    return json.loads(packed[1])


def test_it_carries_the_pieces_and_the_seconds_of_each_run() -> None:
    data = data_of(viz.stopwatch(PIECES, CLOCKS))
    assert data["pieces"] == PIECES
    assert {run["name"]: run["at"] for run in data["runs"]} == CLOCKS


def test_without_scripts_a_table_has_the_first_and_the_last_seconds() -> None:
    figure = viz.stopwatch(PIECES, CLOCKS)
    lines = [re.split(r"\s{2,}", line.strip()) for line in repr(figure).splitlines()[1:]]
    assert lines[0] == ["tokens", "seconds reading everything again", "seconds remembering"]
    assert lines[1] == ["1", "0.50", "0.50"]
    assert lines[-1] == ["7", "5.62", "0.80"]
    assert all(f">{cell}</td>" in figure._repr_html_() for cell in lines[-1])


def test_a_hostile_piece_stays_text() -> None:
    page = viz.stopwatch([HOSTILE], {HOSTILE: [1.0]})._repr_html_()
    assert page.count("<script") == 2
    assert "alert(1)</script>" not in page


@pytest.mark.parametrize(
    ("pieces", "clocks"),
    [
        ([], CLOCKS),
        (PIECES, {}),
        (PIECES[:3], CLOCKS),
        (PIECES[:2], {"backwards": [2.0, 1.0]}),
        (PIECES[:2], {"before the start": [-1.0, 1.0]}),
        (PIECES[:2], {"never": [1.0, float("inf")]}),
    ],
)
def test_clocks_that_do_not_run_are_refused(
    pieces: Sequence[str], clocks: Mapping[str, Sequence[float]]
) -> None:
    with pytest.raises(InputError, match="expected"):
        viz.stopwatch(pieces, clocks)
