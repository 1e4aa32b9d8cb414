"""What a series of wrong results has in common: each sentence where it holds, and nowhere else."""

import re

import numpy as np
import pytest

from llama_edu.exercises.framework.kinds import Pair, is_telling, kind_of, same_numbers

TABLE = np.array([[1.0, 2.5, -3.0], [4.0, 0.25, 7.0]])
ROW = np.array([1.0, 2.5, -3.0, 8.0])
TEXT = "The cat sat"
ITEMS = ["The", " cat", " sat", " down"]
NUMBERS = [3, 1, 4, 1, 5]
CUBE = np.arange(8.0).reshape(2, 2, 2) ** 2 + 1
PIECES = np.array([[8.0, 1.0, 1.0], [1.0, 2.0, -9.0]])
MASKED = np.array([[1.0, -np.inf, 0.5], [-2.0, 3.0, 4.0]])


def kind(got, want, args=(), tolerance=1e-6):
    return kind_of([Pair(got, want, args)], tolerance)


ARRAYS = {
    "the numbers are right, with two axes exchanged": (TABLE.T, TABLE),
    "the numbers are right, in another shape": (TABLE.ravel(), TABLE),
    "the numbers are right, and not in an array": (ROW.tolist(), ROW),
    "the numbers are right, and in float32": (ROW.astype(np.float32), ROW),
    "True and False are exchanged": (ROW <= 2, ROW > 2),
    "every number is 9": (np.full(4, 9.0), ROW),
    "every number has the wrong sign": (-ROW, ROW),
    "every number is 2 times the expected one": (2 * ROW, ROW),
    "every number is -3 times the expected one": (-3 * ROW, ROW),
    "every number is 0.5 too large": (ROW + 0.5, ROW),
    "every number is 0.5 too small": (ROW - 0.5, ROW),
    "the numbers are right, in reverse along an axis": (TABLE[:, ::-1], TABLE),
    "the numbers are right, and one place off along an axis": (np.roll(ROW, 1), ROW),
    "the right numbers stand in other places": (ROW[[0, 2, 1, 3]], ROW),
    "each row is right but for a factor of its own": (TABLE * [[2.0], [3.0]], TABLE),
    "the numbers are nearly right: all are within 1 % of the largest": (
        ROW + np.array([0.01, -0.02, 0.03, 0.01]),
        ROW,
    ),
    None: (ROW * [1, 2, 3, 4], ROW),
}
OTHERS = {
    "the result is empty": ("", TEXT),
    "blanks or line breaks at an end are missing or too many": (TEXT + "\n", TEXT),
    "only blanks or line breaks differ": ("The  cat\nsat", TEXT),
    "only capital and small letters differ": ("the Cat sat", TEXT),
    "the end is missing": ("The c", TEXT),
    "the beginning is missing": ("cat sat", TEXT),
    "there is more at the end than there should be": (TEXT + " down", TEXT),
    "there is more at the beginning than there should be": ("Once. " + TEXT, TEXT),
    "the result is bytes, and text is due": (TEXT.encode(), TEXT),
    "the result is text, and bytes are due": (TEXT, TEXT.encode()),
    "the pieces are right, and not joined to one text": (["The", " cat", " sat"], TEXT),
    "an array comes back, and a list is due": (np.array(NUMBERS), NUMBERS),
    "the last items are missing": (NUMBERS[:3], NUMBERS),
    "the first items are missing": (NUMBERS[2:], NUMBERS),
    "there are more items at the end than there should be": ([*NUMBERS, 9], NUMBERS),
    "there are more items at the beginning than there should be": ([9, *NUMBERS], NUMBERS),
    "the items come in reverse": (NUMBERS[::-1], NUMBERS),
    "the items are right and their order is not": ([1, 3, 4, 1, 5], NUMBERS),
    "the text as a whole is right, and cut at other places": (
        ["The cat", " s", "at", " down"],
        ITEMS,
    ),
}


