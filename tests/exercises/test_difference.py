"""What is said of a result that is not the expected one: true, short, and never an error."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llama_edu.exercises.framework.difference import Expected, counted, difference, kind_name, shown


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
        ([{"a": 1}], [{"a": 2}], "at [0]['a']: expected 2, got 1"),
        ({"a": [1]}, {"a": [1, 2]}, "at ['a']: expected 2 items, got 1"),
        ([[1]], [[1, 2]], "at [0]: expected 2 items, got 1"),
        ({"a": 1}, {"a": [1]}, "at ['a']: expected a list, got an int"),
        ([3], [{"a": 1}], "at [0]: expected a dict, got an int"),
        ([{}], [{"a": 1}], "at [0]: expected the keys ['a'], got []"),
        ([1, 2], np.zeros(2), "expected an array, got a list"),
        (
            np.array([True]), np.array([False]),
            "expected False at index (0,), got True; 1 of 1 numbers differ",
        ),
        (
            np.array([2**60]), np.array([2**60 + 1]),
            f"expected {2**60 + 1} at index (0,), got {2**60}; 1 of 1 numbers differ",
        ),
        (
            np.array([1, np.nan]), np.array([np.nan, 1]),
            "expected nan at index (0,), got 1; 2 of 2 numbers differ",
        ),
        (
            np.array([0, np.nan]), np.array([np.nan, 0]),
            "expected nan at index (0,), got 0; 2 of 2 numbers differ",
        ),
        (np.array([1, np.nan, np.nan]), np.ones(3), "expected numbers, got NaN at index (1,)"),
        (1.0, np.inf, "expected inf, got 1"),
        (-3, -3.5, "expected -3.5, got -3"),
        (True, np.int64(1), "expected 1, got True"),
        (1, np.bool_(True), "expected True, got 1"),
        (np.int64(1), True, "expected True, got 1"),
        (True, False, "expected False, got True"),
        (np.float32(3.5), 3, "expected 3, got the float 3.5"),
        ([3], 3, "expected 3, got a list"),
        ("3", 3, "expected 3, got '3'"),
        ("3", 3.0, "expected a number, got a str"),
        (4, np.int64(3), "expected 3, got 4"),
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
        (np.float32(3), 3.0),
        (np.int64(3), 3.0),
        (True, np.bool_(True)),
        (np.zeros((0, 2)), np.zeros((0, 2))),
        (np.full(2, np.nan), np.full(2, np.nan)),
        (np.array(["a"]), np.array(["a"])),
        ({"b": [1.0], "a": None}, {"a": None, "b": (1.0,)}),
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


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
@pytest.mark.parametrize("tolerance", [1e-7, 1e-3])
@pytest.mark.parametrize("other", [0.0, np.nan, -np.inf])
def test_a_tolerance_has_an_inside_and_an_outside(scale, tolerance, other):
    """At every size of the numbers, of arrays by their largest, of one number by itself or 1."""
    want = scale * np.array([1.0, -8.0, 2.0, other])
    for share in (0.99, -0.99, 1.01, -1.01):
        for i in range(3):
            got = want.copy()
            got[i] += share * tolerance * 8 * scale
            assert (difference(got, want, tolerance) is None) is (abs(share) < 1)
        for number in (scale, -3 * scale):
            near = number + share * tolerance * max(1.0, abs(number))
            assert (difference(near, number, tolerance) is None) is (abs(share) < 1)
            assert (difference([near], [number], tolerance) is None) is (abs(share) < 1)


def test_a_number_just_as_far_as_the_tolerance_is_near_enough():
    assert difference(0.5, 0.0, 0.5) is None
    assert difference([3.0], [2.0], 0.5) is None


def test_counts_have_no_tolerance():
    assert difference(1.0, 1.0 + 1e-12) is not None  # nor has anything, unless one is given
    assert difference(1001, 1000, 1.0) == "expected 1000, got 1001"
    assert difference(np.array([1001]), np.array([1000]), 1.0) is not None
    assert difference(np.array([1001.0]), np.array([1000.0]), 1.0) is None
    for dtype in ("float16", "bfloat16"):
        want = np.array([60000, -60000]).astype(dtype)
        assert difference(want[::-1].copy(), want, 1.0).endswith("2 of 2 numbers differ")
        assert difference(want[::-1].copy(), want, 2.01) is None


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
    assert expected.difference([1, 2], np.zeros(2)) == "expected an array, got a list"
    text = "expected a list, got an array of shape (2,)"
    assert expected.difference(np.zeros(2), want) == text
    assert expected.difference(tuple(want), want) is None
    nan = [np.full((2, 3), np.nan), [4, 5]]
    assert expected.difference(nan, want) == (
        "the logits: expected numbers, got NaN at seq 0, head_dim 0"
    )
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


@pytest.mark.parametrize(
    ("got", "want", "text"),
    [
        (b"a b", b"a  b", "expected 'a··b', got 'a·b' (· is a blank)"),
        (b"\xff b", b"\xffb", "expected '\\\\xffb', got '\\\\xff·b' (· is a blank)"),
        ("a\nb", "a b", "expected 'a·b', got 'a\\nb' (· is a blank)"),
        ("ab", "a b", "expected 'a·b', got 'ab' (· is a blank)"),
        ("a b", "a c", "expected 'a c', got 'a b'"),
        ("x" * 57 + "a", "x" * 57 + "b", f"expected '{'x' * 57}b', got '{'x' * 57}a'"),
        (
            "x" * 58 + "a",
            "x" * 57 + "b",
            f"from 57 on they differ:\n  expected …'{'x' * 12}b'\n  got      …'{'x' * 13}a'",
        ),
        (
            "x" * 40 + "a" + "y" * 19,
            "x" * 40 + "b" + "y" * 20,
            f"from 40 on they differ:\n  expected …'{'x' * 12}b{'y' * 19}'…\n"
            f"  got      …'{'x' * 12}a{'y' * 19}'",
        ),
    ],
)
def test_texts_are_shown_word_for_word(got, want, text):
    assert difference(got, want) == text


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
        (10**40 - 1, "9" * 40),
        (10**40, "an integer of some 39 digits"),
        ("x" * 58, repr("x" * 58)),
        ("x" * 59, "'" + "x" * 58 + "…"),
        (np.bool_(True), "True"),
        (1234567.0, "1.23457e+06"),
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


@pytest.mark.parametrize(("kind", "one", "other"), [(int, 3, 4), (bytes, b"a", b"b")])
def test_nothing_that_equals_everything_fools_anybody(kind, one, other):
    yes = {"__eq__": lambda self, other: True, "__hash__": kind.__hash__}
    agreeable = type("Agreeable", (kind,), yes)
    assert difference(agreeable(one), one) is None
    assert difference(agreeable(one), other) is not None


@pytest.mark.parametrize("name", ["Apple", "egg", "Ice", "olive", "Urn", "Bean", "yam"])
def test_a_kind_has_its_article(name):
    article = "a" if name in ("Bean", "yam") else "an"
    assert kind_name(type(name, (), {})()) == f"{article} {name}"
    assert kind_name(None) == "nothing (None)"
    assert kind_name(np.zeros((2, 3))) == "an array of shape (2, 3)"
    assert kind_name(np.ma.zeros(3)) == "a MaskedArray"


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
