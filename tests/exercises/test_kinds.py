"""What a series of wrong results has in common: each sentence where it holds, and nowhere else."""

import re

import numpy as np
import pytest

from llama_edu.exercises.framework.kinds import Pair, is_telling, kind_of

TABLE = np.array([[1.0, 2.5, -3.0], [4.0, 0.25, 7.0]])
ROW = np.array([1.0, 2.5, -3.0, 8.0])
TEXT = "The cat sat"
ITEMS = ["The", " cat", " sat", " down"]
NUMBERS = [3, 1, 4, 1, 5]


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


def test_always_the_same_is_told_of_three_results():
    wants = [3, 4, 5]
    assert kind_of([Pair(7, want, ()) for want in wants], 0.0) == "the result is always 7"
    assert kind_of([Pair(7, want, ()) for want in wants[:2]], 0.0) is None
    assert kind_of([Pair(7, 8, ()) for _ in wants], 0.0) != "the result is always 7"


def test_an_argument_that_comes_back_has_to_be_large_enough_to_tell():
    back = "what comes back is an argument as it was given"
    assert kind(ROW, 3 * ROW, (ROW,)) == back
    assert kind(ROW, ROW[::-1] + np.array([0, 1, 0, 5]), (2 * ROW, 7)) != back
    # A single number among the arguments comes back by chance.
    assert kind_of([Pair(4, 7, (4,)), Pair(6, 9, (6,))], 0.0) is None


def test_it_holds_of_all_or_is_not_said():
    pairs = [Pair(2 * ROW, ROW, ()), Pair(TABLE.T, TABLE, ())]
    assert kind_of(pairs, 1e-6) is None
    assert kind_of(pairs[:1], 1e-6)
    assert kind_of([], 1e-6) is None


def test_a_result_that_cannot_be_looked_at_is_no_kind():
    class Sulky:
        def __eq__(self, other):
            raise RuntimeError

        __hash__ = None

    assert kind([Sulky()] * 5, NUMBERS) is None


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
    ],
    ids=lambda value: re.sub(r"\s+", " ", str(value))[:20],
)
def test_a_wrong_result_says_enough_to_be_known_again(got, telling):
    assert is_telling(Pair(got, ROW, ()), 1e-6) is telling
