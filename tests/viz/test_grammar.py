"""The mask of a grammar as a picture: every token in its place, the shares the model's own."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from figure_samples import all_texts, softmax
from matplotlib.colors import to_rgba
from picture_checks import CHECKS, drawn

from llama_edu import viz
from llama_edu.errors import InputError
from llama_edu.viz.parts.axes import axis

LOGITS = np.random.default_rng(4).standard_normal(3000).astype(np.float32)
WORDS = [f" w{i}" for i in range(3000)]


def only(*ids: int) -> np.ndarray:
    allowed = np.zeros(3000, dtype=bool)
    allowed[list(ids)] = True
    return allowed


PICTURES: dict[str, Callable[[], viz.Picture]] = {
    "few": lambda: viz.grammar_mask(LOGITS, only(3, 2999), WORDS, written='{"a": '),
    "most": lambda: viz.grammar_mask(LOGITS, ~only(5, 700), WORDS),
    "one": lambda: viz.grammar_mask(LOGITS[:7], only(2)[:7], ["a long, long label"] * 7, top=7),
}


@pytest.mark.parametrize("name", PICTURES)
@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_a_picture_owes_the_page(name: str, check: Callable[[viz.Picture], None]) -> None:
    check(drawn(PICTURES[name]))


def test_it_says_how_many_may_follow_and_what_becomes_of_the_likeliest() -> None:
    logits = np.log(np.array([0.5, 0.3, 0.15, 0.05], dtype=np.float32))
    allowed = np.array([False, True, False, True])
    drawn = viz.grammar_mask(logits, allowed, list("abcd"), top=2, written="x")
    assert drawn.alt == (
        "The mask over the vocabulary after x: 2 of 4 tokens may come next. "
        "The model's likeliest: “a” 50%, refused; “b” 30%, after the mask 86%."
    )
    assert {"50% → no", "30% → 86%"} <= set(all_texts(drawn))


def test_where_none_of_the_likeliest_may_follow_the_best_that_may_is_shown() -> None:
    worst = int(LOGITS.argmin())
    drawn = viz.grammar_mask(LOGITS, only(worst), WORDS, top=3)
    assert drawn.alt.count("refused") == 3
    assert drawn.alt.endswith(f"“·w{worst}” <1%, after the mask 100%.")


def test_every_square_of_the_map_is_of_the_tokens_that_are_there() -> None:
    """3,000 tokens in squares of 4: their runs and singles are counted from the mask again."""
    allowed = np.random.default_rng(1).random(3000) < 0.9
    drawn = viz.grammar_mask(LOGITS, allowed, WORDS)
    green = to_rgba(axis("vocab_size").color)
    small, large = [], []
    for patch in drawn.figure.axes[0].patches:
        if patch.get_facecolor() == green and 0.4 <= patch.get_y() < 0.4 + 16 * 0.09 - 0.01:
            # Back from inches to the number of the square.
            x, y, w = patch.get_x() - 0.14, patch.get_y() - 0.4, patch.get_width()
            first = round(y // 0.09 * 48 + x // 0.09) if w < 0.09 else round(y / 0.09) * 48
            if w < 0.08:
                small.append(first)
            else:
                large += [first + round(x / 0.09) + i for i in range(round(w / 0.09))]
    squares = allowed.reshape(-1, 4).mean(axis=1)
    assert sorted(large) == np.flatnonzero(squares == 1).tolist()
    assert sorted(small) == np.flatnonzero((squares > 0) & (squares < 1)).tolist()


@pytest.mark.parametrize(
    ("allowed", "top"), [(only(1)[:9], 4), (only(), 4), (only(1), 0)], ids=["shape", "none", "top"]
)
def test_what_does_not_fit_is_refused(allowed: np.ndarray, top: int) -> None:
    with pytest.raises(InputError, match=r"expected logits and a mask \(vocab_size,\)"):
        viz.grammar_mask(LOGITS, allowed, WORDS, top=top)


def test_a_label_for_each_token_is_asked_for() -> None:
    with pytest.raises(InputError, match="expected 3000 labels"):
        viz.grammar_mask(LOGITS, only(1), WORDS[:-1])


def test_the_shares_are_those_of_the_softmax() -> None:
    best = int(LOGITS.argmax())
    share = softmax(LOGITS[None].astype(np.float64))[0, best]
    drawn = viz.grammar_mask(LOGITS * 1, only(best), WORDS, top=1)
    assert f"“·w{best}” {round(100 * share) or '<1'}%, after the mask 100%" in drawn.alt
