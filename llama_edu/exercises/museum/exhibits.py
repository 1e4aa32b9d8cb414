"""The exhibits of the bug museum: mistakes from real projects, each with the place it was seen.

Most are known mistakes of an exercise, installed in a whole model; so what an exercise rejects is
what the museum shows.
"""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from typing import Any

import numpy as np

from llama_edu.engine.llama import Llama
from llama_edu.exercises import (
    generate as generate_exercises,
)
from llama_edu.exercises import (
    linear as linear_exercises,
)
from llama_edu.exercises import (
    mask_softmax as mask_softmax_exercises,
)
from llama_edu.exercises import (
    model as model_exercises,
)
from llama_edu.exercises import (
    norm_mlp as norm_mlp_exercises,
)
from llama_edu.exercises import (
    rope as rope_exercises,
)
from llama_edu.exercises import (
    score_v as score_v_exercises,
)
from llama_edu.exercises import (
    scores as scores_exercises,
)
from llama_edu.exercises import (
    tokenizer as tokenizer_exercises,
)
from llama_edu.exercises.framework.exercise import Exercise
from llama_edu.exercises.museum.exhibit import Exhibit, Function, Install, TextExhibit
from llama_edu.ops.attention import score_v
from llama_edu.ops.linear import linear
from llama_edu.ops.norm import rms_norm
from llama_edu.ops.rope import apply_rope, rope_cos_sin
from llama_edu.text.tokenizer import Tokenizer

__all__ = ["EXHIBITS", "TEXT_EXHIBITS"]

Change = AbstractContextManager[object]
EARLIER = range(5, 25)  # the ids of a text that was there before


def _known(exercise: Exercise, name: str) -> Function:
    """A mistake the exercise knows by this name."""
    return next(mutant.function for mutant in exercise.mutants if mutant.name == name)


# How a mistake gets into a model.


def _operator(name: str) -> Install:
    """In the place of one operator, with its arguments."""

    def install(model: Llama, mistake: Function) -> Change:
        return model.using(operators=model.operators.replaced(**{name: mistake}))

    return install


def _size_of_a_row(model: Llama, mistake: Function) -> Change:
    return _operator("rms_norm")(model, lambda x, weight, eps: weight * (x / mistake(x, eps)))


def _angles(model: Llama, mistake: Function) -> Change:
    def cos_sin(inv_freq: np.ndarray, past: int, seq: int) -> tuple[np.ndarray, np.ndarray]:
        angles = mistake(model.config.head_dim, model.config.rope_theta, past, seq)
        return np.cos(angles), np.sin(angles)

    return _operator("rope_cos_sin")(model, cos_sin)


def _mask(model: Llama, mistake: Function) -> Change:
    return _operator("apply_mask")(model, lambda scores, mask: mistake(scores))


def _square_products(model: Llama, mistake: Function) -> Change:
    """Only where a turned matrix fits at all does the mistake go unseen."""

    def product(x: np.ndarray, weight: np.ndarray, bias: np.ndarray | None = None) -> np.ndarray:
        if weight.shape[0] != weight.shape[1]:
            return linear(x, weight, bias)
        y = np.zeros_like(x)
        mistake(y, 0.0, x, weight, 1.0)
        return y

    return _operator("linear")(model, product)


def _turned_values(model: Llama, mistake: Function) -> Change:
    """Values stand at the positions from 0 on, one after the other."""

    def mixed(attn_weights: np.ndarray, v: np.ndarray) -> np.ndarray:
        angles = rope_cos_sin(model.inv_freq, 0, v.shape[1])
        return score_v(attn_weights, apply_rope(v, *angles))

    return _operator("score_v")(model, mixed)


def _normed_stream(model: Llama, mistake: Function) -> Change:
    """A norm that writes where it reads: the stream is normed, and the sum is made with that."""
    gains = [layer.input_layernorm for layer in model.weights.layers]

    def normed(x: np.ndarray, weight: np.ndarray, eps: float) -> np.ndarray:
        y = rms_norm(x, weight, eps)
        if any(weight is gain for gain in gains):
            x[...] = y
        return y

    return _operator("rms_norm")(model, normed)


def _no_last_norm(model: Llama, mistake: Function) -> Change:
    last = model.weights.norm
    return _operator("rms_norm")(
        model, lambda x, weight, eps: x if weight is last else rms_norm(x, weight, eps)
    )


def _head(model: Llama, mistake: Function) -> Change:
    table = model.weights.embed_tokens
    _, lm_head = mistake({"model.embed_tokens.weight": table}, True)
    return model.using(weights=replace(model.weights, lm_head=lm_head))


def _nothing(model: Llama, mistake: Function) -> Change:
    """The model is right: the mistake is made around it."""
    return nullcontext()


def _gelu_gated(gate: np.ndarray, up: np.ndarray) -> np.ndarray:
    inner = 0.7978845608 * (gate + 0.044715 * gate**3)  # √(2/π)
    return 0.5 * gate * (1 + np.tanh(inner)) * up


