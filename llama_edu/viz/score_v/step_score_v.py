"""A walk through Score@V: every query mixes the value rows of its KV group by its weights."""

from collections.abc import Sequence

import numpy as np

from llama_edu.engine.trace import Trace
from llama_edu.errors import InputError
from llama_edu.ops import attention
from llama_edu.viz.parts.html import Html
from llama_edu.viz.parts.listing import Watched, watch
from llama_edu.viz.parts.recorded import NARROW, Pass, recorded_pass
from llama_edu.viz.parts.stepper import Link, Matrix, Operand, Side, Step, quoted, stepper

__all__ = ["step_score_v"]

WEIGHTS_AXES = "n_kv_heads n_groups seq total_seq"
STACKED_AXES = "n_kv_heads n_groups*seq total_seq"
V_AXES = "n_kv_heads total_seq head_dim"
MIXED_AXES = "n_kv_heads n_groups seq head_dim"


def step_score_v(
    trace: Trace,
    layer: int,
    tokens: Sequence[str | bytes],
    *,
    kv_head: int = 0,
    step: int | None = None,
) -> Html:
    """Walk through Score@V for one KV group, and back to one row per token.

    `tokens` and `step` are as in `step_scores`. Pointing at a row of weights lights the rows of V
    it mixes, each as strongly as its share. The numbers are those of `score_v` and `merge_heads`
    in `llama_edu.ops.attention`, run line by line. Raises `InputError` for a KV head, layer or pass
    that is not there, for arrays that are not float32, and for labels that do not fit.
    """
    seen = recorded_pass(trace, layer, tokens, step)
    if not 0 <= kv_head < seen.n_kv_heads:
        raise InputError(f"expected a KV head from 0 to {seen.n_kv_heads - 1}, got {kv_head}")
    weights, values = seen.array("self_attn.weights"), seen.array("self_attn.values")
    run = watch(attention.score_v, weights, values)
    merge = watch(attention.merge_heads, run.result)
    steps = [
        *_mixing(run, weights, values, kv_head, seen),
        _merging(merge, run.result, kv_head, seen),
    ]
    matrices = _matrices(run, values, merge.result, kv_head, seen)
    return stepper(f"Score@V of layer {layer}, KV group {kv_head}", steps, matrices)


def _matrices(
    run: Watched, values: np.ndarray, merged: np.ndarray, kv_head: int, seen: Pass
) -> dict[str, Matrix]:
    rows = seen.stacked_side(kv_head)
    weights = run.after("stacked =", "stacked")[kv_head]
    return {
        "w": Matrix(
            "weights",
            seen.stacked_rows(weights)[:, seen.keys],
            rows,
            seen.key_side,
            kind="share",
            links=[Link("v", "row", "shares"), Link("o", "row", "row")],
            tell="{group}, query {row} gives {value} to {col}. It mixes {shares}.",
        ),
        "v": Matrix(
            f"V of KV head {kv_head}",
            values[kv_head, seen.keys, seen.dims],
            seen.key_side,
            seen.dim_side,
            tell="value of {row}: its number {col} is {value}",
        ),
        "o": Matrix(
            "weights · V",
            seen.stacked_rows(run.result[kv_head])[:, seen.dims],
            rows,
            seen.dim_side,
            links=[Link("w", "row", "row"), Link("v", "col", "col")],
            tell="{group}, query {row}: number {col} of all values, mixed by its weights, "
            "is {value}",
        ),
        "m": _merged(merged, kv_head, seen),
    }


def _merged(merged: np.ndarray, kv_head: int, seen: Pass) -> Matrix:
    """The first numbers of each of the group's heads, side by side."""
    first = kv_head * seen.n_groups
    count = min(len(seen.dim_side.labels), NARROW)
    columns = [(first + g) * seen.head_dim + d for g in range(seen.heads) for d in range(count)]
    names = [f"{first + g}: {d}" for g in range(seen.heads) for d in range(count)]
    side = Side("n_heads*head_dim", names, merged.shape[1], narrow=count)
    return Matrix(
        "merged",
        merged[seen.queries][:, columns],
        seen.query_side,
        side,
        tell="{row}, query head {col} of that head: {value}",
    )


def _mixing(
    run: Watched, weights: np.ndarray, values: np.ndarray, kv_head: int, seen: Pass
) -> list[Step]:
    """Stack the heads of the group, multiply, cut the stack."""
    given, v = Operand.of("weights", weights, WEIGHTS_AXES), Operand.of("v", values, V_AXES)
    stacked = Operand.of("stacked", run.after("stacked =", "stacked"), STACKED_AXES)
    result = Operand.of("attn_v", run.result, MIXED_AXES)
    first = kv_head * seen.n_groups
    row = weights[kv_head, 0, -1]
    best = int(np.argmax(row))
    share = f"{100 * float(row[best]):.0f}%"
    return [
        Step(
            "stack the heads of a group",
            f"As for Q@K: the {seen.n_groups} query heads of a KV group come below each other, "
            f"{seen.n_groups} × {seen.seq} rows, for they all mix the same values.",
            run.listing,
            "stacked =",
            [given],
            [stacked],
            ["w"],
        ),
        Step(
            "mix the values",
            f"Every row of attention weights mixes the rows of V. In query head {first}, "
            f"{quoted(seen.labels[-1])} takes {share} of {quoted(seen.labels[best])}, and the rest "
            "of the others. Point at its row.",
            run.listing,
            "np.matmul",
            [stacked, v],
            [result],
            ["w", "v", "o"],
            "cross",
        ),
    ]


def _merging(merge: Watched, mixed: np.ndarray, kv_head: int, seen: Pass) -> Step:
    first = kv_head * seen.n_groups
    n_heads = seen.n_kv_heads * seen.n_groups
    return Step(
        "lay the heads side by side",
        f"One row per token again: {n_heads} heads × {seen.head_dim} numbers = "
        f"{n_heads * seen.head_dim}. In view are the heads of this group, from head {first} on; "
        f"they begin at column {first * seen.head_dim}.",
        merge.listing,
        "return attn_v",
        [Operand.of("attn_v", mixed, MIXED_AXES)],
        [Operand.of("merged", merge.result, "seq n_heads*head_dim")],
        ["o", "m"],
    )
