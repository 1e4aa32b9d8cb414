"""Attention as maps by KV group: the weights of one layer, or its scores.

Rows are queries (who looks), columns are keys (looked at). A weight in the future of its query is
hatched: it is masked, which is not the same as a weight near 0. Rows of generated tokens stand
below a heavy line, with bold labels.
"""

from collections.abc import Sequence

import numpy as np

from llama_edu.engine.trace import Trace
from llama_edu.errors import InputError
from llama_edu.viz.parts.axes import SCORES_MAP, WEIGHTS_MAP
from llama_edu.viz.parts.figure import Picture, picture
from llama_edu.viz.parts.heatmap import (
    WEIGHTS_NORM,
    percent,
    scores_key,
    scores_norm,
    signed,
    weights_key,
)
from llama_edu.viz.parts.labels import checked_labels
from llama_edu.viz.parts.maps import Ink, Maps

__all__ = ["attention_maps", "score_maps", "stacked", "weights_of"]


def weights_of(trace: Trace, layer: int) -> list[np.ndarray]:
    """The attention weights of one layer, one array per forward pass of the trace.

    Each is `(n_kv_heads, n_groups, seq, total_seq)`. Raises `InputError` if a pass lacks them.
    """
    name = f"layers.{layer}.self_attn.weights"
    if not trace.steps or any(name not in step for step in trace.steps):
        raise InputError(f"expected {name} in every forward pass of the trace, got none")
    return [step[name].array for step in trace.steps]


def stacked(weights: np.ndarray | Sequence[np.ndarray]) -> tuple[np.ndarray, int]:
    """Weights of consecutive calls as one array, and the count of rows the first call made.

    Keys that a call could not know yet get weight 0, as the mask gives it. Raises `InputError`
    unless each call continues where the one before ended.
    """
    calls = [weights] if isinstance(weights, np.ndarray) else list(weights)
    shapes = [np.shape(call) for call in calls]
    if not shapes or any(len(shape) != 4 or 0 in shape for shape in shapes):
        raise InputError(
            f"expected arrays of shape (n_kv_heads, n_groups, seq, total_seq), got {shapes}"
        )
    known = shapes[0][3] - shapes[0][2]
    total_seq = shapes[-1][3]
    rows = []
    for call, shape in zip(calls, shapes, strict=True):
        if shape[:2] != shapes[0][:2] or shape[3] - shape[2] != known or known < 0:
            raise InputError(f"expected an array with {known} past positions, got shape {shape}")
        known = shape[3]
        rows.append(np.pad(call, [(0, 0), (0, 0), (0, 0), (0, total_seq - known)]))
    return np.concatenate(rows, axis=2).astype(np.float32), shapes[0][2]


@picture
def attention_maps(
    weights: np.ndarray | Sequence[np.ndarray],
    tokens: Sequence[str | bytes],
    *,
    prompt: int | None = None,
    layer: int | None = None,
    framed: int | None = None,
    only: int | None = None,
) -> Picture:
    """Maps of one layer's weights, laid out by KV group (rows) and query head (columns).

    `weights` is `(n_kv_heads, n_groups, seq, total_seq)`, or a list of those from consecutive
    calls: prefill, then decode steps. `tokens` are the `total_seq` tokens looked at. Rows from
    position `prompt` on count as generated; by default, those after the first call, or those of
    a single array that has a past. `layer` is only for the words. `framed` is a position whose row
    gets a frame in each map. `only` is the one query head to draw. Raises `InputError` for other
    shapes, calls that do not follow each other, labels that do not fit, a framed position without
    a row, or a head that is not there.
    """
    rows, first_call = stacked(weights)
    n_heads, (seq, total_seq) = rows.shape[0] * rows.shape[1], rows.shape[2:]
    labels = checked_labels(tokens, total_seq, "position")
    past = total_seq - seq
    if framed is not None and not past <= framed < total_seq:
        raise InputError(f"expected a row from {past} to {total_seq - 1} to frame, got {framed}")
    if only is not None and not 0 <= only < n_heads:
        raise InputError(f"expected a query head from 0 to {n_heads - 1} to draw, got {only}")
    if prompt is None:
        is_one_step = past > 0 and first_call == seq
        prompt = past if is_one_step else past + first_call
    ink = Ink(WEIGHTS_MAP, WEIGHTS_NORM, lambda weight: f"{100 * weight:.0f}", 0.27, True)
    maps = Maps(rows, labels, prompt, ink, framed, only)
    where = "Attention weights" if layer is None else f"Attention weights of layer {layer}"
    if only is not None:
        return _one_head(maps, where, only)
    alt = f"{where}: {_shape_words(rows.shape)}. {_strongest(maps)} {_generated(maps)}"
    if framed is not None:
        alt += f" Framed in each map: the row of “{labels[framed]}”."
    return Picture(maps.draw(weights_key), alt=alt, caption=_caption(maps, where))


