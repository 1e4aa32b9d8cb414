"""One pass through the whole model: the only loop over layers that the NumPy engine has.

Prompt, chunk of a prompt, next token, next tokens of many sequences, or all of these at once:
what differs is in the `Step`. Which functions compute is in the `Operators`. A rank of a model that
is split over several processes (`llama_edu.parallel`) goes through the same loop with its share.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float, Float32

from llama_edu.engine.operators import Operators
from llama_edu.engine.step import Step
from llama_edu.engine.trace import IGNORE, Recorder
from llama_edu.engine.weights import LayerWeights, Weights
from llama_edu.formats.config import LlamaConfig
from llama_edu.formats.precision import cast, to_float32
from llama_edu.formats.quantize import rows_as_float32

__all__ = [
    "attend",
    "attention_block",
    "axes_of_logits",
    "embed",
    "forward",
    "head",
    "mlp_block",
    "through_layers",
]


def forward(
    weights: Weights, config: LlamaConfig, ops: Operators, step: Step, record: Recorder = IGNORE
) -> Float32[np.ndarray, "rows vocab_size"]:
    """Logits after the rows of a step, whose keys and values are added to their caches.

    Nothing is checked here. Whatever is raised, the caches hold what they held.
    """
    x = embed(weights, step, record)
    x = through_layers(x, weights.layers, config, ops, step, record)
    logits = head(x, weights, config, ops, step, record)
    step.advance()
    return logits


def embed(weights: Weights, step: Step, record: Recorder) -> Float[np.ndarray, "seq hidden_size"]:
    """One row of the embedding for each token, in the format the operators compute in."""
    x = rows_as_float32(weights.embed_tokens, step.token_ids)
    x = x.astype(step.cos.dtype, copy=False)
    record("embed_tokens", x, "seq hidden_size")
    return x


def through_layers(
    x: Float[np.ndarray, "seq hidden_size"],
    layers: Sequence[LayerWeights],
    config: LlamaConfig,
    ops: Operators,
    step: Step,
    record: Recorder,
) -> Float[np.ndarray, "seq hidden_size"]:
    """The rows after every layer; keys and values count when the step advances."""
    for layer in layers:
        here = record.at(f"layers.{layer.index}")
        x = ops.residual(x, attention_block(x, layer, config, ops, step, here))
        here("attn_residual", x, "seq hidden_size")
        x = ops.residual(x, mlp_block(x, layer, config, ops, here))
        here("mlp_residual", x, "seq hidden_size")
    return x


def head(
    x: Float[np.ndarray, "seq hidden_size"],
    weights: Weights,
    config: LlamaConfig,
    ops: Operators,
    step: Step,
    record: Recorder,
) -> Float32[np.ndarray, "rows vocab_size"]:
    """The last norm and the logits, of all rows or, since it is enough to go on, of the last."""
    x = ops.rms_norm(x, weights.norm, config.rms_norm_eps)
    record("norm", x, "seq hidden_size")
    logits = ops.linear(x[step.logit_rows], weights.lm_head)  # the widest product of all
    record("logits", logits, axes_of_logits(step))
    return to_float32(logits)


def attention_block(
    x: Float[np.ndarray, "seq hidden_size"],
    layer: LayerWeights,
    config: LlamaConfig,
    ops: Operators,
    step: Step,
    record: Recorder,
) -> Float[np.ndarray, "seq hidden_size"]:
    """What every row takes from the rows of its own sequence: norm, q, k and v, attention, o."""
    n_kv_heads, head_dim = config.num_key_value_heads, config.head_dim
    x = ops.rms_norm(x, layer.input_layernorm, config.rms_norm_eps)
    record("input_layernorm", x, "seq hidden_size")

    record = record.at("self_attn")
    q = ops.linear(x, layer.q_proj.weight, layer.q_proj.bias)
    k = ops.linear(x, layer.k_proj.weight, layer.k_proj.bias)
    v = ops.linear(x, layer.v_proj.weight, layer.v_proj.bias)
    record("q_proj", q, "seq n_heads*head_dim")
    record("k_proj", k, "seq n_kv_heads*head_dim")
    record("v_proj", v, "seq n_kv_heads*head_dim")
    if layer.q_norm is not None and layer.k_norm is not None:
        q = _norm_of_heads(q, layer.q_norm, config, ops)
        k = _norm_of_heads(k, layer.k_norm, config, ops)
        record("q_norm", q, "seq n_heads*head_dim")
        record("k_norm", k, "seq n_kv_heads*head_dim")
    q = ops.split_query_heads(q, n_kv_heads, head_dim)
    k = ops.split_kv_heads(k, n_kv_heads, head_dim)
    v = ops.split_kv_heads(v, n_kv_heads, head_dim)
    if layer.index not in config.no_rope_layers:
        q = ops.apply_rope(q, step.cos, step.sin)
        k = ops.apply_rope(k, step.cos, step.sin)
        record("q_rope", q, "n_kv_heads n_groups seq head_dim")
        record("k_rope", k, "n_kv_heads seq head_dim")
    # Rounded as the cache would, so that a pass without one computes the same.
    k, v = cast(k, step.kv_format), cast(v, step.kv_format)

    mixed = []
    window = config.window_of(layer.index)
    for span, here in zip(step.spans, _recorders(step, record), strict=True):
        keys, values = span.with_past(layer.index, k[:, span.rows], v[:, span.rows])
        rows = q[:, :, span.rows]
        if window is not None and span.total_seq > window:
            mixed.append(attend(rows, keys, values, span.window_mask(window), ops, here))
        elif ops.fused_attention is not None and record is IGNORE:
            mixed.append(ops.merge_heads(ops.fused_attention(rows, keys, values)))
        else:
            mixed.append(attend(rows, keys, values, span.mask, ops, here))
    merged = np.concatenate(mixed) if len(mixed) > 1 else mixed[0]
    record("merged", merged, "seq n_heads*head_dim")
    out = ops.linear(merged, layer.o_proj.weight, layer.o_proj.bias)
    record("o_proj", out, "seq hidden_size")
    return out


def _norm_of_heads(
    x: Float[np.ndarray, "seq width"],
    weight: Float[np.ndarray, " head_dim"],
    config: LlamaConfig,
    ops: Operators,
) -> Float[np.ndarray, "seq width"]:
    """RMSNorm of every head's query or key by itself, as Qwen3 has it."""
    heads = x.reshape(-1, config.head_dim)
    return ops.rms_norm(heads, weight, config.rms_norm_eps).reshape(x.shape)


