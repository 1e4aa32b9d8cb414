"""The same row of logits at several settings: bars one block below the other, all on one axis."""

from collections.abc import Mapping, Sequence

import numpy as np

from llama_edu.engine.sampling import Sampling, probabilities
from llama_edu.errors import InputError
from llama_edu.viz.parts.axes import PARTS
from llama_edu.viz.parts.bars import bar_blocks
from llama_edu.viz.parts.html import Html
from llama_edu.viz.parts.labels import TokenBytes, shortened
from llama_edu.viz.sampling.step_sampling import ranked_labels

__all__ = ["choices"]


def choices(
    logits: np.ndarray,
    tokenizer: TokenBytes | Sequence[str | bytes],
    settings: Mapping[str, Sampling],
    *,
    top: int = 6,
    caption: str = "",
) -> Html:
    """What the next token is drawn from, `logits` `(vocab_size,)`, once for each of `settings`.

    The `top` likeliest tokens have a bar, and all others one together, if there are any.
    `settings` maps titles to settings. Raises `InputError` without settings, for logits of another
    shape or dtype, and for labels that do not fit.
    """
    if not settings:
        raise InputError("expected at least one setting to show, got none")
    ids, labels = ranked_labels(logits, tokenizer, top)
    names = [shortened(label, 14) for label in labels]
    rest = logits.size - len(ids)
    if rest:
        names.append(f"{rest:,} others")
    rows = []
    for sampling in settings.values():
        p = probabilities(logits, sampling).astype(np.float64)
        shares = p[ids].tolist()
        rows.append([*shares, float(np.delete(p, ids).sum())] if rest else shares)
    titles, blocks = list(settings), [names] * len(rows)
    return bar_blocks(rows, blocks, titles, PARTS["text"], caption, stacked=True)
