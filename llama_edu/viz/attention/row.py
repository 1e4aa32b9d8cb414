"""One row of attention as bars of HTML: where one token looks, in per cent."""

from collections.abc import Sequence

import numpy as np

from llama_edu.errors import InputError
from llama_edu.viz.parts.axes import PARTS
from llama_edu.viz.parts.bars import bar_blocks
from llama_edu.viz.parts.html import Html
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
    return bar_blocks(shares.tolist(), [labels] * len(shares), titles, PARTS["attention"], caption)