@pytest.mark.parametrize("said", [*ARRAYS, *OTHERS], ids=lambda said: str(said)[:40])
def test_each_kind_is_said_where_it_holds(said):
    assert kind(*(ARRAYS | OTHERS)[said]) == said


@pytest.mark.parametrize(
    ("got", "want"),
    [
        (7, TEXT),  # neither text nor pieces of it
        (["The", " dog"], TEXT),
        ([" cat", "The"], ["The", " cat", "!"]),
        (["The dog", " sat", " down", ""], ITEMS),  # texts that are no text together
        ([1, 2, 3, 4], ["1", "2", "3", "4"]),
        (ROW + np.array([0.0, 1.0, 5.0, -2.0]), ROW),
    ],
)
def test_nothing_is_said_where_nothing_holds(got, want):
    assert kind(got, want) is None


@pytest.mark.parametrize("said", OTHERS)
def test_bytes_are_told_as_texts_are(said):
    got, want = OTHERS[said]
    if isinstance(got, str) and isinstance(want, str):
        assert kind(got.encode(), want.encode()) == said


REVERSED = "the numbers are right, in reverse along an axis"
ROLLED = "the numbers are right, and one place off along an axis"
EXCHANGED = "the numbers are right, with two axes exchanged"
ELSEWHERE = "the right numbers stand in other places"


@pytest.mark.parametrize(
    ("got", "want", "said"),
    [
        (CUBE.swapaxes(0, 1), CUBE, EXCHANGED),
        (CUBE.swapaxes(0, 2), CUBE, EXCHANGED),
        (CUBE.swapaxes(1, 2), CUBE, EXCHANGED),
        (TABLE.T, TABLE[None], None),
        (TABLE.reshape(3, 2), TABLE, "the numbers are right, in another shape"),
        (ROW[:3], ROW, None),
        (TABLE[::-1], TABLE, REVERSED),
        (ROW[::-1], ROW, REVERSED),
        (MASKED[:, ::-1], MASKED, REVERSED),
        (np.roll(ROW, -1), ROW, ROLLED),
        (np.roll(TABLE, 1, 1), TABLE, ROLLED),
        (np.roll(MASKED, -1, 1), MASKED, ROLLED),
        (np.roll(ROW, 2), ROW, ELSEWHERE),
        (TABLE.ravel()[[5, 0, 2, 1, 4, 3]].reshape(2, 3), TABLE, ELSEWHERE),
        (np.full(4, np.inf), ROW, None),
        (np.full(4, np.nan), np.full(4, -np.inf), None),
        (np.full((2, 3), 9.0), MASKED, "every number is 9"),
        (np.full(4, 0.5), np.zeros(4), "every number is 0.5 too large"),
        (np.zeros(4), np.full(4, 3.0), "every number is 3 too small"),
        (np.zeros(4), ROW, "every number is 0"),
        (ROW, np.zeros(4), None),
        (1.02 * ROW, ROW, "every number is 1.02 times the expected one"),
        (0.98 * ROW, ROW, "every number is 0.98 times the expected one"),
        (
            1.005 * ROW,
            ROW,
            "the numbers are nearly right: all are within 1 % of the largest",
        ),
        (PIECES * [[0.2], [-3.0]], PIECES, "each row is right but for a factor of its own"),
        (PIECES * [[2.0], [0.0]], PIECES, None),
        (
            PIECES[:, :2] * [[2.0], [3.0]],
            PIECES[:, :2],
            None,  # of two numbers, a factor for each row says little
        ),
        (
            PIECES * [[1.005], [0]] + 1e-3,
            PIECES * [[1], [0]],
            "the numbers are nearly right: all are within 1 % of the largest",
        ),
        (ROW > 9, ROW > 2, None),
        (np.array([True, True, False, True]), ROW > 2, None),
        ("four", ROW, None),
        (ROW.astype("U"), ROW, None),
        (ROW, "four", None),
        (["four", "more"], ROW[:2], None),
        (np.array([[3, 1], [4, 1]]), [[3, 1], [4, 1]], None),
        (np.array([3, 1, 4, 1, 6]), NUMBERS, None),
        (np.array(NUMBERS), tuple(NUMBERS), "an array comes back, and a list is due"),
        ([ROW], [ROW, ROW], None),
        ([float(number) for number in NUMBERS], NUMBERS, None),
        ([1.0, 2.0, 1.0], [1, 2, 1], None),  # neither in reverse nor in another order
        ([9, 8], NUMBERS, None),
        ([], NUMBERS, "the result is empty"),
        ((), ITEMS, "the result is empty"),
        (
            [*NUMBERS[1:], *NUMBERS],
            NUMBERS,
            "there are more items at the beginning than there should be",
        ),
        ([1, 2, 3, 4], "1234", "the pieces are right, and not joined to one text"),
        (b"The cat", TEXT, None),
        ("The cat", TEXT.encode(), None),
        ("cat\ud83d", "cat\ud83d sat", "the end is missing"),
        (7, [TEXT], None),
    ],
    ids=lambda value: re.sub(r"\s+", " ", str(value))[:20],
)  # fmt: skip
def test_what_is_told_of_others(got, want, said):
    assert kind(got, want) == said


