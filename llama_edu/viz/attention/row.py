"""One row of attention as bars of HTML: where one token looks, in per cent."""

from collections.abc import Sequence

import numpy as np

from llama_edu.errors import InputError
from llama_edu.viz.parts.axes import PARTS
from llama_edu.viz.parts.html import Html, escape
from llama_edu.viz.parts.labels import token_label

__all__ = ["attention_row"]

SUM_TOLERANCE = 1e-3


def attention_row(
    rows: np.ndarray | Sequence[np.ndarray],
    tokens: Sequence[str | bytes],
    *,
    titles: Sequence[str] = ("",),
    caption: str = "",
) -> Html:
    """Where a token looks, as one bar for each token; several rows stand side by side.

    `rows` is `(total_seq,)` or `(n_rows, total_seq)`: attention weights, each row summing to 1;
    `titles` names the rows. Raises `InputError` for rows that do not sum to 1, and for labels or
    titles that do not fit.
    """
    shares = np.atleast_2d(np.asarray(rows, dtype=np.float32))
    if shares.ndim != 2 or shares.shape[1] != len(tokens) or len(titles) != len(shares):
        raise InputError(
            f"expected rows of {len(tokens)} shares and a title for each, got {shares.shape} "
            f"and {len(titles)} titles"
        )
    sums = shares.sum(axis=-1)
    if not np.allclose(sums, 1, atol=SUM_TOLERANCE):
        raise InputError(f"expected rows that sum to 1, got {sums.round(3).tolist()}")
    labels = [token_label(token) for token in tokens]
    light, dark = PARTS["attention"]
    bar = f"background:light-dark({light},{dark});height:.8em;border-radius:2px;min-width:1px"
    blocks, lines = [], []
    for title, row in zip(titles, shares.tolist(), strict=True):
        body = "".join(
            f'<tr><th scope="row" style="text-align:right;font-weight:400;padding:.08em .6em;'
            f'white-space:nowrap;border:0;background:none">{escape(label)}</th>'
            f'<td style="width:100%;padding:.08em 0;border:0;background:none">'
            f'<div style="{bar};width:{100 * share:.1f}%"></div></td>'
            f'<td style="text-align:right;padding:.08em .4em;border:0;background:none;'
            f'font-variant-numeric:tabular-nums">{_percent(share)}</td></tr>'
            for label, share in zip(labels, row, strict=True)
        )
        head = f"<caption>{escape(title)}</caption>" if title else ""
        blocks.append(
            '<table style="border-collapse:collapse;flex:1 1 15em;margin:0;color:inherit;'
            f'background:none;font-size:.92em">{head}<tbody>{body}</tbody></table>'
        )
        said = ", ".join(f"{a} {_percent(b)}" for a, b in zip(labels, row, strict=True))
        lines.append(f"{title}: {said}" if title else said)
    note = f"<figcaption>{escape(caption)}</figcaption>" if caption else ""
    html = (
        '<figure class="llama-figure llama-rows" style="margin:1em auto;max-width:44em">'
        f'<div style="display:flex;flex-wrap:wrap;gap:1em">{"".join(blocks)}</div>{note}</figure>'
    )
    return Html(html, "\n".join(lines + ([caption] if caption else [])))


def _percent(share: float) -> str:
    whole = round(100 * share)
    return "<1%" if whole == 0 and share > 0 else f"{whole}%"
