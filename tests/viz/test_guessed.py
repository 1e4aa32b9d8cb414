"""Figures of guessing and of shared rows: what they show is what the rule and the cache say."""

import numpy as np
import pytest
from figure_samples import texts
from picture_checks import CHECKS, drawn

from llama_edu import viz
from llama_edu.engine.guess import Guess, acceptance, residual
from llama_edu.errors import InputError

P, Q = [0.5, 0.3, 0.2, 0.0], [0.1, 0.2, 0.3, 0.4]
PICTURES = {
    "a wrong one": lambda: viz.guessed_pass([3, 5, 7, 2, 4], [3, 5, 1, 2]),
    "all right": lambda: viz.guessed_pass([3, 5], [3]),
    "shares": lambda: viz.guess_shares(P, Q),
    "shares of two": lambda: viz.guess_shares([0.9, 0.1], [0.25, 0.75]),
    "shared rows": lambda: viz.shared_rows(84, [16, 5, 40, 11]),
    "hardly shared": lambda: viz.shared_rows(1, [1200, 300]),
}


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize("name", PICTURES)
def test_words_are_on_the_page_large_enough_and_apart(name, check) -> None:
    check(drawn(PICTURES[name]))


@pytest.mark.parametrize(
    ("said", "guesses", "kept", "new"),
    [
        ([3, 5, 7, 2, 4], [3, 5, 1, 2], 2, "3, 5, 7"),
        ([3, 5, 7], [3, 5], 2, "3, 5, 7"),
        ([9, 5, 7], [3, 5], 0, "9"),
    ],
)
def test_guesses_up_to_the_first_wrong_one_stay(said, guesses, kept, new) -> None:
    picture = viz.guessed_pass(said, guesses)
    assert f"Guesses kept: {kept}. New tokens: {new}." in picture.alt
    assert f"tokens of this pass: {new}" in texts(picture)
    crossed = len(picture.figure.axes[0].lines)
    assert crossed == 3 * (len(guesses) - kept), "fed, said and guessed, for each that is refused"


def test_the_bars_are_the_shares_of_the_rule() -> None:
    bars = [patch.get_height() for patch in viz.guess_shares(P, Q).figure.axes[1].patches]
    kept, instead, refused = np.reshape(bars, (3, 4))
    p, q = np.float32(P), np.float32(Q)
    of_rule = [q[i] * acceptance(p, Guess(i, q)) for i in range(4)]
    np.testing.assert_allclose(kept, of_rule, atol=1e-6)
    np.testing.assert_allclose(instead, refused.sum() * residual(p, Guess(3, q)), atol=1e-6)
    np.testing.assert_allclose(kept + refused, q, atol=1e-6)


def test_rows_that_are_shared_are_drawn_once_and_counted_once() -> None:
    picture = viz.shared_rows(84, [16, 5, 40])
    assert "in every cache: 313 rows" in texts(picture)
    assert "the same rows, once: 145 rows" in texts(picture)
    bars = [bar.get_width() for bar in picture.figure.axes[0].patches]
    unit = bars[0] / 84
    drawn = sorted(round(width / unit) for width in bars)
    assert drawn == sorted([84] + 3 * [84] + 2 * [16, 5, 40])


@pytest.mark.parametrize(
    ("draw", "words"),
    [
        (lambda: viz.guessed_pass([1, 2], [1, 2]), "got 2 and 2"),
        (lambda: viz.guess_shares([1.0, 0.0], [1.0]), "got 2 and 1"),
        (lambda: viz.guess_shares([0.5, 0.4], [0.5, 0.5]), "got 0.9 and 1"),
        (lambda: viz.shared_rows(5, [1]), r"got 5 and \[1\]"),
        (lambda: viz.shared_rows(5, [1, 0]), r"got 5 and \[1, 0\]"),
    ],
)
def test_what_cannot_be_drawn_is_refused(draw, words) -> None:
    with pytest.raises(InputError, match=words):
        draw()