def test_single_numbers_in_arrays_are_told_by_their_factor():
    pairs = [Pair(np.array([3.0 * n]), np.array([float(n)]), ()) for n in range(1, 5)]
    assert kind_of(pairs, 1e-6) == "every number is 3 times the expected one"
    shifted = [Pair(two + 3.0, two, ()) for two in (ROW[:2], ROW[2:])]
    assert kind_of(shifted, 1e-6) is None  # two numbers that are as far off say little
    three = [Pair(part + 0.5, part, ()) for part in (ROW[:3], ROW[1:])]
    assert kind_of(three, 0.0) == "every number is 0.5 too large"


@pytest.mark.parametrize("share", [0.98, 1.02], ids=["inside", "outside"])
@pytest.mark.parametrize("tolerance", [0.0, 1e-7, 1e-3])
@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_how_far_off_a_kind_still_holds(share, tolerance, scale):
    """Four times the tolerance, of the largest number that is due, or what rounding may do."""
    # These two changes leave a sum, and a product with the numbers below, as it is.
    bound = max(4 * tolerance, 1e-9) * scale
    off = share * np.array([0.0, 1.0, -1.0, 0.0])
    want = scale * np.array([8.0, 1.0, 1.0, -5.0])
    far = 100 * scale

    def said(got, of=want):
        found = kind(got, of, tolerance=tolerance)
        return found is not None and "nearly" not in found

    inside = share < 1
    assert said(want + far + off * 4 * bound) == inside  # apart by 8 times the bound
    assert said(2 * want + off * 16 * bound) == inside
    rows = np.stack([want, 3 * want])
    if tolerance:  # without one, each row has to be exact
        assert said(rows * [[2.0], [3.0]] + off * 4 * tolerance * 72 * scale, rows) == inside
    small = want + share * 0.01 * 8 * scale * np.array([1, -1, 1, -1])
    nearly = "the numbers are nearly right: all are within 1 % of the largest"
    assert (kind(small, want, tolerance=tolerance) == nearly) == (inside and tolerance > 0)


