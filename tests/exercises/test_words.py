"""Texts as a terminal shows them: without marks, and with every star that is none."""

import pytest

from llama_edu.exercises.framework.words import plain, unstressed


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("*one* word", "one word"),
        ("the **last row** alone, **twice**", "the last row alone, twice"),
        ("one *or* the **other**, *or both*.", "one or the other, or both."),
        ("(*one*)", "(one)"),
        ("2 * 3 * 4", "2 * 3 * 4"),
        ("a*b*c", "a*b*c"),
        ("x ** 2 and y ** 2", "x ** 2 and y ** 2"),
        ("x**2, **or `y`**, or y**2", "x**2, or `y`, or y**2"),
        ("f(**options) and g(**more)", "f(**options) and g(**more)"),
        ("**(one)**, **two!**", "(one), two!"),
        ("two\n    lines", "two lines"),
        ("`x`", "`x`"),
    ],
)
def test_marks_of_emphasis_go(text, shown):
    assert unstressed(text) == shown
    assert plain(text) == shown.replace("`", "")
