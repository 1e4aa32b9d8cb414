"""Steppers: a computation one can walk through, line by line, on real numbers.

A step shows the line of the package that ran, the axes that went in and came out, a window of the
numbers, and one sentence. This module holds the parts and turns them into a page; what is walked
through is told by `step_matmul`, `step_scores` and their siblings. Numbers are rounded here, once,
so that the page, the plain text and the notebook's bytes agree.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from llama_edu.errors import InputError
from llama_edu.viz.parts.axes import AXES, hatched
from llama_edu.viz.parts.embed import interactive
from llama_edu.viz.parts.html import Html, escape
from llama_edu.viz.parts.labels import shortened
from llama_edu.viz.parts.listing import Listing

__all__ = ["Link", "Matrix", "Operand", "Side", "Step", "quoted", "stepper", "window"]

MAX_DIGITS = 3


@dataclass(frozen=True)
class Side:
    """One side of a matrix in view: its axis, the labels of what is shown, and how many there are.

    `groups` names blocks of neighbours, each with its count of entries: the heads of a stack.
    `narrow` is how many entries a phone shows; 0 for all.
    """

    axis: str
    labels: Sequence[str]
    total: int
    groups: Sequence[tuple[str, int]] = ()
    narrow: int = 0

    def data(self) -> dict[str, Any]:
        """For the page."""
        labels = [shortened(label) for label in self.labels]
        groups = [list(group) for group in self.groups]
        return {
            "axis": self.axis,
            "labels": labels,
            "total": self.total,
            "groups": groups,
            "narrow": self.narrow,
        }


@dataclass(frozen=True)
class Link:
    """What lights up in matrix `to` when an entry is pointed at.

    `part` is "row", "col" or "cell"; `by` says which of the entry's indices counts there. With
    "shares", every row of `to` lights up as strongly as the entry's row says.
    """

    to: str
    part: str
    by: str = ""


@dataclass(frozen=True)
class Matrix:
    """A window of an array, named, with what its entries say when they are pointed at.

    `kind` chooses the shading: "signed", "share", "bool" or "rank" (none). `absent` is how −∞ is
    written, and `missing` what such an entry says in place of `tell`. In both, `{row}`, `{col}`,
    `{group}`, `{value}`, `{shares}` (the row's largest) and `{terms}` (the products of the first
    two links, and what those out of view come to) are filled in by the page, and `{=key}` with
    the same entry of another matrix.
    """

    name: str
    values: np.ndarray
    rows: Side
    cols: Side
    kind: str = "signed"
    links: Sequence[Link] = ()
    tell: str = "{row}, {col}: {value}"
    absent: str = "−∞"
    missing: str = ""

    def data(self, sides: list[dict[str, Any]]) -> dict[str, Any]:
        """For the page: whole numbers that stand for decimals, −∞ as null, sides by their place.

        Raises `InputError` for values of another shape than the sides have labels, NaN and +∞.
        """
        values = np.asarray(self.values)
        if values.shape != (len(self.rows.labels), len(self.cols.labels)):
            raise InputError(
                f"expected {len(self.rows.labels)} × {len(self.cols.labels)} entries of "
                f"{self.name}, got {values.shape}"
            )
        if np.isnan(values).any() or np.isposinf(values).any():
            raise InputError(f"expected numbers or −∞ in {self.name}, got NaN or +∞")
        is_whole = np.array_equal(values, np.trunc(values))
        digits = 0 if is_whole else MAX_DIGITS
        entries = [
            [None if x == -np.inf else round(x * 10**digits) for x in row]
            for row in values.astype(np.float64).tolist()
        ]
        links = [[link.to, link.part, link.by] for link in self.links]
        return {
            "name": self.name,
            "rows": _place(self.rows.data(), sides),
            "cols": _place(self.cols.data(), sides),
            "digits": digits,
            "values": entries,
            "kind": self.kind,
            "links": links,
            "tell": self.tell,
            "absent": self.absent,
            **({"missing": self.missing} if self.missing else {}),
        }


@dataclass(frozen=True)
class Operand:
    """What goes into a step or comes out of it: an array's name, axes and sizes, or a setting."""

    name: str
    axes: Sequence[str] = ()
    shape: Sequence[int] = ()

    @classmethod
    def of(cls, name: str, array: np.ndarray, axes: str) -> "Operand":
        """Of an array whose axes are named in one string, as the trace names them.

        Raises `InputError` if the array has more axes or fewer.
        """
        names = axes.split()
        if len(names) != array.ndim:
            raise InputError(f"expected {len(names)} axes ({axes}) of {name}, got {array.shape}")
        return cls(name, names, array.shape)

    @property
    def text(self) -> str:
        """As in `scores (n_kv_heads 4, seq 9)`."""
        sizes = [f"{axis} {size}" for axis, size in zip(self.axes, self.shape, strict=True)]
        return f"{self.name} ({', '.join(sizes)})" if sizes else self.name

    def data(self) -> list[Any]:
        """For the page."""
        return [self.name, [list(pair) for pair in zip(self.axes, self.shape, strict=True)]]


