"""One row of logits at several settings: the bars are the distribution that is drawn from."""

from __future__ import annotations

import re

import numpy as np
import pytest
from helpers import random

from llama_edu import Sampling, viz
from llama_edu.engine.sampling import probabilities
from llama_edu.errors import InputError

WORDS = [f"w{i}" for i in range(30)]
SETTINGS = {"cold": Sampling(0.3), "hot": Sampling(2.0), "cut": Sampling(top_k=2)}


def row() -> np.ndarray:
    return 3 * random(np.random.default_rng(8), len(WORDS))


def test_each_bar_is_as_wide_as_its_share_of_the_whole() -> None:
    page = viz.choices(row(), WORDS, SETTINGS, top=5)._repr_html_()
    widths = [float(w) for w in re.findall(r"width:([\d.]+)%\"></div>", page)]
    ids = np.argsort(-row(), kind="stable")[:5]
    want = []
    for sampling in SETTINGS.values():
        p = probabilities(row(), sampling)
        want += [*p[ids], 1 - p[ids].sum()]
    np.testing.assert_allclose(widths, 100 * np.array(want), atol=0.06)


def test_the_text_names_the_settings_and_the_likeliest_first() -> None:
    lines = repr(viz.choices(row(), WORDS, SETTINGS, top=4, caption="Heat.")).splitlines()
    assert [line.split(": ")[0] for line in lines] == ["cold", "hot", "cut", "Heat."]
    best = WORDS[int(row().argmax())]
    assert lines[0].startswith(f"cold: {best} ")
    assert lines[2].endswith("26 others 0%")


def test_where_all_tokens_are_shown_there_are_no_others() -> None:
    assert "others" not in repr(viz.choices(row(), WORDS, SETTINGS, top=30))


@pytest.mark.parametrize(
    ("logits", "settings", "message"),
    [
        (row(), {}, "at least one setting"),
        (row()[:, None], SETTINGS, "expected float32 logits"),
        (row()[:-1], SETTINGS, "expected 29 labels"),
    ],
)
def test_what_does_not_fit_is_refused(
    logits: np.ndarray, settings: dict[str, Sampling], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        viz.choices(logits, WORDS, settings)
