"""A walk through the matrix product of a linear layer, C = α A Bᵀ + β C."""

from collections.abc import Sequence

import numpy as np

from llama_edu.errors import InputError
from llama_edu.ops.linear import matmul_transb
from llama_edu.viz.parts.html import Html
from llama_edu.viz.parts.labels import checked_labels
from llama_edu.viz.parts.listing import Watched, watch
from llama_edu.viz.parts.stepper import Link, Matrix, Operand, Side, Step, quoted, stepper

__all__ = ["step_matmul"]

ROWS, COLUMNS, SUMMED, NARROW = 9, 8, 6, 4  # entries in view; the last: on a phone


def step_matmul(  # noqa: PLR0913, options by keyword
    a: np.ndarray,
    b: np.ndarray,
    c: np.ndarray | None = None,
    *,
    alpha: float = 1.0,
    beta: float = 0.0,
    axes: tuple[str, str, str] = ("seq", "hidden_size", "n_heads*head_dim"),
    row_labels: Sequence[str | bytes] | None = None,
) -> Html:
    """Walk through C = α A Bᵀ + β C, for `a` (m, k), `b` (n, k) and, if β is not 0, `c` (m, n).

    With the defaults this is y = x Wᵀ. `axes` names m, k and n by axes of the vocabulary or any
    words; `row_labels` names the rows of `a`. Whole numbers are taken as float32. Pointing at an
    entry of the product lights the row of A and the column of Bᵀ (the row of B) it came from. The
    numbers are those of `llama_edu.ops.linear.matmul_transb`, run line by line. Raises `InputError`
    for shapes that do not fit each other, and for labels that do not fit.
    """
    given = [np.asarray(array, dtype=np.float32) for array in (a, b)]
    old = None if c is None else np.asarray(c, dtype=np.float32)
    _check(given[0], given[1], old, beta)
    run = watch(matmul_transb, given[0], given[1], old, alpha=alpha, beta=beta)
    sides = _sides(given[0], given[1], axes, row_labels)
    rows, summed, columns = axes
    operands = (
        Operand("a", (rows, summed), given[0].shape),
        Operand("b", (columns, summed), given[1].shape),
    )
    result = Operand("product", (rows, columns), run.result.shape)
    steps = [
        *_product(run, operands, result, sides),
        *_factors(run, result, Operand("c", result.axes, result.shape), alpha, beta),
    ]
    matrices = _matrices(run, given[0], given[1], old, sides)
    formula = "C = A Bᵀ" if alpha == 1 and beta == 0 else f"C = {alpha:g} A Bᵀ + {beta:g} C"
    return stepper(f"{formula}, number by number", steps, matrices)


def _check(a: np.ndarray, b: np.ndarray, c: np.ndarray | None, beta: float) -> None:
    if a.ndim != 2 or b.ndim != 2 or a.shape[1] != b.shape[1] or 0 in (*a.shape, *b.shape):
        raise InputError(f"expected a (m, k) and b (n, k), got {a.shape} and {b.shape}")
    result = (a.shape[0], b.shape[0])
    if beta != 0 and (c is None or c.shape != result):
        got = None if c is None else c.shape
        raise InputError(f"expected c {result}, since beta is {beta}, got {got}")


def _sides(
    a: np.ndarray, b: np.ndarray, axes: tuple[str, str, str], tokens: Sequence[str | bytes] | None
) -> tuple[Side, Side, Side]:
    """Rows of the product, what is summed away, columns of the product."""
    (m, k), n = a.shape, b.shape[0]
    labels = list(map(str, range(m))) if tokens is None else checked_labels(tokens, m, "row")
    return (
        Side(axes[0], labels[:ROWS], m),
        Side(axes[1], list(map(str, range(min(k, SUMMED)))), k, narrow=NARROW),
        Side(axes[2], list(map(str, range(min(n, COLUMNS)))), n, narrow=NARROW),
    )


