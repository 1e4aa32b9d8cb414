"""A walk through mask and softmax: the scores of one query head become shares."""

from collections.abc import Sequence

import numpy as np

from llama_edu.engine.trace import Trace
from llama_edu.errors import InputError
from llama_edu.ops import attention
from llama_edu.viz.parts.html import Html
from llama_edu.viz.parts.listing import watch
from llama_edu.viz.parts.recorded import Pass, recorded_pass
from llama_edu.viz.parts.stepper import Link, Matrix, Operand, Step, quoted, stepper

__all__ = ["step_mask_softmax"]

PLACE = "query {row}, key {col}"
ALL = "n_kv_heads n_groups seq total_seq"


def step_mask_softmax(
    trace: Trace,
    layer: int,
    tokens: Sequence[str | bytes],
    *,
    head: int = 0,
    step: int | None = None,
) -> Html:
    """Walk through mask and softmax for one query head, on the scores of a trace.

    `head` counts the query heads of the layer, from 0; `tokens` and `step` are as in
    `step_scores`. Pointing at a number lights the row or the entry it came from. The numbers are
    those of `causal_mask`, `apply_mask` and `softmax` in `llama_edu.ops.attention`, run line by
    line. Raises `InputError` for a head, layer or pass that is not there, for arrays that are not
    float32, and for labels that do not fit.
    """
    seen = recorded_pass(trace, layer, tokens, step)
    n_heads = seen.n_kv_heads * seen.n_groups
    if not 0 <= head < n_heads:
        raise InputError(f"expected a query head from 0 to {n_heads - 1}, got {head}")
    steps, matrices = _softmax(seen, head)
    if seen.seq > 1:
        first_steps, first_matrices = _mask(seen, head)
        steps, matrices = [*first_steps, *steps], first_matrices | matrices
    return stepper(
        f"Layer {layer}, query head {head}: from scores to attention weights", steps, matrices
    )


def _window(seen: Pass, head: int, array: np.ndarray) -> np.ndarray:
    """The part in view of one head of an array (n_kv_heads, n_groups, seq, total_seq or 1)."""
    keys = seen.keys if array.shape[-1] == seen.total_seq else slice(None)
    return array[divmod(head, seen.n_groups)][seen.rows, keys]


def _mask(seen: Pass, head: int) -> tuple[list[Step], dict[str, Matrix]]:
    """The two steps of the mask. A single new token is not masked, and has none."""
    past = seen.total_seq - seen.seq
    scores = seen.array("self_attn.scores")
    made = watch(attention.causal_mask, seen.seq, past)
    put = watch(attention.apply_mask, scores, made.result)
    matrices = _mask_matrices(seen, head, made.result, put.result)
    hidden = int((~made.result).sum())
    mask = Operand.of("mask", made.result, "seq total_seq")
    before, after = Operand.of("scores", scores, ALL), Operand.of("masked_scores", put.result, ALL)
    steps = [
        Step(
            "draw the staircase",
            f"True where a query may look: at itself and at what came before. With past = {past}, "
            f"row 0 begins {past + 1} wide. {hidden} of {made.result.size} entries are in the "
            "future. One mask serves every head.",
            made.listing,
            "np.tri",
            [Operand(f"seq = {seen.seq}"), Operand(f"past = {past}")],
            [mask],
            ["mask"],
        ),
        Step(
            "hide the future",
            "Where the mask is False, the score gives way to −∞, whatever it was.",
            put.listing,
            "np.where",
            [before, mask],
            [after],
            ["scores", "masked"],
        ),
    ]
    return steps, matrices


def _mask_matrices(
    seen: Pass, head: int, mask: np.ndarray, masked: np.ndarray
) -> dict[str, Matrix]:
    scores = seen.array("self_attn.scores")
    sides = seen.row_side, seen.key_side
    return {
        "scores": Matrix("scores", _window(seen, head, scores), *sides, tell=f"{PLACE}: {{value}}"),
        "mask": Matrix(
            "mask",
            mask[seen.rows, seen.keys],
            *sides,
            kind="bool",
            tell=f"{PLACE}: ✓ may look, ✗ would look into the future",
        ),
        "masked": Matrix(
            "masked scores",
            _window(seen, head, masked),
            *sides,
            links=[Link("scores", "cell", "row"), Link("mask", "cell", "row")],
            tell=f"{PLACE}: {{=scores}} becomes {{value}}",
        ),
    }


def _softmax(seen: Pass, head: int) -> tuple[list[Step], dict[str, Matrix]]:
    """The three steps of the softmax."""
    run = watch(attention.softmax, seen.array("self_attn.masked_scores"))
    lines = {"masked": "", "shifted": "np.subtract", "powers": "np.exp", "weights": "/="}
    arrays = {
        name: run.after(code or "np.subtract", "weights" if code else "x")
        for name, code in lines.items()
    }
    matrices = _softmax_matrices(seen, head, arrays)
    operands = {name: Operand.of(name, array, ALL) for name, array in arrays.items()}
    says = _sentences(seen, head, arrays)
    steps = [
        Step(
            title,
            says[after],
            run.listing,
            lines[after],
            [operands[before]],
            [operands[after]],
            [before, after],
        )
        for title, before, after in (
            ("take off the largest", "masked", "shifted"),
            ("exponentials", "shifted", "powers"),
            ("divide by the sum", "powers", "weights"),
        )
    ]
    return steps, matrices


def _softmax_matrices(seen: Pass, head: int, arrays: dict[str, np.ndarray]) -> dict[str, Matrix]:
    sides = seen.row_side, seen.key_side
    tells = {
        "masked": "{value}",
        "shifted": "{=masked} less the largest of its row = {value}",
        "powers": "e to the {=shifted} = {value}",
        "weights": "{=powers} over the sum of its row = {value}. The row looks most at {shares}.",
    }
    links: dict[str, list[Link]] = {
        "masked": [],
        "shifted": [Link("masked", "row", "row")],
        "powers": [Link("shifted", "cell", "row")],
        "weights": [Link("powers", "row", "row")],
    }
    return {
        name: Matrix(
            "masked scores" if name == "masked" else name,
            _window(seen, head, array),
            *sides,
            kind="share" if name in ("powers", "weights") else "signed",
            links=links[name],
            tell=f"{PLACE}: {tells[name]}",
        )
        for name, array in arrays.items()
    }


def _sentences(seen: Pass, head: int, arrays: dict[str, np.ndarray]) -> dict[str, str]:
    """What each step says, about the last row."""
    at = divmod(head, seen.n_groups)
    masked, powers, weights = (arrays[name][at][-1] for name in ("masked", "powers", "weights"))
    last, best = seen.labels[-1], seen.labels[int(np.argmax(weights))]
    alone = "" if seen.seq > 1 else "A single new token may look at everything: no mask. "
    return {
        "shifted": f"{alone}In every row the largest becomes 0; for {quoted(last)} that is "
        f"{masked.max():.2f}, at {quoted(best)}. Only differences count, and nothing can overflow.",
        "powers": "e to the power of each, in place. The largest of a row gives 1, and −∞ gives "
        f"exactly 0. The row of {quoted(last)} adds up to {powers.sum():.2f}.",
        "weights": "Each row is divided by its sum, and sums to 1: shares. "
        f"{quoted(last)} gives most to {quoted(best)}, {100 * weights.max():.0f}%.",
    }
