"""What is said of a result that is not the expected one: true, short, and never an error."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llama_edu.exercises.framework.difference import Expected, counted, difference, shown


class Odd:
    """A value that can be neither printed nor compared."""

    def __repr__(self):
        raise RuntimeError("no words")

    def __eq__(self, other):
        raise RuntimeError("no comparison")

    __hash__ = None


HUGE = 10**5000
ANYTHING = [
    *(None, True, 0, 3, 3.0, np.nan, np.inf, HUGE, -HUGE, 2j, "three", b"three", "", [], (), {}),
    *([3], [[3]], [None], {"a": 1}, {3}, object(), Odd(), len, ValueError("no"), type, iter([])),
    *(np.arange(3), np.float32(3), np.int64(3), np.bool_(True), np.zeros((2, 0)), np.array(3)),
    *(np.ma.masked_array([1, 2], mask=[True, False]), np.array(["a"]), np.array([None, "x"])),
    *([np.arange(2)], {"a": np.arange(2)}, {HUGE: 1}, [HUGE], [Odd()]),
]
PLAIN: list[Any] = [
    None,
    True,
    0,
    3,
    3.0,
    np.nan,
    np.inf,
    "three",
    b"three",
    [],
    [3],
    [[3], [4]],
    {"a": 1},
]
PLAIN += [np.arange(3), np.zeros((2, 0)), np.float32(3), np.int64(3), {"a": np.arange(2)}, HUGE]


@pytest.mark.parametrize("want", PLAIN, ids=lambda value: type(value).__name__)
def test_any_value_may_be_returned_where_any_other_is_due(want):
    for got in ANYTHING:
        text = difference(got, want, 1e-5)
        assert text is None or text.startswith(("expected ", "at ["))
        assert text is None or len(text) < 300
    assert difference(want, want, 1e-5) is None


@pytest.mark.parametrize(
    ("got", "want", "text"),
    [
        ([1, 2], [1, 2, 3], "expected 3 items, got 2"),
        ([1, 9], [1, 2, 3], "expected 3 items, got 2; at [1]: expected 2, got 9"),
        ([1, 2, 3], [1, 2], "expected 2 items, got 3"),
        ([1, 2], (1, 3), "at [1]: expected 3, got 2"),
        ([[1, 2], [3, 4]], [[1, 2], [3, 5]], "at [1][1]: expected 5, got 4"),
        ([1, 2], [[1], [2]], "at [0]: expected a list, got an int"),
        (True, 1, "expected 1, got True"),
        (1, True, "expected True, got 1"),
        (0, False, "expected False, got 0"),
        (3.0, 3, "expected 3, got the float 3.0"),
        (np.float64(3), 3, "expected 3, got the float 3.0"),
        ([3.0], [3], "at [0]: expected 3, got the float 3.0"),
        (True, 1.0, "expected a number, got a bool"),
        (2j, 1.0, "expected a number, got a complex"),
        ("a", "b", "expected 'b', got 'a'"),
        (b"a", "a", "expected 'a', got b'a'"),
        (b"a", b"b", "expected b'b', got b'a'"),
        (1.0, 1.1, "expected 1.1, got 1"),
        (HUGE, 1.1, "expected 1.1, got an integer of some 4,983 digits"),
        (HUGE, 3, "expected 3, got an integer of some 4,983 digits"),
        (np.nan, 1.0, "expected 1, got nan"),
        (1.0, np.nan, "expected nan, got 1"),
        (-np.inf, np.inf, "expected inf, got -inf"),
        ({"a": 1}, {"a": 2}, "at ['a']: expected 2, got 1"),
        ({"a": [1, 2]}, {"a": [1, 3]}, "at ['a'][1]: expected 3, got 2"),
        ({"a": 1, "b": 2}, {"a": 1}, "expected the keys ['a'], got ['a', 'b']"),
        ([], {}, "expected a dict, got a list"),
        ({}, [], "expected a list, got a dict"),
        (None, 1, "expected 1, got nothing (None)"),
        (0, None, "expected nothing (None), got 0"),
        (np.arange(3), 3, "expected 3, got an array of shape (3,)"),
        (np.arange(3), 3.5, "expected a number, got an array of shape (3,)"),
        (np.arange(3), "x", "expected 'x', got an array of shape (3,)"),
        (np.arange(3), None, "expected nothing (None), got an array of shape (3,)"),
        (3, np.arange(3), "expected an array, got an int"),
        (np.ma.arange(3), np.arange(3), "expected an array, got a MaskedArray"),
        (np.arange(3), np.arange(1, 4), "expected 1 at index (0,), got 0; 3 of 3 numbers differ"),
        (np.zeros((2, 3)), np.zeros((3, 2)), "expected shape (3, 2), got (2, 3)"),
        (np.zeros(2, np.float32), np.zeros(2), "expected float64, got float32"),
        (np.full(2, np.nan), np.zeros(2), "expected numbers, got NaN at index (0,)"),
        ({"a": np.arange(3)}, {"a": np.arange(3.0)}, "at ['a']: expected float64, got int64"),
    ],
    ids=lambda value: type(value).__name__,
)  # fmt: skip
def test_the_first_thing_that_is_wrong_is_told(got, want, text):
    assert difference(got, want, 1e-5) == text
    assert difference(want, want, 1e-5) is None


@pytest.mark.parametrize(
    ("got", "want"),
    [
        (np.int64(3), 3),
        (3, np.int64(3)),
        (np.bool_(True), True),
        ((1, 2), [1, 2]),
        (3, 3.0),
        (np.float32(0.1), 0.1),
        (1.0000001, 1.0),
        (np.nan, np.nan),
        (-np.inf, -np.inf),
        (np.array([1.0, np.nan, -np.inf]), np.array([1.0 + 1e-7, np.nan, -np.inf])),
        (object(), object()),
    ],
)
def test_what_cannot_be_told_apart_is_as_good(got, want):
    assert difference(got, want, 1e-5) is None


def test_a_tolerance_is_a_share_of_the_largest_number():
    want = np.array([0.0, 1000.0], dtype=np.float32)
    got = want + np.float32(0.9)
    assert difference(got, want, 1e-3) is None
    assert difference(got, want, 8e-4) is not None
    assert difference(1000.9, 1000.0, 1e-3) is None
    assert difference(1001.1, 1000.0, 1e-3) is not None
    assert difference(0.0009, 0.0, 1e-3) is None
    assert difference(0.0011, 0.0, 1e-3) is not None


def test_an_array_is_told_by_its_axes_and_parts_by_their_names():
    expected = Expected(1e-5, ("seq", "head_dim"), ("the logits", "the lengths"))
    want = [np.zeros((2, 3)), [4, 5]]
    assert expected.difference(want, want) is None
    wrong = [np.zeros((2, 3)), [4, 6]]
    assert expected.difference(wrong, want) == "the lengths: at [1]: expected 5, got 6"
    wrong = [np.eye(2, 3), [4, 5]]
    assert expected.difference(wrong, want) == (
        "the logits: expected 0 at seq 0, head_dim 0, got 1; 2 of 6 numbers differ"
    )
    wrong = [np.zeros((3, 3)), [4, 5]]
    assert "(2, 3) (seq, head_dim), got (3, 3)" in expected.difference(wrong, want)
    assert expected.difference([1], want) == (
        "expected 2 items, got 1; at [0]: expected an array, got an int"
    )
    assert expected.difference(None, want) == "expected a list, got nothing (None)"
    assert (
        Expected(1e-5, ("seq",))
        .difference(np.eye(2), np.zeros((2, 2)))
        .startswith("expected 0 at index (0, 0), got 1")
    )


@given(st.text(max_size=200), st.text(max_size=200))
def test_two_texts_that_differ_never_look_the_same(got, want):
    text = difference(got, want)
    if got == want:
        assert text is None
        return
    expected, found = text.split("expected ")[1].rsplit("got", 1)
    assert expected.strip().rstrip(",").strip() != found.strip()
    assert len(text) < 400


def test_long_texts_are_shown_from_just_before_they_part():
    want = "word " * 40 + "one  two" + " end" * 30
    text = difference(want.replace("one  two", "one two"), want)
    assert text.startswith("from 204 on they differ:\n")
    assert "…'rd·word·one··two·end·end·end·end" in text
    assert "…'rd·word·one·two·end·end·end·end·" in text
    assert text.endswith(" (· is a blank)")
    assert difference(want[:-9], want).startswith(f"from {len(want) - 9} on they differ:\n")
    early = difference("x" + want[1:], want)  # the beginnings tell them apart
    assert early.startswith("expected 'word word")
    assert "…, got 'xord word" in early


def test_a_text_is_cut_only_where_something_is_left_out():
    same, tail = "abcdefghijkl", "x" * 60
    assert difference(f"{same}1{tail}", f"{same}2{tail}") == (
        f"expected '{same}2{'x' * 45}…, got '{same}1{'x' * 45}…"
    )
    text = difference(f"_{same}1{tail}", f"_{same}2{tail}")
    expected, got = (f"…'{same}{digit}{'x' * 19}'…" for digit in (2, 1))
    assert text == f"from 13 on they differ:\n  expected {expected}\n  got      {got}"
    ends = difference(f"_{same}1", f"_{same}2{tail}")
    assert ends.endswith(f"  got      …'{same}1'")


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (1 / 3, "0.333333"),
        (np.float32(0.1), "0.1"),
        (np.int8(3), "3"),
        (-HUGE, "an integer of some 4,983 digits"),
        (10**39, "1" + "0" * 39),
        ([1, 2], "[1, 2]"),
        (list(range(100)), "[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, …"),
        (Odd(), "an Odd"),
        ([HUGE], "a list"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_value_is_shown_in_short(value, text):
    assert shown(value) == text


class Agreeable(str):
    """A text that calls itself equal to everything."""

    __slots__ = ()

    def __eq__(self, other):
        return True

    __hash__ = str.__hash__


def test_a_text_that_equals_everything_fools_nobody():
    assert difference(Agreeable("x"), "y") == "expected 'y', got 'x'"
    assert difference(Agreeable("y"), "y") is None


def test_counts_have_their_nouns():
    assert [counted(n, "item") for n in (0, 1, 2)] == ["0 items", "1 item", "2 items"]


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
def test_a_nan_that_signals_is_told_like_any_other(dtype: str) -> None:
    """Its conversion warns, and a warning must not become a check that gives up."""
    bits = {"float16": (np.uint16, 0x7D01), "bfloat16": (np.uint16, 0x7F81)}
    kind, pattern = bits.get(dtype, (np.uint32, 0x7F800001))
    got = np.array([pattern], dtype=kind).view(np.dtype(dtype))
    text = difference(got, np.ones(1, dtype=dtype))
    assert text is not None
    assert "nan" in text.lower()