@dataclass(frozen=True)
class Step:
    """One step: the lines that ran, what went in and out, the numbers in view, and a sentence.

    `code` is found in `listing`; `show` names matrices. `layout` is "row" (side by side),
    "columns" (of one table), "cross" (a product: left operand, upper operand, result where they
    meet) or "grid" (rows of small maps, each one group of a matrix: `s0#1` is group 1 of `s0`).
    `at` is the entry pointed at when the step opens: a matrix, a row and a column.
    """

    title: str
    say: str
    listing: Listing
    code: str
    takes: Sequence[Operand]
    gives: Sequence[Operand]
    show: Sequence[str | Sequence[str]]
    layout: str = "row"
    at: tuple[str, int, int] | None = None
    line: int = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "line", self.listing.find(self.code))

    @property
    def place(self) -> str:
        """The function and the line that runs, as in `softmax: np.exp(weights, out=weights)`."""
        text = dict(self.listing.lines)[self.line].partition("  #")[0].strip()
        return f"{self.listing.title.rpartition(', ')[2]}: {text}"


def quoted(label: str) -> str:
    """A token's label inside a sentence; the page takes backticks for code."""
    return f"“{label.replace('`', 'ˋ')}”"


def window(labels: Sequence[str], limit: int) -> tuple[slice, list[str]]:
    """The last `limit` entries of an axis and their labels: the newest tokens matter most."""
    first = max(0, len(labels) - limit)
    return slice(first, None), list(labels[first:])


def stepper(title: str, steps: Sequence[Step], matrices: Mapping[str, Matrix]) -> Html:
    """The page of a walk. Raises `InputError` for a matrix that is shown but not there."""
    for step in steps:
        missing = [name for name in _flat(step.show) if name.split("#")[0] not in matrices]
        if missing:
            raise InputError(f"expected one of {', '.join(matrices)} to show, got {missing[0]!r}")
    sides: list[dict[str, Any]] = []
    listings = list(dict.fromkeys(step.listing for step in steps))
    data = {
        "title": title,
        "listings": [
            {"title": listing.title, "lines": [list(line) for line in listing.lines]}
            for listing in listings
        ],
        "steps": [_step_data(step, listings.index(step.listing)) for step in steps],
        "matrices": {name: matrix.data(sides) for name, matrix in matrices.items()},
        "sides": sides,
    }
    text = "\n".join([title, *(_step_text(number, step) for number, step in enumerate(steps, 1))])
    style = _axis_style(steps, matrices)
    return interactive("stepper", title, data, _plain(title, steps), text, style)


def _step_data(step: Step, listing: int) -> dict[str, Any]:
    return {
        "title": step.title,
        "say": step.say,
        "listing": listing,
        "line": step.line,
        "in": [operand.data() for operand in step.takes],
        "out": [operand.data() for operand in step.gives],
        "show": step.show,
        "layout": step.layout,
        "at": step.at,
    }


def _step_text(number: int, step: Step) -> str:
    flow = f"{_operands(step.takes)} → {_operands(step.gives)}"
    return f"{number}. {step.title} [{step.place}]: {flow}. {step.say}"


def _plain(title: str, steps: Sequence[Step]) -> str:
    """What is left where scripts are stripped, and on paper: a numbered table of the steps."""
    rows = []
    for number, step in enumerate(steps, 1):
        takes, gives = (escape(_operands(part)) for part in (step.takes, step.gives))
        what = f"<b>{escape(step.title)}.</b> {escape(step.say.replace('`', ''))}"
        code = f"<code>{escape(step.place)}</code>"
        cells = f"<td>{what}</td><td>{takes} → {gives}</td><td>{code}</td>"
        rows.append(f"<tr><th>{number}</th>{cells}</tr>")
    heads = "".join(f"<th>{name}</th>" for name in ("step", "what happens", "in → out", "code"))
    return (
        f"<table><caption>{escape(title)}</caption><thead><tr>{heads}</tr></thead>"
        f"<tbody>{''.join(rows)}</tbody></table>"
    )


def _operands(operands: Sequence[Operand]) -> str:
    return ", ".join(operand.text for operand in operands)


def _axis_style(steps: Sequence[Step], matrices: Mapping[str, Matrix]) -> str:
    """Colour and pattern of every axis that appears, as custom properties of the figure."""
    names = [axis for step in steps for o in (*step.takes, *step.gives) for axis in o.axes]
    names += [side.axis for matrix in matrices.values() for side in (matrix.rows, matrix.cols)]
    parts = dict.fromkeys(part for name in names for part in name.split("*") if part in AXES)
    return "".join(
        f"--ll-{name}:light-dark({AXES[name].color},{AXES[name].dark});"
        f"--ll-{name}-hatch:{hatched(name)};--ll-{name}-letter:'{AXES[name].letter}';"
        for name in parts
    )


def _place(side: dict[str, Any], sides: list[dict[str, Any]]) -> int:
    """Where a side stands in the list, which gets it if it is new: labels are written once."""
    if side not in sides:
        sides.append(side)
    return sides.index(side)


def _flat(show: Sequence[str | Sequence[str]]) -> list[str]:
    return [name for item in show for name in ([item] if isinstance(item, str) else item)]
