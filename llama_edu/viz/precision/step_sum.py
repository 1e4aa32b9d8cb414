"""A walk through a running sum that is rounded after every addition."""

from collections.abc import Sequence

import numpy as np

from llama_edu.errors import InputError
from llama_edu.formats.precision import cast
from llama_edu.viz.bytes.bits import FORMATS
from llama_edu.viz.parts.figure import Number
from llama_edu.viz.parts.html import Html
from llama_edu.viz.parts.listing import watch
from llama_edu.viz.parts.stepper import Matrix, Operand, Side, Step, stepper

__all__ = ["step_sum"]

STORED = {"float32": "F32", "bfloat16": "BF16", "float16": "F16"}
KNOWN = {form.name: form for form in FORMATS}
MAX_STEPS = 12


def step_sum(
    start: Number,
    terms: Sequence[Number],
    formats: Sequence[str] = ("float32", "bfloat16"),
) -> Html:
    """Walk through additions to a running sum, which each format rounds to a number of its own.

    A step shows what each sum was, the exact result of the addition, what is kept of it, and, for
    the last of the `formats`, the two neighbours the result lies between and the bits that stay.
    The rounding is `llama_edu.formats.precision.cast`. `start` and the terms are taken as the
    nearest numbers that the last format has. Raises `InputError` for a format without bits to
    show, for none or more than 12 terms, and for numbers that are not finite; `NumericsError`
    where a sum leaves a format's range.
    """
    names = list(formats)
    if not names or not set(names) <= KNOWN.keys():
        raise InputError(f"expected formats among {', '.join(KNOWN)}, got {names}")
    if not 0 < len(terms) <= MAX_STEPS:
        raise InputError(f"expected 1 to {MAX_STEPS} terms, got {len(terms)}")
    numbers = np.array([start, *terms], dtype=np.float64)
    if not np.isfinite(numbers).all():
        raise InputError(f"expected finite numbers, got {numbers[~np.isfinite(numbers)][0]}")
    first, *rest = cast(numbers, STORED[names[-1]]).astype(np.float64).tolist()
    sums = dict.fromkeys(names, first)
    steps: list[Step] = []
    matrices: dict[str, Matrix] = {}
    for number, term in enumerate(rest):
        step, shown, sums = _added(names, sums, term, number)
        steps.append(step)
        matrices |= shown
    title = f"Adding to {_said(first)}, the sum kept in {' and in '.join(names)}"
    return stepper(title, steps, matrices)


def _added(
    names: Sequence[str], sums: dict[str, float], term: float, number: int
) -> tuple[Step, dict[str, Matrix], dict[str, float]]:
    """One addition in every format: its step, its columns, and the sums after it."""
    last = names[-1]
    exact = {name: total + term for name, total in sums.items()}
    runs = {
        name: watch(cast, np.array([value], dtype=np.float64), STORED[name])
        for name, value in exact.items()
    }
    after = {name: float(run.result[0]) for name, run in runs.items()}
    rows = Side("format", list(names), len(names))

    def column(label: str, values: dict[str, float], tell: str) -> Matrix:
        numbers = np.array([[values[name]] for name in names], dtype=np.float64)
        side = Side(label, [label], 1)
        return Matrix(label, numbers, rows, side, kind="rank", tell=tell)

    keys = [f"{part}{number}" for part in ("before", "exact", "after")]
    tells = ("{row}: the sum was {value}", "{row}: exactly {value}", "{row}: {value} is kept")
    found = zip(keys, ("before", "exact", "after"), (sums, exact, after), tells, strict=True)
    matrices = {key: column(label, values, tell) for key, label, values, tell in found}
    step = Step(
        f"{_said(sums[last])} + {_said(term)}",
        _told(last, exact[last], after[last]),
        runs[last].listing,
        "array.astype(dtype)",
        [Operand(f"{last} {_said(sums[last])}"), Operand(f"term {_said(term)}")],
        [Operand(f"{last} {_said(after[last])}")],
        keys,
        "columns",
    )
    return step, matrices, after


def _told(name: str, exact: float, kept: float) -> str:
    """Where the exact result lies among a format's numbers, and what stays of it."""
    form = KNOWN[name]
    bits = form.bits(kept)
    fields = f"{bits[0]} {bits[1 : 1 + form.exponent]} {bits[1 + form.exponent :]}"
    stays = f"Its bits: `{fields}`."
    if kept == exact:
        return f"{_said(exact)} is one of {name}'s numbers: nothing is lost. {stays}"
    towards = np.inf if exact > kept else -np.inf
    kind = form.dtype.type
    other = float(np.nextafter(kind(kept), kind(towards)))
    low, high = sorted((kept, other))
    where = "nearer to"
    if exact - low == high - exact:
        where = "half-way, and ties go to the even one,"
    return (
        f"{_said(exact)} lies between two of {name}'s numbers, {_said(low)} and {_said(high)}: "
        f"{where} {_said(kept)}. {stays}"
    )


def _said(number: float) -> str:
    return f"{number:.9g}".replace("-", "−")