def _exhibit(
    title: str,
    lines: tuple[str, str],
    link: str,
    known: tuple[Exercise, str | Callable[..., Any]],
    install: Install,
    **options: Any,
) -> Exhibit:
    exercise, mistake = known
    function = _known(exercise, mistake) if isinstance(mistake, str) else mistake
    return Exhibit(
        title, *lines, f"https://github.com/{link}", exercise, function, install, **options
    )


EXHIBITS: dict[str, Exhibit] = {
    "weight_not_turned": _exhibit(
        "the weight as it lies",
        ("y = x @ weight.T", "y = x @ weight"),
        "skyzh/tiny-llm/issues/41",
        (linear_exercises.GEMM, "not_turned"),
        _square_products,
    ),
    "layer_norm": _exhibit(
        "the mean taken off",
        ("y = x / rms(x)", "y = (x - x.mean()) / rms(x - x.mean())"),
        "ggml-org/llama.cpp/issues/173",
        (norm_mlp_exercises.NORM_ROWS, "layer_norm"),
        _operator("rms_norm"),
    ),
    "norm_over_all": _exhibit(
        "one norm for all tokens",
        ("rms = sqrt((x * x).mean(axis=-1))", "rms = sqrt((x * x).mean())"),
        "bkitano/llama-from-scratch/issues/4",
        (norm_mlp_exercises.NORM_ROWS, "over_all"),
        _operator("rms_norm"),
    ),
    "eps_outside": _exhibit(
        "eps outside the root",
        ("rms = sqrt(mean_square + eps)", "rms = sqrt(mean_square) + eps"),
        "allenai/OLMo/issues/281",
        (norm_mlp_exercises.ROW_SIZE, "eps_outside"),
        _size_of_a_row,
    ),
    "fixed_eps": _exhibit(
        "an eps of one's own",
        ("eps = config.rms_norm_eps", "eps = 1e-6"),
        "ggml-org/llama.cpp/issues/2373",
        (norm_mlp_exercises.ROW_SIZE, "fixed_eps"),
        _size_of_a_row,
    ),
    "gate_and_up": _exhibit(
        "gate and up swapped",
        ("h = silu(gate) * up", "h = silu(up) * gate"),
        "LearningInfiniTensor/learning-lm-rs/blob/"
        "12af8ba31322b12da8a5ae5aec68abfa64662352/src/model.rs",
        (norm_mlp_exercises.GATED, "swapped"),
        _operator("swiglu"),
    ),
    "gelu": _exhibit(
        "GELU for SiLU",
        ("h = silu(gate) * up", "h = gelu(gate) * up"),
        "intelligent-machine-learning/dlrover/issues/1351",
        (norm_mlp_exercises.GATED, _gelu_gated),
        _operator("swiglu"),
    ),
    "normed_stream": _exhibit(
        "the residual after the norm",
        ("x = x + attention(norm(x))", "x = norm(x); x = x + attention(x)"),
        "tracel-ai/burn/issues/1056",
        (model_exercises.FINISH_FORWARD, "normed_residual"),
        _normed_stream,
    ),
    "interleaved": _exhibit(
        "neighbours rotated",
        ("pairs = (j, j + head_dim // 2)", "pairs = (2 * j, 2 * j + 1)"),
        "karpathy/llama2.c/pull/286",
        (rope_exercises.ROTATE, "interleaved"),
        _operator("apply_rope"),
    ),
    "mixed_layouts": _exhibit(
        "half of each layout",
        ("cos = concatenate([cos, cos])", "cos = repeat(cos, 2)"),
        "huggingface/transformers/issues/40462",
        (rope_exercises.ROTATE, "mixed"),
        _operator("apply_rope"),
    ),
    "values_turned": _exhibit(
        "values rotated as well",
        ("q, k = rope(q), rope(k)", "q, k, v = rope(q), rope(k), rope(v)"),
        "lucidrains/x-transformers/issues/182",
        (score_v_exercises.ATTENTION_ROWS, "v_rotated"),
        _turned_values,
    ),
    "position_zero": _exhibit(
        "every step at position 0",
        ("positions = arange(past, past + seq)", "positions = arange(seq)"),
        "Blaizzy/mlx-vlm/issues/1983",
        (rope_exercises.ANGLES, "no_past"),
        _angles,
    ),
    "position_jumps": _exhibit(
        "a position that jumps",
        ("offset = past", "offset = past + past"),
        "skyzh/tiny-llm/pull/46",
        (rope_exercises.ANGLES, "past_twice"),
        _angles,
    ),
    "fixed_theta": _exhibit(
        "a theta of one's own",
        ("theta = config.rope_theta", "theta = 10000.0"),
        "lyogavin/airllm/pull/369",
        (rope_exercises.ANGLES, "fixed_theta"),
        _angles,
        harmless="the story model's own theta is 10,000",
    ),
    "modulo": _exhibit(
        "keys dealt out in turn",
        ("kv_head = head // n_groups", "kv_head = head % n_kv_heads"),
        "onnx/onnx/pull/7274",
        (scores_exercises.GROUP_SCORES, "modulo"),
        _operator("qk_scores"),
    ),
    "reshaped": _exhibit(
        "reshape for transpose",
        ("q.reshape(seq, heads, d).transpose(1, 0, 2)", "q.reshape(heads, seq, d)"),
        "hyunwoongko/transformer/issues/15",
        (scores_exercises.SPLIT_QUERIES, "reshape_as_transpose"),
        _operator("split_query_heads"),
    ),
    "unscaled": _exhibit(
        "no scale",
        ("scores = q @ k.T / sqrt(head_dim)", "scores = q @ k.T"),
        "mlc-ai/mlc-llm/pull/3426",
        (scores_exercises.GROUP_SCORES, "unscaled"),
        _operator("qk_scores"),
    ),
    "scaled_by_width": _exhibit(
        "the width of all heads",
        ("scores = q @ k.T / sqrt(head_dim)", "scores = q @ k.T / sqrt(n_heads * head_dim)"),
        "Graylab/DL4Proteins-notebooks/issues/12",
        (scores_exercises.GROUP_SCORES, "scaled_by_width"),
        _operator("qk_scores"),
    ),
    "no_mask_with_cache": _exhibit(
        "no mask once there is a past",
        ("if seq > 1: scores = masked(scores)", "if past == 0: scores = masked(scores)"),
        "mlx-node/mlx-node/pull/24",
        (mask_softmax_exercises.MASK_SCORES, "unless_cached"),
        _mask,
    ),
    "mask_multiplied": _exhibit(
        "the mask multiplied",
        ("scores = where(mask, scores, -inf)", "scores = scores * mask"),
        "huggingface/transformers/issues/542",
        (mask_softmax_exercises.MASK_SCORES, "multiplied"),
        _mask,
    ),
    "softmax_of_columns": _exhibit(
        "softmax over the queries",
        ("weights = softmax(scores, axis=-1)", "weights = softmax(scores, axis=-2)"),
        "labmlai/annotated_deep_learning_paper_implementations/issues/146",
        (mask_softmax_exercises.ROW_SOFTMAX, "columns"),
        _operator("softmax"),
    ),
    "heads_not_turned_back": _exhibit(
        "heads not turned back",
        ("mixed.transpose(1, 0, 2).reshape(seq, -1)", "mixed.reshape(seq, -1)"),
        "jsbaan/transformer-from-scratch/pull/6",
        (score_v_exercises.MERGE, "reshaped"),
        _operator("merge_heads"),
    ),
    "no_last_norm": _exhibit(
        "no norm before the head",
        ("logits = head(norm(x))", "logits = head(x)"),
        "TransformerLensOrg/TransformerLens/issues/179",
        (model_exercises.FINISH_FORWARD, "no_final_norm"),
        _no_last_norm,
    ),
    "head_made_up": _exhibit(
        "a head made up",
        ("lm_head = embed_tokens  # tied", "lm_head = random(embed_tokens.shape)"),
        "tinygrad/tinygrad/pull/13796",
        (model_exercises.BOTH_ENDS, "made_up"),
        _head,
    ),
    "stale_rows": _exhibit(
        "yesterday's cache",
        ("cache.truncate(shared)", "pass  # the old rows stay"),
        "quantumaikr/quant.cpp/pull/52",
        (generate_exercises.REUSE_PREFIX, "stale_rows"),
        _nothing,
        earlier_ids=EARLIER,
    ),
}
"""Mistakes inside the model, in the order of the chapters, by name."""