def _one_head(maps: Maps, where: str, only: int) -> Picture:
    """The map of one query head, and in words what its framed row, or its last, looks at."""
    _, n_groups, seq, total_seq = maps.rows.shape
    row = seq - 1 if maps.framed is None else maps.framed - maps.past
    shares = maps.rows[divmod(only, n_groups)][row]
    most = int(np.argmax(shares))
    asks = maps.labels[maps.past + row]
    place = "the row with a frame" if maps.framed is not None else "the last row"
    alt = (
        f"{where}, query head {only}: {seq} × {total_seq} (seq × total_seq). In {place}, “{asks}” "
        f"gives most to “{maps.labels[most]}”: {percent(shares[most])}."
    )
    caption = f"{where}, query head {only}." + (
        " Hatched: the future, which no query may see." if seq > 1 else ""
    )
    return Picture(maps.draw(weights_key), alt=alt, caption=caption)


@picture
def score_maps(
    scores: np.ndarray, tokens: Sequence[str | bytes], *, layer: int | None = None
) -> Picture:
    """Maps of one layer's scores, before or after the mask; −∞ is hatched.

    `scores` is `(n_kv_heads, n_groups, seq, total_seq)`. Raises `InputError` for other shapes,
    for NaN or +∞, and for labels that do not fit.
    """
    rows, _ = stacked(scores)
    labels = checked_labels(tokens, rows.shape[3], "position")
    finite = np.isfinite(rows)
    if np.any(~finite & ~np.isneginf(rows)):
        raise InputError("expected scores that are numbers or −∞, got NaN or +∞")
    norm = scores_norm(rows)
    ink = Ink(SCORES_MAP, norm, lambda score: signed(score, 1), 0.34, not finite.all())
    where = "Scores" if layer is None else f"Scores of layer {layer}"
    high, low = (
        np.unravel_index(int(at), rows.shape)
        for at in (
            np.argmax(np.where(finite, rows, -np.inf)),
            np.argmin(np.where(finite, rows, np.inf)),
        )
    )
    maps = Maps(rows, labels, rows.shape[3], ink)
    alt = (
        f"{where}: {_shape_words(rows.shape)}. Highest {signed(rows[high])}: "
        f"{_place(maps, high)}. Lowest {signed(rows[low])}: {_place(maps, low)}."
    )
    caption = f"{where}, one map per query head: orange above 0, blue below."
    return Picture(
        maps.draw(lambda figure, x, y, width: scores_key(figure, x, y, width, norm)),
        alt=alt,
        caption=caption,
    )


def _shape_words(shape: tuple[int, ...]) -> str:
    n_kv_heads, n_groups, seq, total_seq = shape
    return (
        f"{n_kv_heads} KV groups × {n_groups} query heads, "
        f"each {seq} × {total_seq} (seq × total_seq)"
    )


def _caption(maps: Maps, where: str) -> str:
    n_kv_heads, n_groups, seq, total_seq = maps.rows.shape
    words = f"{where}, {n_kv_heads} KV groups × {n_groups} query heads."
    if maps.prompt <= maps.past:
        words += " One row per token the model wrote itself."
    elif maps.prompt < total_seq:
        words += " Below the heavy line: tokens the model wrote itself, one row per decode step."
    return words + (" Hatched: the future, which no query may see." if seq > 1 else "")


def _place(maps: Maps, at: tuple[np.intp, ...]) -> str:
    k, g, i, j = map(int, at)
    head = k * maps.rows.shape[1] + g
    query, key = maps.labels[maps.past + i], maps.labels[j]
    return f"KV group {k}, query head {head}, query “{query}”, key “{key}”"


def _strongest(maps: Maps) -> str:
    """What a reader of the maps would notice first, from the numbers."""
    # The first token of all can only look at itself; that says nothing.
    start = 1 if maps.past == 0 and maps.seq > 1 else 0
    seen = maps.rows.copy()
    seen[:, :, :start] = 0
    at = np.unravel_index(int(np.argmax(seen)), seen.shape)
    words = [f"Strongest: {percent(seen[at])}, {_place(maps, at)}."]
    if at[3] == 0 and maps.rows.shape[3] > 1:
        seen[..., 0] = 0
        at = np.unravel_index(int(np.argmax(seen)), seen.shape)
        words.append(f"Away from the first token: {percent(seen[at])}, {_place(maps, at)}.")
    sink = maps.rows[:, :, start:, 0].mean(axis=-1)
    k, g = map(int, np.unravel_index(int(np.argmax(sink)), sink.shape))
    words.append(
        f"On average, query head {k * sink.shape[1] + g} (KV group {k}) gives most to the first "
        f"token: {percent(sink[k, g])}."
    )
    return " ".join(words)


def _generated(maps: Maps) -> str:
    end = maps.past + maps.seq
    first = max(maps.prompt, maps.past)
    if first >= end:
        return ""
    if first == end - 1:
        return f"The row of position {first} belongs to a generated token."
    return f"The rows of positions {first} to {end - 1} belong to generated tokens."
