"""A walk through Q@K: the queries of each KV group against the one key matrix they share."""

from collections.abc import Sequence

import numpy as np

from llama_edu.engine.trace import Trace
from llama_edu.ops import attention
from llama_edu.viz.parts.html import Html
from llama_edu.viz.parts.listing import Watched, watch
from llama_edu.viz.parts.recorded import Pass, recorded_pass
from llama_edu.viz.parts.stepper import Link, Matrix, Operand, Step, quoted, stepper

__all__ = ["step_scores"]

GROUPS = 4  # KV groups walked through
Q_AXES = "n_kv_heads n_groups seq head_dim"
K_AXES = "n_kv_heads total_seq head_dim"
STACKED_AXES = "n_kv_heads n_groups*seq head_dim"
PRODUCT_AXES = "n_kv_heads n_groups*seq total_seq"
SCORES_AXES = "n_kv_heads n_groups seq total_seq"


def step_scores(
    trace: Trace, layer: int, tokens: Sequence[str | bytes], *, step: int | None = None
) -> Html:
    """Walk through Q@K of one layer, one KV group after the other, on the arrays of a trace.

    `tokens` are labels of the `total_seq` positions of the pass; `step` counts the trace's
    forward passes from 0, by default the newest. Pointing at a product lights the row of q and
    the column of kᵀ it came from. The numbers are those of `llama_edu.ops.attention.qk_scores`, run
    line by line. Raises `InputError` for a layer or a pass that the trace lacks, for one that is
    not float32, and for labels that do not fit.
    """
    recorded = recorded_pass(trace, layer, tokens, step)
    q, k = recorded.array("self_attn.q_rope"), recorded.array("self_attn.keys")
    run = watch(attention.qk_scores, q, k)
    walked = range(min(recorded.n_kv_heads, GROUPS))
    matrices: dict[str, Matrix] = {}
    for kv_head in walked:
        matrices |= _matrices(run, k, kv_head, recorded)
    steps = [
        *_stacking(run, q, recorded),
        *(_product(run, k, kv_head, recorded, matrices) for kv_head in walked),
        *_scaling(run, recorded, len(walked)),
    ]
    return stepper(f"Q@K of layer {layer}: queries against keys", steps, matrices)


def _matrices(run: Watched, k: np.ndarray, kv_head: int, seen: Pass) -> dict[str, Matrix]:
    """What is shown of one KV group: its queries and keys, their products, and the scores."""
    rows = seen.stacked_side(kv_head)
    stacked = run.after("stacked =", "stacked")[kv_head]
    product = run.after("np.matmul", "scores")[kv_head]
    scaled = run.after("scores *=", "scores")[kv_head]
    q, kt, p, s = (f"{letter}{kv_head}" for letter in "qkps")
    return {
        q: Matrix(
            f"q of KV group {kv_head}",
            seen.stacked_rows(stacked)[:, seen.dims],
            rows,
            seen.dim_side,
            tell="{group}, query {row}: its number {col} is {value}",
        ),
        kt: Matrix(
            f"kᵀ of KV head {kv_head}",
            k[kv_head, seen.keys, seen.dims].T,
            seen.dim_side,
            seen.key_side,
            tell="KV head, key {col}: its number {row} is {value}",
        ),
        p: Matrix(
            "q · k",
            seen.stacked_rows(product)[:, seen.keys],
            rows,
            seen.key_side,
            links=[Link(q, "row", "row"), Link(kt, "col", "col")],
            tell=f"{{group}}: query {{row}} · key {{col}}, {seen.head_dim} products: "
            "{terms} = {value}",
        ),
        s: Matrix(
            "scores",
            seen.stacked_rows(scaled)[:, seen.keys],
            rows,
            seen.key_side,
            links=[Link(p, "cell", "row")],
            tell=f"{{group}}, query {{row}}, key {{col}}: {{={p}}} / √{seen.head_dim} = {{value}}",
        ),
    }


def _stacking(run: Watched, q: np.ndarray, seen: Pass) -> list[Step]:
    given = Operand.of("q", q, Q_AXES)
    stacked = Operand.of("stacked", run.after("stacked =", "stacked"), STACKED_AXES)
    shared = "1 query head" if seen.n_groups == 1 else f"{seen.n_groups} query heads"
    return [
        Step(
            "read the sizes",
            f"`q` holds one matrix per query head, ordered by KV group: {seen.n_kv_heads} groups, "
            f"{shared} in each. Here is group 0, as it arrives.",
            run.listing,
            "= q.shape",
            [given],
            [given],
            ["q0"],
        ),
        Step(
            "stack the heads of a group",
            f"The {shared} of a KV group come below each other: {seen.n_groups} × {seen.seq} "
            "rows. No number changes. They meet the same keys, so one product serves them all.",
            run.listing,
            "stacked =",
            [given],
            [stacked],
            ["q0"],
        ),
    ]


def _product(
    run: Watched, k: np.ndarray, kv_head: int, seen: Pass, matrices: dict[str, Matrix]
) -> Step:
    first = kv_head * seen.n_groups
    last = first + seen.n_groups - 1
    between = "and" if last == first + 1 else "to"
    several = f"Query heads {first} {between} {last} meet"
    who = f"Query head {first} meets" if first == last else several
    shown = matrices[f"p{kv_head}"]
    i, j = divmod(int(np.argmax(shown.values)), shown.values.shape[1])
    best = f"query {quoted(shown.rows.labels[i])}, key {quoted(shown.cols.labels[j])}"
    return Step(
        f"multiply, KV group {kv_head}",
        f"{who} KV head {kv_head}. Each number is a row of q times a column of kᵀ; the largest in "
        f"view is {shown.values[i, j]:.2f}, {best}.",
        run.listing,
        "np.matmul",
        [
            Operand.of("stacked", run.after("stacked =", "stacked"), STACKED_AXES),
            Operand.of("k", k, K_AXES),
        ],
        [Operand.of("scores", run.after("np.matmul", "scores"), PRODUCT_AXES)],
        [f"q{kv_head}", f"k{kv_head}", f"p{kv_head}"],
        "cross",
    )


def _scaling(run: Watched, seen: Pass, walked: int) -> list[Step]:
    product = Operand.of("scores", run.after("scores *=", "scores"), PRODUCT_AXES)
    scores = Operand.of("scores", run.result, SCORES_AXES)
    rest = seen.n_kv_heads - walked
    told = f" The other {rest} KV groups are computed the same way." if rest else ""
    grid = [[f"s{kv}#{g}" for g in range(seen.heads)] for kv in range(walked)]
    return [
        Step(
            "scale",
            f"Every product is divided by √{seen.head_dim} = {seen.head_dim**0.5:.3g}, in place. "
            "Sums of more products spread wider; this undoes it.",
            run.listing,
            "scores *=",
            [product],
            [product],
            ["p0", "s0"],
        ),
        Step(
            "one matrix per query head",
            f"The stack is cut into heads again: a grid of {seen.n_kv_heads} × {seen.n_groups} "
            f"matrices, each ({seen.seq}, {seen.total_seq}).{told}",
            run.listing,
            "return scores",
            [product],
            [scores],
            grid,
            "grid",
        ),
    ]
