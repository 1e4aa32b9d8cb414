"""Small matrices for reckoning by hand, with their axes named.

Numbers are rounded to a stated count of digits, so the same data gives the same table on every
machine.
"""

from collections.abc import Collection, Sequence

import numpy as np

from llama_edu.errors import InputError
from llama_edu.viz.parts.axes import AXES, chip
from llama_edu.viz.parts.html import Html, aligned, escape, table, td, th

__all__ = ["tensor_table"]

_MARK = "background:color-mix(in srgb,#f5a524 35%,transparent)"
MAX_CELLS = 1024  # a matrix to read, not to scroll through


def tensor_table(  # noqa: PLR0913, options by keyword
    values: np.ndarray | Sequence[object],
    rows: str,
    cols: str,
    *,
    round: int = 2,
    row_labels: Sequence[str] | None = None,
    col_labels: Sequence[str] | None = None,
    highlight: Collection[tuple[int, int]] = (),
    caption: str = "",
) -> Html:
    """A small matrix with its two axes named, counted from 0, some entries marked.

    `rows` and `cols` get their chip if they are axes of the vocabulary; other words stay words.
    Floats are rounded to `round` decimals. One-dimensional values make one row. Raises
    `InputError` for more dimensions, for more than 1,024 entries, and for labels or marks that
    do not fit.
    """
    matrix = np.atleast_2d(np.asarray(values))
    if matrix.ndim != 2 or not 0 < matrix.size <= MAX_CELLS:
        raise InputError(f"expected a matrix of 1 to {MAX_CELLS} entries, got {matrix.shape}")
    heads = [
        _labels(row_labels, matrix.shape[0], rows),
        _labels(col_labels, matrix.shape[1], cols),
    ]
    marked = set(highlight)
    outside = [m for m in marked if not (0 <= m[0] < len(heads[0]) and 0 <= m[1] < len(heads[1]))]
    if outside:
        raise InputError(f"expected marks inside {matrix.shape}, got {sorted(outside)}")
    texts = [[_number(value, round) for value in row] for row in matrix.tolist()]
    return Html(
        _matrix_html(texts, heads, (rows, cols), marked, caption),
        _matrix_text(texts, heads, (rows, cols), marked, caption),
    )


def _labels(labels: Sequence[str] | None, count: int, name: str) -> list[str]:
    if labels is None:
        return [str(index) for index in range(count)]
    if len(labels) != count:
        raise InputError(f"expected {count} labels for {name}, got {len(labels)}")
    return list(labels)


def _number(value: object, digits: int) -> str:
    if isinstance(value, float):
        if not np.isfinite(value):
            return "nan" if np.isnan(value) else ("∞" if value > 0 else "−∞")
        # Adding 0.0 turns the −0.00 of a tiny negative number into 0.00.
        return f"{np.round(value, digits) + 0.0:.{digits}f}".replace("-", "−")
    return str(value).replace("-", "−") if isinstance(value, int) else str(value)


def _matrix_html(
    texts: list[list[str]],
    heads: list[list[str]],
    names: tuple[str, str],
    marked: set[tuple[int, int]],
    caption: str,
) -> str:
    row_name, col_name = (chip(name) if name in AXES else escape(name) for name in names)
    corner = th(
        f'<span style="line-height:1.7">{col_name}&nbsp;→<br>{row_name}&nbsp;↓</span>', scope="col"
    )
    titles = "".join(th(escape(label), align="right", scope="col") for label in heads[1])
    body = []
    for i, (label, row) in enumerate(zip(heads[0], texts, strict=True)):
        cells = (
            td(escape(text), align="right", style=_MARK if (i, j) in marked else "")
            for j, text in enumerate(row)
        )
        body.append(f"<tr>{th(escape(label), scope='row')}{''.join(cells)}</tr>")
    return table(f"<tr>{corner}{titles}</tr>", body, caption)


def _matrix_text(
    texts: list[list[str]],
    heads: list[list[str]],
    names: tuple[str, str],
    marked: set[tuple[int, int]],
    caption: str,
) -> str:
    head = [f"{names[0]} ↓ {names[1]} →", *heads[1]]
    rows = [
        [label, *(f"[{text}]" if (i, j) in marked else text for j, text in enumerate(row))]
        for i, (label, row) in enumerate(zip(heads[0], texts, strict=True))
    ]
    lines = aligned([head, *rows], right=set(head[1:]))
    return f"{caption}\n{lines}" if caption else lines
