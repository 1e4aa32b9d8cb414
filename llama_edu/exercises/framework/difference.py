"""The first thing to say about a result that is not the expected one.

An answer may return anything at all, so nothing here trusts a value before its kind is known:
comparing an array with a number, or printing an integer of ten thousand digits, raises.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

__all__ = ["Expected", "counted", "difference", "kind_name", "shown"]

LONGEST = 60  # characters of a value in a sentence
BEFORE = 12  # characters before the first that differs
MANY_DIGITS = 10**40  # from here on, an integer is told by its length


@dataclass(frozen=True)
class Expected:
    """How a result is compared, and what its parts are called.

    `tolerance` is relative to the largest expected number. `axes` names the axes of an array, and
    `parts` the items of a result that is a list of different things.
    """

    tolerance: float = 0.0
    axes: tuple[str, ...] = ()
    parts: tuple[str, ...] = ()

    @np.errstate(invalid="ignore")  # bytes read in a wrong order may make NaNs that signal
    def difference(self, got: Any, want: Any) -> str | None:
        """None if `got` is as good as `want`; otherwise the first thing to say about it."""
        is_several = isinstance(got, list | tuple) and isinstance(want, list | tuple)
        if self.parts and is_several and len(got) == len(self.parts):
            return self._of_parts(got, want)
        return self._of_any(got, want, "")

    def _of_parts(self, got: Any, want: Any) -> str | None:
        """Items with names, told by name."""
        for name, mine, theirs in zip(self.parts, got, want, strict=True):
            text = self._of_any(mine, theirs, "")
            if text is not None:
                return f"{name}: {text}"
        return None

    def _of_any(self, got: Any, want: Any, place: str) -> str | None:
        if isinstance(want, np.ndarray):
            text = self._of_array(got, want)
        elif isinstance(want, list | tuple):
            return self._of_sequence(got, want, place)
        elif isinstance(want, dict):
            return self._of_dict(got, want, place)
        elif isinstance(want, float | np.floating):
            text = self._of_number(got, want)
        elif isinstance(want, int | str | bytes | np.integer | np.bool_ | type(None)):
            text = _of_plain(got, want)
        else:
            return None  # an object with a state of its own: the case compares what it returns
        return f"at {place}: {text}" if text and place else text

    def _of_sequence(self, got: Any, want: Any, place: str) -> str | None:
        at = f"at {place}: " if place else ""
        if not isinstance(got, list | tuple):
            return f"{at}expected {kind_name(want)}, got {kind_name(got)}"
        for index, (mine, theirs) in enumerate(zip(got, want, strict=False)):
            # Where lengths differ as well, the first item that is wrong says more.
            text = self._of_any(mine, theirs, f"{place}[{index}]")
            if text is not None:
                break
        else:
            text = None
        if len(got) != len(want):
            lengths = f"{at}expected {counted(len(want), 'item')}, got {len(got)}"
            return f"{lengths}; {text}" if text else lengths
        return text

    def _of_dict(self, got: Any, want: dict[Any, Any], place: str) -> str | None:
        at = f"at {place}: " if place else ""
        if not isinstance(got, dict):
            return f"{at}expected a dict, got {kind_name(got)}"
        if got.keys() != want.keys():
            return f"{at}expected the keys {shown(list(want))}, got {shown(list(got))}"
        for key, value in want.items():
            text = self._of_any(got[key], value, f"{place}[{shown(key)}]")
            if text is not None:
                return text
        return None

    def _of_array(self, got: Any, want: np.ndarray) -> str | None:
        if type(got) is not np.ndarray:  # a masked array compares equal where it hides something
            return f"expected an array, got {kind_name(got)}"
        if got.shape != want.shape:
            names = f" ({', '.join(self.axes)})" if len(self.axes) == want.ndim else ""
            return f"expected shape {want.shape}{names}, got {got.shape}"
        if got.dtype != want.dtype:
            return f"expected {want.dtype}, got {got.dtype}"
        if want.dtype.kind not in "fV":
            wrong = got != want
        else:
            mine, theirs = got.astype(np.float64), want.astype(np.float64)
            if np.isnan(mine).any() and not np.isnan(theirs).any():
                return f"expected numbers, got NaN at {self._place(np.isnan(mine))}"
            scale = float(np.abs(theirs[np.isfinite(theirs)]).max(initial=0.0))
            bound = self.tolerance * scale
            wrong = ~np.isclose(mine, theirs, rtol=0.0, atol=bound, equal_nan=True)
        if not wrong.any():
            return None
        index = tuple(int(i) for i in np.argwhere(wrong)[0])
        return (
            f"expected {shown(want[index])} at {self._place(wrong)}, got {shown(got[index])}; "
            f"{int(wrong.sum())} of {wrong.size} numbers differ"
        )

    def _place(self, wrong: np.ndarray) -> str:
        index = [int(i) for i in np.argwhere(wrong)[0]]
        if len(self.axes) != len(index):
            return f"index {tuple(index)}"
        return ", ".join(f"{axis} {i}" for axis, i in zip(self.axes, index, strict=True))

    def _of_number(self, got: Any, want: float | np.floating) -> str | None:
        is_number = isinstance(got, int | float | np.floating | np.integer)
        if not is_number or isinstance(got, bool):
            return f"expected a number, got {kind_name(got)}"
        try:
            mine, theirs = float(got), float(want)
        except OverflowError:  # an integer larger than any float
            return f"expected {shown(want)}, got {shown(got)}"
        both_nan = np.isnan(mine) and np.isnan(theirs)
        if mine == theirs or both_nan:
            return None
        close = np.isfinite(theirs) and abs(mine - theirs) <= self.tolerance * max(1.0, abs(theirs))
        return None if close else f"expected {shown(want)}, got {shown(got)}"


def difference(got: Any, want: Any, tolerance: float = 0.0) -> str | None:
    """As `Expected.difference`, of values whose parts have no names."""
    return Expected(tolerance).difference(got, want)


def _of_plain(got: Any, want: Any) -> str | None:
    """Numbers that are counted, truth values, text and None: equal, and of the same kind."""
    if isinstance(want, bool | np.bool_):
        same_kind = isinstance(got, bool | np.bool_)
    elif isinstance(want, int | np.integer):
        same_kind = isinstance(got, int | np.integer) and not isinstance(got, bool)
    else:
        same_kind = isinstance(got, type(want))
    if not same_kind:
        return f"expected {_said(want)}, got {_said(got)}"
    if _is_equal(got, want):
        return None
    if isinstance(want, str | bytes):
        return _of_text(got, want)
    return f"expected {shown(want)}, got {shown(got)}"


def _is_equal(got: Any, want: Any) -> bool:
    """By the comparison of the kind that is due: a learner's class may call all things equal."""
    if want is None:
        return got is None
    kinds: tuple[Any, ...] = (int, str, bytes)
    for kind in kinds:
        if isinstance(want, kind) and isinstance(got, kind):
            return kind.__eq__(want, got) is True
    return bool(got == want)


