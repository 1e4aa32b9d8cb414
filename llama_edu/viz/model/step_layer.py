"""A walk through one decoder layer: the lines of `llama_edu/engine/forward.py`, as they run."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from llama_edu.engine.forward import attend, attention_block, mlp_block, through_layers
from llama_edu.engine.trace import Record, Trace
from llama_edu.viz.parts.html import Html
from llama_edu.viz.parts.listing import Listing
from llama_edu.viz.parts.recorded import NARROW, Pass, recorded_pass
from llama_edu.viz.parts.stepper import Link, Matrix, Operand, Side, Step, quoted, stepper

__all__ = ["step_layer"]

WIDE = 5  # numbers of a row in view
Function = Callable[..., Any]

AROUND = 4  # lines shown before the first and after the last line that runs

# Each step: its title, the function and its line, what goes in and what comes out by recorded name
# ("x" is the stream as it enters), and what is said, with the facts of `_facts` filled in.
_ATTENTION = (
    (
        "normalise",
        attention_block,
        "layer.input_layernorm",
        ("x",),
        ("input_layernorm",),
        "A copy of the stream is scaled, row by row, to a root mean square of about 1, times one "
        "gain per feature. Before, the row of {last} had {rms:.2f}. The stream itself stays.",
    ),
    (
        "project to q, k and v",
        attention_block,
        "layer.q_proj.weight",
        ("input_layernorm",),
        ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
        "Three products with weights: {n_heads} query heads, but only {n_kv_heads} key and value "
        "heads, so k and v are narrower.",
    ),
    (
        "turn q by position",
        attention_block,
        "q = ops.apply_rope(",
        ("self_attn.q_proj",),
        ("self_attn.q_rope",),
        "Rows are cut into heads, and every pair of numbers is turned by an angle that grows with "
        "the position. The next line does the same to k. Position 0 is not turned at all.",
    ),
    (
        "append to the cache",
        attention_block,
        "span.with_past(",
        ("self_attn.k_rope",),
        ("self_attn.keys", "self_attn.values"),
        "The new keys and values go behind those of the past, and all of them come back.",
    ),
    (
        "score",
        attend,
        "ops.qk_scores(",
        ("self_attn.q_rope", "self_attn.keys"),
        ("self_attn.scores",),
        "Every query against every key of its KV group, divided by √{head_dim}: one matrix per "
        "query head. Here is head 0.",
    ),
    (
        "hide the future",
        attend,
        "ops.apply_mask(",
        ("self_attn.scores",),
        ("self_attn.masked_scores",),
        "A key that comes after its query gets −∞.",
    ),
    (
        "softmax",
        attend,
        "ops.softmax(",
        ("self_attn.masked_scores",),
        ("self_attn.weights",),
        "Each row becomes shares that sum to 1. In head 0, {last} looks most at {best}: "
        "{share:.0f}%.",
    ),
    (
        "mix the values",
        attend,
        "ops.score_v(",
        ("self_attn.weights", "self_attn.values"),
        ("self_attn.attn_v",),
        "Each query takes that much of each value row. This is the one place in a layer where "
        "tokens learn from other tokens.",
    ),
    (
        "lay the heads side by side",
        attend,
        "ops.merge_heads(attn_v)",
        ("self_attn.attn_v",),
        ("self_attn.merged",),
        "One row per token again, {n_heads} × {head_dim} numbers wide.",
    ),
    (
        "project back",
        attention_block,
        "layer.o_proj.weight",
        ("self_attn.merged",),
        ("self_attn.o_proj",),
        "One product lets the heads work together and brings the row to the width of the stream.",
    ),
    (
        "add to the stream",
        through_layers,
        "ops.residual(x, attention_block(",
        ("x", "self_attn.o_proj"),
        ("attn_residual",),
        "Attention's result is added to what came in. For {last} the change is "
        "{attention_step:.0f}% as long as the row it is added to.",
    ),
)
_MLP = (
    (
        "normalise again",
        mlp_block,
        "layer.post_attention_layernorm",
        ("attn_residual",),
        ("post_attention_layernorm",),
        "The same operation with gains of its own, again on a copy.",
    ),
    (
        "project to gate and up",
        mlp_block,
        "layer.gate_proj.weight",
        ("post_attention_layernorm",),
        ("mlp.gate_proj", "mlp.up_proj"),
        "Two products to the wider {intermediate}. From here to the end every token is alone.",
    ),
    (
        "open the gate",
        mlp_block,
        "ops.swiglu(",
        ("mlp.gate_proj", "mlp.up_proj"),
        ("mlp.gated",),
        "silu(gate) · up, number by number: a strongly negative gate lets nothing pass. "
        "{closed:.0f}% of the gates are negative here.",
    ),
    (
        "project down",
        mlp_block,
        "layer.down_proj.weight",
        ("mlp.gated",),
        ("mlp.down_proj",),
        "Back to the width of the stream.",
    ),
    (
        "add to the stream",
        through_layers,
        "ops.residual(x, mlp_block(",
        ("attn_residual", "mlp.down_proj"),
        ("mlp_residual",),
        "The second sum, and the layer is done. For {last} the change is {mlp_step:.0f}% as long "
        "as the row it is added to.",
    ),
)


def step_layer(
    trace: Trace, layer: int, tokens: Sequence[str | bytes], *, step: int | None = None
) -> Html:
    """Walk through one decoder layer, from the stream as it enters to the stream as it leaves.

    `tokens` and `step` are as in `step_scores`. Every array is the recorded one; of arrays with
    heads, the first head is shown. Raises `InputError` for a layer or a pass that the trace
    lacks, for arrays that are not float32, and for labels that do not fit.
    """
    seen = recorded_pass(trace, layer, tokens, step)
    skipped = {
        "append to the cache": seen.total_seq == seen.seq,
        "hide the future": seen.seq == 1,
    }
    told = [spec for spec in (*_ATTENTION, *_MLP) if not skipped.get(spec[0], False)]
    facts = _facts(seen)
    listings = _listings(told)
    steps = [
        Step(
            title,
            say.format(**facts),
            listings[function],
            code,
            [_operand(seen, name) for name in takes],
            [_operand(seen, name) for name in gives],
            *_shown(takes, gives),
        )
        for title, function, code, takes, gives, say in told
    ]
    names = dict.fromkeys(name for spec in told for name in (*spec[3], *spec[4]))
    matrices = {name: _matrix(seen, name) for name in names}
    keys = matrices["self_attn.keys"]
    matrices["kᵀ"] = replace(
        keys, name="keysᵀ", values=keys.values.T, rows=keys.cols, cols=keys.rows
    )
    return stepper(f"Layer {layer}, from x to x", steps, matrices)


def _listings(told: Sequence[tuple[Any, ...]]) -> dict[Function, Listing]:
    """Each function, cut down to what is near the lines that are told of."""
    codes: dict[Function, list[str]] = {}
    for _, function, code, *_ in told:
        codes.setdefault(function, []).append(code)
    cut = {}
    for function, some in codes.items():
        whole = Listing.of(function)
        lines = [whole.find(code) for code in some]
        cut[function] = whole.between(min(lines) - AROUND, max(lines) + AROUND)
    return cut


def _shown(takes: Sequence[str], gives: Sequence[str]) -> tuple[list[str], str]:
    """What is shown of a step, and how: a product as one, and never more than fits side by side."""
    if gives == ("self_attn.scores",):
        return [takes[0], "kᵀ", *gives], "cross"
    if gives == ("self_attn.attn_v",):
        return [*takes, *gives], "cross"
    return [*(takes if len(gives) < 3 else ()), *gives], "row"


def _record(seen: Pass, name: str) -> Record:
    return seen.entering() if name == "x" else seen.record(name)


def _operand(seen: Pass, name: str) -> Operand:
    record = _record(seen, name)
    return Operand(name.rpartition(".")[2], record.axes, record.shape)


def _matrix(seen: Pass, name: str) -> Matrix:
    """The window of a record: of its first head, if it has heads."""
    record = _record(seen, name)
    first = record.array[(0,) * (record.array.ndim - 2)]
    rows, row_side = (
        (seen.keys, seen.key_side) if record.axes[-2] == "total_seq" else (seen.rows, seen.row_side)
    )
    if record.axes[-1] == "total_seq":
        columns, column_side = seen.keys, seen.key_side
    else:
        count = min(WIDE, first.shape[1])
        labels = [str(j) for j in range(count)]
        columns = slice(0, count)
        column_side = Side(record.axes[-1], labels, first.shape[1], narrow=NARROW)
    short = name.rpartition(".")[2]
    head = ", head 0" if record.array.ndim > 2 else ""
    return Matrix(
        short + head,
        first[rows, columns],
        row_side,
        column_side,
        kind="share" if short == "weights" else "signed",
        links=_links(name),
        tell=f"{short}, {{row}}, {{col}}: {{value}}",
    )


def _links(name: str) -> list[Link]:
    """Where the numbers of a record came from, among what is in view with it."""
    if name == "self_attn.scores":
        return [Link("self_attn.q_rope", "row", "row"), Link("kᵀ", "col", "col")]
    if name == "self_attn.weights":
        return [
            Link("self_attn.masked_scores", "row", "row"),
            Link("self_attn.values", "", "shares"),
        ]
    spec = next((s for s in (*_ATTENTION, *_MLP) if name in s[4]), None)
    same = ("attn_residual", "mlp_residual", "mlp.gated", "self_attn.masked_scores")
    part = "cell" if name in same else "row"
    return [Link(taken, part, "row") for taken in (spec[3] if spec else ())]


def _facts(seen: Pass) -> dict[str, object]:
    """What the sentences tell of the newest token."""
    x = seen.entering().array[-1]
    middle = seen.array("attn_residual")[-1]
    weights = seen.array("self_attn.weights")[0, 0, -1]
    best = int(np.argmax(weights))
    length = np.linalg.norm
    return {
        "last": quoted(seen.labels[-1]),
        "best": quoted(seen.labels[best]),
        "share": 100 * weights[best],
        "rms": np.sqrt(np.mean(x * x)),
        "n_heads": seen.n_kv_heads * seen.n_groups,
        "n_kv_heads": seen.n_kv_heads,
        "head_dim": seen.head_dim,
        "intermediate": seen.array("mlp.gated").shape[1],
        "attention_step": 100 * length(seen.array("self_attn.o_proj")[-1]) / length(x),
        "mlp_step": 100 * length(seen.array("mlp.down_proj")[-1]) / length(middle),
        "closed": 100 * np.mean(seen.array("mlp.gate_proj") < 0),
    }