def attend(
    q: Float[np.ndarray, "n_kv_heads n_groups seq head_dim"],
    k: Float[np.ndarray, "n_kv_heads total_seq head_dim"],
    v: Float[np.ndarray, "n_kv_heads total_seq head_dim"],
    mask: Bool[np.ndarray, "seq total_seq"] | None,
    ops: Operators,
    record: Recorder,
) -> Float[np.ndarray, "seq width"]:
    """Attention of the rows of one span over its past and themselves, heads side by side."""
    record("keys", k, "n_kv_heads total_seq head_dim")
    record("values", v, "n_kv_heads total_seq head_dim")
    scores = ops.qk_scores(q, k)
    record("scores", scores, "n_kv_heads n_groups seq total_seq")
    if mask is not None:
        scores = ops.apply_mask(scores, mask)
    record("masked_scores", scores, "n_kv_heads n_groups seq total_seq")
    attn_weights = ops.softmax(scores)
    record("weights", attn_weights, "n_kv_heads n_groups seq total_seq")
    attn_v = ops.score_v(attn_weights, v)
    record("attn_v", attn_v, "n_kv_heads n_groups seq head_dim")
    return ops.merge_heads(attn_v)


def mlp_block(
    x: Float[np.ndarray, "seq hidden_size"],
    layer: LayerWeights,
    config: LlamaConfig,
    ops: Operators,
    record: Recorder,
) -> Float[np.ndarray, "seq hidden_size"]:
    """What every row makes of itself: norm, gate and up, SwiGLU, down."""
    x = ops.rms_norm(x, layer.post_attention_layernorm, config.rms_norm_eps)
    record("post_attention_layernorm", x, "seq hidden_size")
    record = record.at("mlp")
    gate = ops.linear(x, layer.gate_proj.weight, layer.gate_proj.bias)
    up = ops.linear(x, layer.up_proj.weight, layer.up_proj.bias)
    record("gate_proj", gate, "seq intermediate_size")
    record("up_proj", up, "seq intermediate_size")
    gated = ops.swiglu(gate, up)
    record("gated", gated, "seq intermediate_size")
    out = ops.linear(gated, layer.down_proj.weight, layer.down_proj.bias)
    record("down_proj", out, "seq hidden_size")
    return out


def _recorders(step: Step, record: Recorder) -> list[Recorder]:
    """One for each span: of several, each has a prefix and sizes of its own."""
    if record is IGNORE or len(step.spans) == 1:
        return [record] * len(step.spans)
    return [
        record.at(f"spans.{n}", seq=span.seq, past=span.past, total_seq=span.total_seq)
        for n, span in enumerate(step.spans)
    ]


def axes_of_logits(step: Step) -> str:
    """The names of the axes of a step's logits, for the trace."""
    if not step.last_only:
        return "seq vocab_size"
    return "1 vocab_size" if len(step.spans) == 1 else "n_spans vocab_size"