def _of_text(got: Any, want: Any) -> str:
    """Two texts, whole or from the start if that tells them apart, else from where they part."""
    if _without_blanks(got) == _without_blanks(want):
        return f"{_of_visible(_visible(got), _visible(want))} (· is a blank)"
    return _of_visible(got, want)


def _without_blanks(text: Any) -> Any:
    return text[:0].join(text.split())


def _visible(text: Any) -> str:
    whole = text if isinstance(text, str) else text.decode("utf-8", "backslashreplace")
    return whole.replace(" ", "·")


def _of_visible(got: Any, want: Any) -> str:
    pairs = enumerate(zip(got, want, strict=False))
    first = next((i for i, (a, b) in pairs if a != b), min(len(got), len(want)))
    is_short = max(len(repr(got)), len(repr(want))) <= LONGEST
    if is_short or first <= BEFORE:
        return f"expected {shown(want)}, got {shown(got)}"
    start = first - BEFORE

    def part(text: Any) -> str:
        end = start + BEFORE + 20
        return f"…{text[start:end]!r}{'…' if end < len(text) else ''}"

    return f"from {first} on they differ:\n  expected {part(want)}\n  got      {part(got)}"


def counted(n: int, thing: str) -> str:
    """A count with its noun: `1 item`, `2 items`."""
    return f"{n} {thing}{'' if n == 1 else 's'}"


def _said(value: Any) -> str:
    """A plain value as it is, with its kind where that is what is wrong; else its kind alone."""
    if isinstance(value, float | np.floating):
        return f"the float {float(value)!r}"
    if value is None or not isinstance(value, int | str | bytes | np.integer | np.bool_):
        return kind_name(value)
    return shown(value)


def kind_name(value: Any) -> str:
    """What kind of value it is, in a sentence: "a list", "an array of shape (2, 3)"."""
    if value is None:
        return "nothing (None)"
    if type(value) is np.ndarray:
        return f"an array of shape {value.shape}"
    name = type(value).__name__
    article = "an" if name[:1].lower() in tuple("aeiou") else "a"
    return f"{article} {name}"


def shown(value: Any) -> str:
    """A value in a sentence: short, and never an error of its own."""
    if isinstance(value, float | np.floating):
        return f"{float(value):.6g}"
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, int) and abs(value) >= MANY_DIGITS:  # repr refuses more than 4,300 digits
        return f"an integer of some {value.bit_length() * 3 // 10:,} digits"
    try:
        text = repr(value)
    except Exception:  # the learner's own class, or a list with such an integer
        return kind_name(value)
    return text if len(text) <= LONGEST else text[: LONGEST - 1] + "…"
