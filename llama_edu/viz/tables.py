"""Tables with named axes: the shapes of a trace, and small matrices for reckoning by hand.

Each comes as HTML with coloured axis chips and as aligned plain text. Numbers are rounded to a
stated count of digits, so the same data gives the same table on every machine.
"""

from collections.abc import Collection, Iterable, Sequence
from fnmatch import fnmatchcase

import numpy as np

from llama_edu.errors import InputError
from llama_edu.trace import Record
from llama_edu.viz.axes import AXES, chip
from llama_edu.viz.html import Html, escape

__all__ = ["shape_table", "tensor_table"]

_RULE = "1px solid color-mix(in srgb,currentColor 18%,transparent)"
_MARK = "background:color-mix(in srgb,#f5a524 35%,transparent)"
MAX_CELLS = 1024  # a matrix to read, not to scroll through


def shape_table(
    trace: Iterable[Record], names: Sequence[str] | None = None, *, step: int | None = None
) -> Html:
    """Name, axes, shape, dtype, bytes and memory of the recorded arrays, in order.

    `trace` is a `Trace` or any records. `names` keeps those that match one of its patterns
    (`layers.0.self_attn.*`), `step` those of one forward pass. "view" in the last column means
    that the engine made no copy. Raises `InputError` if a pattern matches nothing.
    """
    records = [record for record in trace if step is None or record.step == step]
    for pattern in names or ():
        if not any(fnmatchcase(record.name, pattern) for record in records):
            raise InputError(f"expected a recorded name, got {pattern!r}, which matches none")
    if names is not None:
        records = [r for r in records if any(fnmatchcase(r.name, name) for name in names)]
    if not records:
        raise InputError("expected at least one record, got an empty trace")
    several = len({record.step for record in records}) > 1
    head = ["name", "axes", "shape", "dtype", "bytes", "memory"]
    rows = [_shape_row(record) for record in records]
    axes = ["&ensp;".join(map(chip, record.axes)) for record in records]
    if several:
        head.insert(0, "step")
        rows = [[str(r.step), *row] for r, row in zip(records, rows, strict=True)]
    body = []
    for row, chips in zip(rows, axes, strict=True):
        cells = [_td(text) for text in row]
        cells[head.index("name")] = _td(f"<code>{row[head.index('name')]}</code>")
        cells[head.index("axes")] = _td(chips)
        cells[head.index("bytes")] = _td(row[head.index("bytes")], align="right")
        body.append(f"<tr>{''.join(cells)}</tr>")
    titles = "".join(
        _th(title, align="right" if title == "bytes" else "left", scope="col") for title in head
    )
    return Html(_table(f"<tr>{titles}</tr>", body), _aligned([head, *rows], right={"bytes"}))


def _shape_row(record: Record) -> list[str]:
    shape = f"({', '.join(map(str, record.shape))}{',' if len(record.shape) == 1 else ''})"
    memory = "view" if record.is_view else "own"
    axes = ", ".join(record.axes)
    return [record.name, axes, shape, str(record.dtype), f"{record.nbytes:,}", memory]


def tensor_table(
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
    corner = _th(f"{row_name}&nbsp;↓ &ensp;{col_name}&nbsp;→", scope="col")
    titles = "".join(_th(escape(label), align="right", scope="col") for label in heads[1])
    body = []
    for i, (label, row) in enumerate(zip(heads[0], texts, strict=True)):
        cells = (
            _td(escape(text), align="right", style=_MARK if (i, j) in marked else "")
            for j, text in enumerate(row)
        )
        body.append(f"<tr>{_th(escape(label), scope='row')}{''.join(cells)}</tr>")
    return _table(f"<tr>{corner}{titles}</tr>", body, caption)


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
    lines = _aligned([head, *rows], right=set(head[1:]))
    return f"{caption}\n{lines}" if caption else lines


def _aligned(rows: list[list[str]], right: set[str]) -> str:
    """Columns padded to one width; the first row holds titles, those in `right` end flush."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    ends = [title in right for title in rows[0]]
    lines = []
    for row in rows:
        cells = (
            cell.rjust(width) if end else cell.ljust(width)
            for cell, width, end in zip(row, widths, ends, strict=True)
        )
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


def _table(head: str, body: Iterable[str], caption: str = "") -> str:
    note = f'<caption style="caption-side:top;color:inherit">{escape(caption)}</caption>'
    return (
        '<div class="llama-table" style="overflow-x:auto;margin:.6em 0">'
        '<table style="border-collapse:collapse;margin:0 auto;color:inherit;background:none;'
        'font-size:.92em;font-variant-numeric:tabular-nums">'
        f"{note if caption else ''}<thead>{head}</thead>"
        f"<tbody>{''.join(body)}</tbody></table></div>"
    )


def _th(content: str, *, align: str = "left", scope: str = "col") -> str:
    return f'<th scope="{scope}" style="{_cell(align)};font-weight:600">{content}</th>'


def _td(content: str, *, align: str = "left", style: str = "") -> str:
    return f'<td style="{_cell(align)};{style}">{content}</td>'


def _cell(align: str) -> str:
    return (
        f"padding:.25em .6em;border:0;border-bottom:{_RULE};text-align:{align};white-space:nowrap"
    )