def _stripped(tokenizer: Tokenizer, token_ids: Sequence[int]) -> tuple[str, str]:
    pieces = [tokenizer.decode([token_id]) for token_id in token_ids]
    return tokenizer.decode(token_ids), _known(tokenizer_exercises.CLEAN, "stripped")(pieces)


def _each_alone(tokenizer: Tokenizer, token_ids: Sequence[int]) -> tuple[str, str]:
    chunks = [tokenizer.token_bytes(token_id) for token_id in token_ids]
    shown = _known(tokenizer_exercises.STREAM, "each_alone")(chunks)
    return tokenizer.decode(token_ids), "".join(shown)


TEXT_EXHIBITS: dict[str, TextExhibit] = {
    "strip": TextExhibit(
        "a word that is a set of letters",
        'piece.removeprefix("<s>")',
        'piece.strip("<s>")',
        "https://github.com/likejazz/llama3.np/blob/"
        "30a73d28f0f11e056e20998341d50b55b303d2af/tokenizer.py",
        tokenizer_exercises.CLEAN,
        _known(tokenizer_exercises.CLEAN, "stripped"),
        _stripped,
    ),
    "each_alone": TextExhibit(
        "half a character at a time",
        "text = stream.push(token_id)",
        "text = tokenizer.decode([token_id])",
        "https://github.com/exo-explore/exo/pull/1691",
        tokenizer_exercises.STREAM,
        _known(tokenizer_exercises.STREAM, "each_alone"),
        _each_alone,
    ),
}
"""Mistakes between ids and text, by name."""