def test_a_gap_has_to_be_larger_than_what_it_may_vary_by():
    assert kind(ROW + 0.0319, ROW, tolerance=1e-3) == (
        "the numbers are nearly right: all are within 1 % of the largest"
    )
    assert kind(ROW + 0.0321, ROW, tolerance=1e-3) == "every number is 0.0321 too large"
    assert kind(ROW - 0.0321, ROW, tolerance=1e-3) == "every number is 0.0321 too small"


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
@pytest.mark.parametrize("tolerance", [1e-7, 1e-3])
@pytest.mark.parametrize("other", [0.0, np.nan, -np.inf])
def test_numbers_are_the_same_within_the_tolerance(scale, tolerance, other):
    want = scale * np.array([1.0, -8.0, 2.0, other])
    for share in (0.99, -0.99, 1.01, -1.01):
        for i in range(3):
            got = want.copy()
            got[i] += share * tolerance * 8 * scale
            assert same_numbers(got, want, tolerance) is (abs(share) < 1)
        for number in (0.0, 0.5, -3.0, 1e6):
            got = number + share * tolerance * max(1.0, abs(number))
            assert same_numbers(got, number, tolerance) is (abs(share) < 1)
            assert same_numbers([got], (number,), tolerance) is (abs(share) < 1)


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        (ROW, ROW.tolist(), True),
        (ROW, ROW[:3], False),
        (ROW, "ROW", False),
        (np.array([1j]), np.zeros(1), False),
        (np.array(["1"]), np.ones(1), False),
        (np.array([np.nan, np.inf]), [np.nan, np.inf], True),
        (np.array([np.nan]), [1.0], False),
        (np.zeros(0), [], True),
        (ROW, [[1.0], [2.5, -3.0]], False),
        ([1, "a", (2.0, None)], (1.0, "a", [2, None]), True),
        ([1, 2], [1, 2, 3], False),
        ([1], 1, False),
        (1, [1], False),
        (np.float32(2), 2, True),
        (2, np.int64(2), True),
        ("1", 1, False),
        (1, "1", False),
        ("a", b"a", False),
        ("a", "b", False),
        ("ab", "".join(["a", "b"]), True),  # equal, and another object
        (None, None, True),
        (None, "a", False),
    ],
    ids=lambda value: str(value)[:20],
)
def test_results_of_two_kinds_may_hold_the_same(one, other, same):
    assert same_numbers(one, other, 1e-6) is same
    assert same_numbers(other, one, 1e-6) is same


@pytest.mark.parametrize(
    ("dtype", "bits", "pattern"),
    [("float16", "u2", 0x7D01), ("bfloat16", "u2", 0x7F81), ("float32", "u4", 0x7F800001)],
)
def test_a_nan_that_signals_is_a_nan(dtype, bits, pattern):
    signals = np.array([pattern, 0], dtype=bits).view(np.dtype(dtype))
    assert same_numbers(signals, np.array([np.nan, 0.0]), 0.0)


def test_plain_numbers():
    """Two of them are large enough to be no coincidence; one is not, and a truth is no number."""

    def said(*pairs):
        return kind_of([Pair(got, want, ()) for got, want in pairs], 1e-6)

    assert said((6, 3), (10, 5)) == "every number is 2 times the expected one"
    assert said((6.0, 3.5), (9.0, 5.25)) == "every number is 1.714 times the expected one"
    assert said((-6.0, 3.0), (-10.0, 5.0)) == "every number is -2 times the expected one"
    assert said((4, 3), (6, 5)) == "the number is 1 too large"
    assert said((2, 3), (4, 5)) == "the number is 1 too small"
    float_for_whole = "the number is right, and a float where a whole number is due"
    assert said((3.0, 3), (np.float32(5), 5)) == float_for_whole
    assert said((6, 3)) is None
    assert said((True, 3), (True, 5)) is None
    assert said((6, 3), (11, 5)) is None
    assert said((4.0, 3), (6, 5)) == "the number is 1 too large"
    assert said((5, 3), (7, 5)) is None
    assert said((3.5, 3), (4.5, 5)) is None
    assert said((3, 3.0), (5, 5.0)) is None  # whatever is wrong with them, no factor is
    assert said((4.0, 3.0), (6.0, 5.0)) is None
    assert said((3, True), (3, True)) is None
    assert said(("4", 3), ("6", 5)) is None


