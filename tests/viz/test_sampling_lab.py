"""The sampling lab: what it carries and what it prints. Its sliders are tried in tests/e2e."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from helpers import random, sorted_logits

from llama_edu import viz
from llama_edu.engine.sampling import Sampling, probabilities
from llama_edu.errors import InputError, NumericsError

WORDS = [f"w{i}" for i in range(40)]
HOSTILE = "</script><script>alert(1)</script>"


def row() -> np.ndarray:
    return 3 * random(np.random.default_rng(5), len(WORDS))


def lab(**settings: Any) -> viz.Html:
    return viz.sampling_lab(row(), WORDS, **settings)


def data_of(figure: viz.Html) -> Any:
    packed = re.search(r'"application/json">(.*?)</script>', figure._repr_html_(), re.DOTALL)
    assert packed
    return json.loads(packed[1])


def test_every_logit_arrives_with_sixteen_significant_bits() -> None:
    for logits in (row(), np.array([0, -0.0, -np.inf, 1e-30, -1e-30, 3.4e38] * 7, np.float32)[:40]):
        carried = sorted_logits(data_of(viz.sampling_lab(logits, WORDS))["logits"])
        want = (np.sort(logits)[::-1].view(np.uint32) & 0xFFFFFF00).view(np.float32)
        assert np.array_equal(carried, want)
        assert np.allclose(carried, np.sort(logits)[::-1], rtol=2**-15, atol=0.0)


def test_labels_stand_in_the_order_of_the_logits_and_the_lower_id_first() -> None:
    logits = row()
    logits[[7, 3]] = logits.max() + 1
    labels = data_of(viz.sampling_lab(logits, WORDS, top=5))["labels"]
    assert labels[:2] == ["w3", "w7"]
    assert labels == [f"w{i}" for i in np.argsort(-logits, kind="stable")[:5]]


def test_the_table_without_sliders_holds_the_packages_numbers() -> None:
    start = Sampling(0.7, 6, 0.9)
    lines = repr(lab(start=start, top=8)).splitlines()
    assert lines[1].split("  ")[-4:] == [
        "T 0.7, k 6, p 0.9",
        "T 0.5, k 0, p 1",
        "T 1, k 0, p 1",
        "T 2, k 0, p 1",
    ]
    ids = np.argsort(-row(), kind="stable")[:8]
    want = probabilities(row(), start)
    for line, token in zip(lines[2:10], ids.tolist(), strict=True):
        shown = f"{100 * want[token]:.1f}%" if want[token] else "cut"
        assert line.startswith(f"w{token} ")
        assert re.split(r"\s{2,}", line)[1] == shown
    assert re.split(r"\s{2,}", lines[10])[:2] == ["tokens kept", str(np.count_nonzero(want))]
    page = lab(start=start, top=8)._repr_html_()
    for cell in re.split(r"\s{2,}", lines[2]):
        assert f">{cell}</" in page


def test_bytes_are_stable_and_the_id_is_its_own() -> None:
    assert lab()._repr_html_() == lab()._repr_html_()
    ids = [re.search(r'id="([^"]+)"', f._repr_html_())[1] for f in (lab(), lab(top=3))]  # type: ignore[index]
    assert len(set(ids)) == 2


def test_a_hostile_token_stays_text() -> None:
    figure = viz.sampling_lab(row(), [HOSTILE] * len(WORDS))
    page = figure._repr_html_()
    assert page.count("<script") == 2
    assert "alert(1)</script>" not in page
    assert "&lt;/script&gt;" in page


@pytest.mark.parametrize(
    "start",
    [
        Sampling(0.83),
        Sampling(2.5),
        Sampling(1.0, 0, 0.5005),
        Sampling(1.0, 0, 0.01),
        Sampling(min_p=0.6),
        Sampling(min_p=0.005),
    ],
)
def test_a_start_between_the_steps_is_refused(start: Sampling) -> None:
    with pytest.raises(InputError, match="expected a start that the sliders reach"):
        lab(start=start)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: viz.sampling_lab(row()[:, None], WORDS), r"float32 \(40, 1\)"),
        (lambda: viz.sampling_lab(row().astype(np.float64), WORDS), "got float64"),
        (lambda: viz.sampling_lab(row(), WORDS[:-1]), "expected 40 labels"),
        (lambda: lab(top=0), "top of at least 1"),
        (lambda: lab(start=Sampling(order="llama.cpp")), "'transformers', as the sliders'"),
        (
            lambda: viz.step_sampling(row(), WORDS, Sampling(2.0, order="llama.cpp")),
            "to walk through, got 'llama.cpp'",
        ),
    ],
)
def test_what_does_not_fit_is_refused(call: Callable[[], viz.Html], message: str) -> None:
    with pytest.raises(InputError, match=message):
        call()


def test_logits_that_are_no_numbers_are_refused() -> None:
    logits = row()
    logits[3] = np.nan
    with pytest.raises(NumericsError, match="expected finite logits"):
        viz.sampling_lab(logits, WORDS)
