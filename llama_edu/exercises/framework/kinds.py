"""What a whole series of wrong results has in common, where no known mistake fits.

"Every number is 2 times the expected one" is a fact, whoever made the mistake and how. A kind is
told only if it holds wherever the answer is wrong, and only of results that are large enough to
be no coincidence: a single small number is half, twice or one less of many others.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np

from llama_edu.exercises.framework.difference import shown

__all__ = ["Pair", "is_telling", "kind_of", "same_numbers"]

TELLING = 4  # numbers or characters in all wrong results together; fewer agree by chance
ROUNDING = 0.01  # of the largest number: what a narrower dtype on the way may do


@dataclass(frozen=True)
class Pair:
    """One result that is wrong, with the right one and the arguments that led to it."""

    got: Any
    want: Any
    args: tuple[Any, ...]


Kind = Callable[[Pair], str | None]


def kind_of(pairs: Sequence[Pair], tolerance: float) -> str | None:
    """What holds of every pair, in a sentence without its full stop, or None."""
    if _constant(pairs):
        return f"the result is always {shown(pairs[0].got)}"
    if not pairs or sum(_size(pair.want) for pair in pairs) < TELLING:
        return None
    for kind in _kinds(tolerance):
        try:
            said = {kind(pair) for pair in pairs}
        except Exception:  # a result of the learner's own making need not bear being looked at
            continue
        if len(said) == 1 and (text := said.pop()) is not None:
            return text
    return None


def _constant(pairs: Sequence[Pair]) -> bool:
    """Whether a plain result is the same wherever different ones are due."""
    kinds = (int, float, str, bytes, bool, np.number)
    if len(pairs) < 3 or not all(isinstance(pair.got, kinds) for pair in pairs):
        return False
    first = pairs[0].got
    return all(same_numbers(pair.got, first, 0.0) for pair in pairs) and any(
        not same_numbers(pair.want, pairs[0].want, 0.0) for pair in pairs
    )


def is_telling(pair: Pair, tolerance: float) -> bool:
    """Whether a wrong result says enough to be known again: several numbers, and wrong ones."""
    if _size(pair.got) < TELLING or same_numbers(pair.got, pair.want, tolerance):
        return False
    numbers = _array(pair.got) if isinstance(pair.got, np.ndarray) else None
    return numbers is None or bool(np.isfinite(numbers).any())


def same_numbers(one: Any, other: Any, tolerance: float) -> bool:
    """Whether two results hold the same, whatever their dtypes, and be they lists or tuples."""
    if isinstance(one, np.ndarray) or isinstance(other, np.ndarray):
        mine, theirs = _array(one), _array(other)
        return mine is not None and theirs is not None and _equal(mine, theirs, tolerance)
    if isinstance(one, list | tuple) and isinstance(other, list | tuple):
        return len(one) == len(other) and all(
            same_numbers(a, b, tolerance) for a, b in zip(one, other, strict=True)
        )
    if isinstance(one, float | int | np.number) and isinstance(other, float | int | np.number):
        return abs(float(one) - float(other)) <= tolerance * max(1.0, abs(float(other)))
    return type(one) is type(other) and bool(one == other)


def _kinds(tolerance: float) -> Iterator[Kind]:
    """From the most telling to the least."""
    yield from (_argument_back, _text_kind, _bytes_for_text)
    yield from (_list_kind, _number_kind)

    def array_kind(pair: Pair) -> str | None:
        return _array_kind(pair, tolerance)

    yield array_kind


def _size(value: Any) -> int:
    if isinstance(value, np.ndarray):
        return value.size
    if isinstance(value, str | bytes):
        return len(value)
    if isinstance(value, list | tuple):
        return sum(map(_size, value)) + 1
    return 2 if isinstance(value, int | float | np.number) else 1


def _argument_back(pair: Pair) -> str | None:
    for arg in pair.args:
        if _size(arg) >= TELLING and same_numbers(pair.got, arg, 0.0):
            return "what comes back is an argument as it was given"
    return None


def _text_kind(pair: Pair) -> str | None:
    got, want = pair.got, pair.want
    if type(got) is not type(want) or not isinstance(got, str | bytes):
        return None
    if not got:
        return "the result is empty"
    if got.strip() == want.strip():
        return "blanks or line breaks at an end are missing or too many"
    if b"".join(_coded(got).split()) == b"".join(_coded(want).split()):
        return "only blanks or line breaks differ"
    if got.lower() == want.lower():
        return "only capital and small letters differ"
    if _coded(want).startswith(_coded(got)):
        return "the end is missing"
    if _coded(want).endswith(_coded(got)):
        return "the beginning is missing"
    if _coded(got).startswith(_coded(want)):
        return "there is more at the end than there should be"
    if _coded(got).endswith(_coded(want)):
        return "there is more at the beginning than there should be"
    return None


def _coded(text: str | bytes) -> bytes:
    return text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text


def _bytes_for_text(pair: Pair) -> str | None:
    got, want = pair.got, pair.want
    if isinstance(want, str) and isinstance(got, bytes) and got == _coded(want):
        return "the result is bytes, and text is due"
    if isinstance(want, bytes) and isinstance(got, str) and _coded(got) == want:
        return "the result is text, and bytes are due"
    if isinstance(want, str) and isinstance(got, list) and "".join(map(str, got)) == want:
        return "the pieces are right, and not joined to one text"
    return None


def _list_kind(pair: Pair) -> str | None:
    got, want = pair.got, pair.want
    if isinstance(got, np.ndarray) and isinstance(want, list | tuple) and got.ndim == 1:
        return "an array comes back, and a list is due" if got.tolist() == list(want) else None
    if not (isinstance(got, list | tuple) and isinstance(want, list | tuple)):
        return None
    mine, theirs = list(got), list(want)
    if any(isinstance(item, np.ndarray) for item in (*mine, *theirs)):
        return None
    if mine == theirs:  # and yet not right: 1.0 where 1 is due
        return None
    if not mine:
        return "the result is empty"
    if mine == theirs[: len(mine)]:
        return "the last items are missing"
    if mine == theirs[-len(mine) :]:
        return "the first items are missing"
    if mine[: len(theirs)] == theirs:
        return "there are more items at the end than there should be"
    if mine[-len(theirs) :] == theirs:
        return "there are more items at the beginning than there should be"
    if mine == theirs[::-1]:
        return "the items come in reverse"
    if sorted(map(repr, mine)) == sorted(map(repr, theirs)):
        return "the items are right and their order is not"
    texts = all(isinstance(item, str) for item in (*mine, *theirs))
    if texts and "".join(mine) == "".join(theirs):
        return "the text as a whole is right, and cut at other places"
    return None


def _number_kind(pair: Pair) -> str | None:
    got, want = pair.got, pair.want
    is_number = [
        isinstance(value, int | float | np.number) and not isinstance(value, bool)
        for value in (got, want)
    ]
    if not all(is_number):
        return None
    if isinstance(want, int) and isinstance(got, float | np.floating) and float(got) == want:
        return "the number is right, and a float where a whole number is due"
    if isinstance(want, int) and got - want in (1, -1):
        return f"the number is 1 too {'large' if got > want else 'small'}"
    return _factor(np.array([float(got)]), np.array([float(want)]), 1e-9)


def _array_kind(pair: Pair, tolerance: float) -> str | None:
    if not isinstance(pair.want, np.ndarray):
        return None
    got, want = _array(pair.got), _array(pair.want)
    if got is None or want is None:
        return None
    if _equal(got, want, tolerance):
        if not isinstance(pair.got, np.ndarray):
            return "the numbers are right, and not in an array"
        return f"the numbers are right, and in {pair.got.dtype}"
    for axes in combinations(range(want.ndim), 2):
        if got.ndim == want.ndim and _equal(got.swapaxes(*axes), want, tolerance):
            return "the numbers are right, with two axes exchanged"
    if got.shape != want.shape:
        is_right = _equal(got.ravel(), want.ravel(), tolerance)
        return "the numbers are right, in another shape" if is_right else None
    is_finite = bool(np.isfinite(want).all())
    if is_finite and not np.isfinite(got).all():
        return None
    if pair.want.dtype.kind == "b":
        return "True and False are exchanged" if np.array_equal(got, 1 - want) else None
    if len(np.unique(got)) == 1 < len(np.unique(want)):
        return f"every number is {got.max():.4g}"
    if (said := _factor(got, want, tolerance)) is not None:
        return said
    if is_finite and (said := _gap(got, want, tolerance)) is not None:
        return said
    if (said := _other_places(got, want, tolerance)) is not None:
        return said
    if is_finite and want.ndim >= 2 and _by_rows(got, want, tolerance):
        return "each row is right but for a factor of its own"
    if is_finite and tolerance and np.abs(got - want).max() <= ROUNDING * np.abs(want).max():
        return "the numbers are nearly right: all are within 1 % of the largest"
    return None


@np.errstate(invalid="ignore")  # of a NaN that signals
def _array(value: Any) -> np.ndarray | None:
    """As float64, whatever it was; None for what is no table of numbers."""
    try:
        array = np.asarray(value)
        return array.astype(np.float64) if array.dtype.kind in "biufV" else None
    except Exception:
        return None


def _equal(got: np.ndarray, want: np.ndarray, tolerance: float) -> bool:
    if got.shape != want.shape:
        return False
    bound = tolerance * float(np.abs(want[np.isfinite(want)]).max(initial=0.0))
    return bool(np.isclose(got, want, rtol=0.0, atol=bound, equal_nan=True).all())


def _factor(got: np.ndarray, want: np.ndarray, tolerance: float) -> str | None:
    """All numbers off by one factor, which is a round one or its inverse, or a root of one."""
    square = float(np.vdot(want, want))
    if square == 0:
        return None
    factor = float(np.vdot(got, want)) / square
    if not np.isfinite(factor) or factor == 0 or abs(factor - 1) < 0.01:
        return None
    if not _equal(got, factor * want, max(4 * tolerance, 1e-9)):
        return None
    if abs(factor + 1) < 1e-4:
        return "every number has the wrong sign"
    return f"every number is {factor:.4g} times the expected one"


def _gap(got: np.ndarray, want: np.ndarray, tolerance: float) -> str | None:
    """All numbers too large by as much, or too small."""
    gaps = got - want
    gap = float(gaps.mean())
    bound = max(4 * tolerance, 1e-9) * float(np.abs(want).max())
    if gaps.size > 2 and np.ptp(gaps) <= bound < abs(gap):
        return f"every number is {abs(gap):.4g} too {'large' if gap > 0 else 'small'}"
    return None


def _other_places(got: np.ndarray, want: np.ndarray, tolerance: float) -> str | None:
    """The right numbers, in an order that is not the right one."""
    for axis in range(want.ndim):
        if _equal(np.flip(got, axis), want, tolerance):
            return "the numbers are right, in reverse along an axis"
    for axis in range(want.ndim):
        for shift in (1, -1):
            if _equal(np.roll(got, shift, axis), want, tolerance):
                return "the numbers are right, and one place off along an axis"
    if _equal(np.sort(got, None), np.sort(want, None), tolerance):
        return "the right numbers stand in other places"
    return None


def _by_rows(got: np.ndarray, want: np.ndarray, tolerance: float) -> bool:
    square = (want * want).sum(axis=-1, keepdims=True)
    if want.shape[-1] < 3 or not (square > 0).all():
        return False
    factors = (got * want).sum(axis=-1, keepdims=True) / square
    return bool((factors != 0).all()) and _equal(got, factors * want, 4 * tolerance)