def _matrices(
    run: Watched,
    a: np.ndarray,
    b: np.ndarray,
    c: np.ndarray | None,
    sides: tuple[Side, Side, Side],
) -> dict[str, Matrix]:
    rows, summed, columns = sides
    product = run.after("np.matmul", "product")
    known = {
        "a": Matrix("A", a[:ROWS, :SUMMED], rows, summed),
        "b": Matrix("Bᵀ", b[:COLUMNS, :SUMMED].T, summed, columns),
        "p": _made(product, sides, product.size),
        "p0": _made(product, sides, 1),
        "p1": _made(product, sides, product.shape[1]),
    }
    shown = product
    if run.ran("product *="):
        shown = run.after("product *=", "product")
        known["s"] = _sequel("α A Bᵀ", shown, "p", sides, "α × {=p} = {value}")
    if c is not None and run.ran("product +="):
        before = "s" if run.ran("product *=") else "p"
        known["old"] = Matrix("C before", c[:ROWS, :COLUMNS], rows, columns)
        known["t"] = _sequel(
            "C", run.result, before, sides, f"{{={before}}} + β × {{=old}} = {{value}}"
        )
    return known


def _made(product: np.ndarray, sides: tuple[Side, Side, Side], count: int) -> Matrix:
    """The product with its first `count` entries, row by row; the others are still to come."""
    links = [Link("a", "row", "row"), Link("b", "col", "col")]
    tell = "row {row} of A · column {col} of Bᵀ: {terms} = {value}"
    missing = "row {row}, column {col}: still to come"
    is_made = np.arange(product.size).reshape(product.shape) < count
    values = np.where(is_made, product, -np.inf)[:ROWS, :COLUMNS]
    return Matrix(
        "A Bᵀ", values, sides[0], sides[2], links=links, tell=tell, absent="", missing=missing
    )


def _sequel(
    name: str, values: np.ndarray, before: str, sides: tuple[Side, Side, Side], tell: str
) -> Matrix:
    """A matrix made entry by entry from the one before, and from C where it comes in."""
    links = [Link(before, "cell", "row"), Link("old", "cell", "row")]
    return Matrix(name, values[:ROWS, :COLUMNS], sides[0], sides[2], links=links, tell=tell)


def _product(
    run: Watched, operands: tuple[Operand, Operand], result: Operand, sides: tuple[Side, Side, Side]
) -> list[Step]:
    """The product, told by three of its numbers, and filled as far as they come."""
    rows, summed, columns = sides
    first = quoted(rows.labels[0])
    says = {
        "one number": (
            ("p0", 0, 0),
            f"Row {first} of A meets row 0 of B, which is column 0 of Bᵀ: {summed.total} products, "
            "added up, make one number of the result. The line makes all numbers in one call; here "
            "they come in turn.",
        ),
        "the next column": (
            ("p1", 0, 1),
            f"The same row of A meets the next row of B. So row {first} of the result is made of "
            f"row {first} of A alone, and of all {columns.total} rows of B.",
        ),
        "the next row": (
            ("p", 1, 0),
            "The next row of A meets row 0 of B again. Every row of B is read for every row of A; "
            f"{rows.total} × {columns.total} numbers are made.",
        ),
    }
    return [
        Step(
            title,
            say,
            run.listing,
            "np.matmul",
            operands,
            [result],
            ["a", "b", at[0]],
            "cross",
            at=at,
        )
        for title, (at, say) in says.items()
        if at[1] < rows.total and at[2] < columns.total
    ]


def _factors(
    run: Watched, result: Operand, given: Operand, alpha: float, beta: float
) -> list[Step]:
    """α and β, if they are there."""
    steps = []
    before = "p"
    if run.ran("product *="):
        say = f"Every number is multiplied by α = {alpha:g}, in place."
        steps.append(
            Step("times α", say, run.listing, "product *=", [result], [result], ["p", "s"])
        )
        before = "s"
    if run.ran("product +="):
        say = f"β × C is added, with β = {beta:g}. With β = 0 the old C would not even be read."
        takes, show = [result, given], [before, "old", "t"]
        steps.append(Step("plus β C", say, run.listing, "product +=", takes, [result], show))
    return steps