def test_always_the_same_is_told_of_three_results():
    wants = [3, 4, 5]
    assert kind_of([Pair(7, want, ()) for want in wants], 0.0) == "the result is always 7"
    assert kind_of([Pair(7, want, ()) for want in wants[:2]], 0.0) is None
    assert kind_of([Pair(7, 8, ()) for _ in wants], 0.0) != "the result is always 7"

    def said(gots, wants):
        return kind_of([Pair(got, want, ()) for got, want in zip(gots, wants, strict=True)], 0.0)

    assert said([7, 7, 7], [3, 3, 5]) == "the result is always 7"
    assert said([7, 7, 7], [3, 4, 3]) == "the result is always 7"
    assert said([7, 7, 8], [3, 4, 6]) is None
    assert said([b"ab"] * 3, [b"cd", b"ef", b"gh"]) == "the result is always b'ab'"
    assert said(["ab"] * 3, ["cd", "ef", "gh"]) == "the result is always 'ab'"
    assert said([True] * 3, [3, 4, 5]) == "the result is always True"
    assert said([2.5] * 3, [3.5, 4.5, 5.0]) == "the result is always 2.5"
    assert said([np.float32(2.5)] * 3, [3.5, 4.5, 5.0]) == "the result is always 2.5"
    assert said([[7], [7], [7]], [[3], [4], [6]]) is None


def test_an_argument_that_comes_back_has_to_be_large_enough_to_tell():
    back = "what comes back is an argument as it was given"
    assert kind(ROW, 3 * ROW, (ROW,)) == back
    assert kind(ROW, 3 * ROW, (7, 2 * ROW, ROW)) == back
    assert kind(TABLE, 3 * TABLE, (TABLE,)) == back
    assert kind("cats", "dogs", ("cats",)) == back
    assert kind("cat", "dogs", ("cat",)) is None
    assert kind(2 * ROW, ROW, (ROW,)) == "every number is 2 times the expected one"
    assert kind(ROW, ROW[::-1] + np.array([0, 1, 0, 5]), (2 * ROW, 7)) != back
    # A single number among the arguments comes back by chance.
    assert kind_of([Pair(4, 7, (4,)), Pair(6, 9, (6,))], 0.0) is None


def test_it_holds_of_all_or_is_not_said():
    pairs = [Pair(2 * ROW, ROW, ()), Pair(TABLE.T, TABLE, ())]
    assert kind_of(pairs, 1e-6) is None
    assert kind_of(pairs[:1], 1e-6)
    assert kind_of([], 1e-6) is None


def test_what_is_due_has_to_be_large_enough_in_all():
    assert kind("cat", "cats") == "the end is missing"
    assert kind("ca", "cat") is None
    assert kind_of([Pair("a", "ab", ()), Pair("c", "cd", ())], 0.0) == "the end is missing"


def test_a_result_that_cannot_be_looked_at_is_no_kind():
    class Sulky:
        def __eq__(self, other):
            raise RuntimeError

        __hash__ = None

    assert kind([Sulky()] * 5, NUMBERS) is None
    # Arrays in a dict cannot be compared; what needs no look at them is said all the same.
    got, argument = ([*NUMBERS, {"row": row}] for row in (ROW, ROW.copy()))
    assert kind(got, NUMBERS, (argument,)) == "there are more items at the end than there should be"


@pytest.mark.parametrize(
    ("got", "telling"),
    [
        (2 * ROW, True),
        (ROW + 1e-9, False),
        (ROW[:3], False),
        (np.full(4, np.nan), False),
        (np.array([1.0, np.nan, 3.0, 4.0]), True),
        ("cats", True),
        ("cat", False),
        ([7, 8], True),
        ([7], False),
        ((7.5, np.float32(8)), True),
        (["ab", "c"], True),
        ([b"ab"], False),
        ([b"abc"], True),
        ([None] * 3, True),
        ([None] * 2, False),
        (np.array(["a", "b", "c", "d"]), True),
        ([ROW[:3]], True),
    ],
    ids=lambda value: re.sub(r"\s+", " ", str(value))[:20],
)
def test_a_wrong_result_says_enough_to_be_known_again(got, telling):
    assert is_telling(Pair(got, ROW, ()), 1e-6) is telling
