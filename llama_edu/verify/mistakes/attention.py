"""Mistakes in RoPE, heads, scores, mask, softmax and the way back."""

import math
from collections.abc import Callable
from dataclasses import replace

import ml_dtypes
import numpy as np

from llama_edu.formats.config import LlamaConfig
from llama_edu.ops.attention import apply_mask, causal_mask, qk_scores, score_v, softmax
from llama_edu.ops.rope import apply_rope, apply_rope_interleaved, inverse_frequencies
from llama_edu.verify.mistakes.base import Mistake, entry, known
from llama_edu.verify.parts import RIGHT, Clock, Layer

__all__ = ["ATTENTION"]

Array = np.ndarray
BF16 = np.dtype(ml_dtypes.bfloat16)
F16 = np.dtype(np.float16)


# Frequencies.


def _exponent(of: Callable[[LlamaConfig], float]) -> Callable[[LlamaConfig], Array]:
    """Pair j turns by theta to the power of -j · `of(config)`, and is scaled as it should be."""

    def inv_freq(config: LlamaConfig) -> Array:
        # Another theta with the right exponent gives the same numbers.
        theta = config.rope_theta ** (of(config) * config.head_dim / 2)
        return inverse_frequencies(replace(config, rope_theta=theta))

    return inv_freq


def _counted_from_one(config: LlamaConfig) -> Array:
    first = config.rope_theta ** (-2 / config.head_dim)
    return (inverse_frequencies(config) * first).astype(np.float32)


def _llama3(name: str) -> Callable[[LlamaConfig], Array]:
    """The book's own wrong answers to Llama 3's scaling; other models stay as they are."""
    function = known("scaled_turns", name)

    def inv_freq(config: LlamaConfig) -> Array:
        scaling = config.rope_scaling
        if scaling is None or scaling.rope_type != "llama3":
            return inverse_frequencies(config)
        pairs = np.arange(config.head_dim // 2)
        turns = (config.rope_theta ** (-2 * pairs / config.head_dim)).astype(np.float32)
        given = (scaling.factor, scaling.low_freq_factor, scaling.high_freq_factor)
        return function(turns, *given, scaling.original_max_position_embeddings)

    return inv_freq


def _linear_times(power: int) -> Callable[[LlamaConfig], Array]:
    """Frequencies with the factor of a "linear" scaling to another power than -1."""

    def inv_freq(config: LlamaConfig) -> Array:
        scaling, turns = config.rope_scaling, inverse_frequencies(config)
        if scaling is None or scaling.rope_type != "linear":
            return turns
        return (turns * np.float64(scaling.factor) ** (power + 1)).astype(np.float32)

    return inv_freq


def _low_high_swapped(config: LlamaConfig) -> Array:
    scaling = config.rope_scaling
    if scaling is None or scaling.rope_type != "llama3":
        return inverse_frequencies(config)
    turns = [config.rope_theta ** (-2 * j / config.head_dim) for j in range(config.head_dim // 2)]
    # Exchanged, the factors leave nothing between what is kept and what is divided.
    longest = scaling.original_max_position_embeddings / scaling.low_freq_factor
    made = [turn if 2 * math.pi / turn < longest else turn / scaling.factor for turn in turns]
    return np.array(made, dtype=np.float32)


def _rounded_freq(dtype: np.dtype) -> Callable[[LlamaConfig], Array]:
    return lambda config: inverse_frequencies(config).astype(dtype).astype(np.float32)


FREQUENCIES = (
    entry(
        "rope.exponent_single",
        "the exponent of theta counts single steps: -j / head_dim, without the 2",
        ("theta ** (-2 · j / head_dim)", "theta ** (-j / head_dim)"),
        "angles",
        inv_freq=_exponent(lambda c: 1 / c.head_dim),
    ),
    entry(
        "rope.exponent_of_half",
        "the exponent of theta is divided by half of head_dim: -2j / (head_dim / 2)",
        ("theta ** (-2 · j / head_dim)", "theta ** (-2 · j / (head_dim / 2))"),
        "angles",
        inv_freq=_exponent(lambda c: 4 / c.head_dim),
    ),
    entry(
        "rope.growing",
        "the exponent of theta has no minus: frequencies grow",
        ("theta ** (-2 · j / head_dim)", "theta ** (2 · j / head_dim)"),
        "angles",
        inv_freq=_exponent(lambda c: -2 / c.head_dim),
    ),
    entry(
        "rope.from_one",
        "pairs are counted from 1: theta ** (-2(j + 1) / head_dim)",
        ("theta ** (-2 · j / head_dim)", "theta ** (-2 · (j + 1) / head_dim)"),
        "angles",
        inv_freq=_counted_from_one,
    ),
    entry(
        "rope.hidden_size",
        "the exponent of theta is divided by hidden_size, not by head_dim",
        ("theta ** (-2 · j / head_dim)", "theta ** (-2 · j / hidden_size)"),
        "angles",
        inv_freq=_exponent(lambda c: 2 / c.hidden_size),
    ),
    entry(
        "rope.hidden_over_heads",
        "the exponent of theta is divided by hidden_size / n_heads, not by the config's head_dim",
        ("theta ** (-2 · j / head_dim)", "theta ** (-2 · j / (hidden_size / n_heads))"),
        "angles",
        inv_freq=_exponent(lambda c: 2 * c.num_attention_heads / c.hidden_size),
    ),
    entry(
        "rope.hidden_over_heads_whole",
        "the exponent of theta is divided by hidden_size // n_heads, not by the config's head_dim",
        ("theta ** (-2 · j / head_dim)", "theta ** (-2 · j / (hidden_size // n_heads))"),
        "angles",
        inv_freq=_exponent(lambda c: 2 / (c.hidden_size // c.num_attention_heads)),
    ),
    entry(
        "rope.width",
        "the exponent of theta is divided by the width of all heads, not by head_dim",
        ("theta ** (-2 · j / head_dim)", "theta ** (-2 · j / (n_heads · head_dim))"),
        "angles",
        inv_freq=_exponent(lambda c: 2 / (c.head_dim * c.num_attention_heads)),
    ),
    entry(
        "rope.d_minus_2",
        "the exponent of theta ends at 1: it is divided by head_dim - 2",
        ("theta ** (-2 · j / head_dim)", "theta ** (-2 · j / (head_dim - 2))"),
        "angles",
        inv_freq=_exponent(lambda c: 2 / (c.head_dim - 2)),
    ),
    entry(
        "rope.backwards_frequencies",
        "frequencies are given to the pairs in reverse",
        ("inv_freq[j]", "inv_freq[half - 1 - j]"),
        "angles",
        inv_freq=lambda config: inverse_frequencies(config)[::-1].copy(),
    ),
    entry(
        "rope.one_frequency",
        "every pair turns at the same speed",
        ("angle = position · inv_freq[j]", "angle = position"),
        "angles",
        inv_freq=lambda config: np.ones(config.head_dim // 2, dtype=np.float32),
    ),
    entry(
        "rope.freq_in_bf16",
        "inv_freq is kept in bfloat16",
        ("inv_freq: f32", "inv_freq: bf16"),
        "precision",
        inv_freq=_rounded_freq(BF16),
    ),
    entry(
        "rope.freq_in_f16",
        "inv_freq is kept in float16",
        ("inv_freq: f32", "inv_freq: f16"),
        "precision",
        inv_freq=_rounded_freq(F16),
    ),
    entry(
        "rope.linear_multiplied",
        "linear scaling multiplies frequencies by its factor, and does not divide them",
        ("inv_freq / factor", "inv_freq · factor"),
        "scaling",
        inv_freq=_linear_times(1),
    ),
    entry(
        "rope.linear_twice",
        "linear scaling divides twice",
        ("inv_freq / factor", "inv_freq / factor²"),
        "scaling",
        inv_freq=_linear_times(-2),
    ),
    entry(
        "rope.llama3_as_linear",
        "llama3 scaling divides every frequency, as linear does",
        ("slow pairs: inv_freq / factor; fast: inv_freq", "inv_freq / factor"),
        "scaling",
        inv_freq=_llama3("linear"),
    ),
    entry(
        "rope.llama3_step",
        "llama3 scaling does not blend: a pair is either divided or not",
        ("between low and high: a mixture of both", "below low: / factor; else: as it is"),
        "scaling",
        inv_freq=_llama3("step"),
    ),
    entry(
        "rope.llama3_fast",
        "llama3 scaling divides the fast pairs, and leaves the slow ones",
        ("slow pairs: inv_freq / factor", "fast pairs: inv_freq / factor"),
        "scaling",
        inv_freq=_llama3("fast"),
    ),
    entry(
        "rope.llama3_no_pi",
        "llama3 scaling leaves 2π out of a wavelength",
        ("wavelength = 2π / inv_freq", "wavelength = 1 / inv_freq"),
        "scaling",
        inv_freq=_llama3("no_pi"),
    ),
    entry(
        "rope.llama3_swapped",
        "llama3 scaling has low and high change places",
        ("low, high = low_freq_factor, high_freq_factor", "low, high = high…, low…"),
        "scaling",
        inv_freq=_low_high_swapped,
    ),
)


# Positions.


def _counted(of: Callable[[Clock], int], step: int = 1) -> Callable[[Clock], Array]:
    return lambda clock: (of(clock) + step * np.arange(clock.seq)).astype(np.float32)


def _as_positions(change: Callable[[Array], Array]) -> Callable[[Clock], Array]:
    def positions(clock: Clock) -> Array:
        right = np.arange(clock.past, clock.past + clock.seq)
        return change(right).astype(np.float32)

    return positions


def _position(
    key: str, says: str, wrong: str, function: Callable[[Clock], Array], exhibit: str = ""
) -> Mistake:
    right = "position = past + i"
    return entry(
        f"position.{key}", says, (right, wrong), "past", positions=function, exhibit=exhibit
    )


POSITIONS = (
    _position(
        "no_past",
        "RoPE is computed as if every chunk began at position 0",
        "position = i",
        _counted(lambda c: 0),
        "position_zero",
    ),
    _position(
        "past_twice",
        "RoPE counts the past twice",
        "position = past + past + i",
        _counted(lambda c: 2 * c.past),
        "position_jumps",
    ),
    _position(
        "one_more",
        "positions are one too large as soon as there is a past",
        "position = past + 1 + i, with a past",
        _counted(lambda c: c.past + (c.past > 0)),
    ),
    _position(
        "one_less",
        "positions are one too small as soon as there is a past",
        "position = past - 1 + i, with a past",
        _counted(lambda c: c.past - (c.past > 0)),
    ),
    _position(
        "by_calls",
        "calls are counted, and not tokens",
        "position = calls + i",
        _counted(lambda c: c.calls),
    ),
    _position(
        "prompt_only",
        "the past stays the length of the first prompt",
        "position = prompt length + i",
        _counted(lambda c: c.first if c.past else 0),
    ),
    _position(
        "all_at_past",
        "all tokens of a call are given the position of the first one",
        "position = past",
        _counted(lambda c: c.past, 0),
    ),
    _position(
        "all_at_end",
        "all tokens of a call are given the position of the last one",
        "position = past + seq - 1",
        _counted(lambda c: c.past + c.seq - 1, 0),
    ),
    _position(
        "total",
        "positions begin after the new tokens: past + seq",
        "position = past + seq + i",
        _counted(lambda c: c.past + c.seq),
    ),
    _position(
        "seq_for_past",
        "with a past, positions begin at the number of new tokens",
        "position = seq + i",
        _counted(lambda c: c.seq if c.past else 0),
    ),
    _position(
        "backwards",
        "positions count down within a call",
        "position = past + seq - 1 - i",
        _counted(lambda c: c.past + c.seq - 1, -1),
    ),
    _position(
        "per_layer",
        "positions move on after every layer, and not after every call",
        "cache.len += seq, in every layer",
        _counted(lambda c: c.past + c.layer * c.seq),
    ),
    _position(
        "modulo_256",
        "positions are kept in 8 bits: after 255 comes 0",
        "position = (past + i) % 256",
        _as_positions(lambda p: p % 256),
    ),
    _position(
        "at_most_255",
        "positions stop at 255",
        "position = min(past + i, 255)",
        _as_positions(lambda p: np.minimum(p, 255)),
    ),
    _position(
        "at_most_256",
        "positions stop at 256",
        "position = min(past + i, 256)",
        _as_positions(lambda p: np.minimum(p, 256)),
    ),
    _position(
        "in_bf16",
        "positions are kept in bfloat16, which has gaps from 256 on",
        "position = bf16(past + i)",
        _as_positions(lambda p: p.astype(BF16).astype(np.float32)),
    ),
    _position(
        "modulo_128",
        "positions are kept in 7 bits: after 127 comes 0",
        "position = (past + i) % 128",
        _as_positions(lambda p: p % 128),
    ),
)


# The rotation.


def _turned(
    q_times: int, k_times: int
) -> Callable[[Array, Array, Array, Layer], tuple[Array, ...]]:
    def turn(q: Array, k: Array, v: Array, layer: Layer) -> tuple[Array, ...]:
        for _ in range(q_times):
            q = layer.turned(q)
        for _ in range(k_times):
            k = layer.turned(k)
        return q, k, v

    return turn


def _values_too(q: Array, k: Array, v: Array, layer: Layer) -> tuple[Array, ...]:
    return layer.turned(q), layer.turned(k), layer.turned(v)


def _keys_as_values(q: Array, k: Array, v: Array, layer: Layer) -> tuple[Array, ...]:
    k = layer.turned(k)
    return layer.turned(q), k, k


def _one_backwards(queries: bool) -> Callable[[Array, Array, Array, Layer], tuple[Array, ...]]:
    def turn(q: Array, k: Array, v: Array, layer: Layer) -> tuple[Array, ...]:
        positions = layer.engine.parts.positions(layer.clock)
        back = layer.turned_at(q if queries else k, -positions)
        return (back, layer.turned(k), v) if queries else (layer.turned(q), back, v)

    return turn


def _one_interleaved(queries: bool) -> Callable[[Array, Array, Array, Layer], tuple[Array, ...]]:
    def turn(q: Array, k: Array, v: Array, layer: Layer) -> tuple[Array, ...]:
        parts = layer.engine.parts
        cos, sin = parts.rotation(layer.engine.inv_freq, parts.positions(layer.clock))
        if queries:
            return apply_rope_interleaved(q, cos, sin), layer.turned(k), v
        return layer.turned(q), apply_rope_interleaved(k, cos, sin), v

    return turn


def _keys_at_total(q: Array, k: Array, v: Array, layer: Layer) -> tuple[Array, ...]:
    """Keys count from where the call ends; queries are right."""
    clock = layer.clock
    return layer.turned(q), layer.turned_at(k, layer.engine.parts.positions(clock) + clock.seq), v


def _queries_at_total(q: Array, k: Array, v: Array, layer: Layer) -> tuple[Array, ...]:
    clock = layer.clock
    return layer.turned_at(q, layer.engine.parts.positions(clock) + clock.seq), layer.turned(k), v


def _queries_at_zero(q: Array, k: Array, v: Array, layer: Layer) -> tuple[Array, ...]:
    """Queries of a call count from 0; keys are right."""
    return layer.turned_at(q, np.arange(q.shape[-2], dtype=np.float32)), layer.turned(k), v


def _keys_at_zero(q: Array, k: Array, v: Array, layer: Layer) -> tuple[Array, ...]:
    return layer.turned(q), layer.turned_at(k, np.arange(k.shape[-2], dtype=np.float32)), v


def _whole_row(interleaved: bool) -> Callable[[Array, Array, Array, Layer], tuple[Array, ...]]:
    """The row of all heads is turned as if it were one wide head."""

    def wide(x: Array, layer: Layer, theta: float) -> Array:
        heads = x.reshape(-1, *x.shape[-2:])  # (n_heads, seq, head_dim)
        rows = heads.transpose(1, 0, 2).reshape(heads.shape[1], -1)
        width = rows.shape[1]
        turns = (theta ** (-2 * np.arange(width // 2) / width)).astype(np.float32)
        parts = layer.engine.parts
        cos, sin = parts.rotation(turns, parts.positions(layer.clock))
        rope = apply_rope_interleaved if interleaved else apply_rope
        turned = rope(rows, cos, sin).reshape(heads.shape[1], heads.shape[0], -1)
        return turned.transpose(1, 0, 2).reshape(x.shape)

    def turn(q: Array, k: Array, v: Array, layer: Layer) -> tuple[Array, ...]:
        theta = layer.engine.model.config.rope_theta
        return wide(q, layer, theta), wide(k, layer, theta), v

    return turn


def _first_head_only(queries: bool) -> Callable[[Array, Array, Array, Layer], tuple[Array, ...]]:
    """Only head 0 is turned, as when a loop over heads is missing."""

    def turn(q: Array, k: Array, v: Array, layer: Layer) -> tuple[Array, ...]:
        turned_q, turned_k = layer.turned(q), layer.turned(k)
        if not queries:
            return turned_q, np.concatenate([turned_k[:1], k[1:]]), v
        some = q.copy()
        some[0, 0] = turned_q[0, 0]
        return some, np.concatenate([turned_k[:1], k[1:]]), v

    return turn


def _query_heads_of_keys(q: Array, k: Array, v: Array, layer: Layer) -> tuple[Array, ...]:
    """Only as many query heads are turned as there are key heads."""
    n_kv_heads, _n_groups = q.shape[:2]
    flat, turned = q.reshape(-1, *q.shape[2:]).copy(), layer.turned(q).reshape(-1, *q.shape[2:])
    flat[:n_kv_heads] = turned[:n_kv_heads]
    return flat.reshape(q.shape), layer.turned(k), v


def _half_of_pairs(x: Array, cos: Array, sin: Array) -> Array:
    """Only the first half of a head's numbers is turned, among itself."""
    few = x.shape[-1] // 4
    half = 2 * few
    return np.concatenate(
        [apply_rope(x[..., :half], cos[:, :few], sin[:, :few]), x[..., half:]], -1
    )


def _slow_pairs_still(x: Array, cos: Array, sin: Array) -> Array:
    """Only the faster half of the pairs is turned."""
    few = max(1, cos.shape[1] // 2)
    cos, sin = cos.copy(), sin.copy()
    cos[:, few:], sin[:, few:] = 1, 0
    return apply_rope(x, cos, sin)


def _halves_exchanged(x: Array, cos: Array, sin: Array) -> Array:
    half = x.shape[-1] // 2
    return apply_rope(np.concatenate([x[..., half:], x[..., :half]], axis=-1), cos, sin)


def _second_sign(x: Array, cos: Array, sin: Array) -> Array:
    first, second = np.split(x, 2, axis=-1)
    return np.concatenate([first * cos - second * sin, second * cos - first * sin], axis=-1)


def _overwritten_second(x: Array, cos: Array, sin: Array) -> Array:
    first, second = np.split(x, 2, axis=-1)
    second = second * cos + first * sin
    return np.concatenate([first * cos - second * sin, second], axis=-1)


def _overwritten_interleaved(x: Array, cos: Array, sin: Array) -> Array:
    y = x.copy()
    y[..., 0::2] = x[..., 0::2] * cos - x[..., 1::2] * sin
    y[..., 1::2] = x[..., 1::2] * cos + y[..., 0::2] * sin
    return y


def _rounded_rotation(dtype: np.dtype) -> Callable[[Array, Array], tuple[Array, Array]]:
    def rotation(inv_freq: Array, positions: Array) -> tuple[Array, Array]:
        angles = positions[:, None] * inv_freq
        cos, sin = np.cos(angles).astype(dtype), np.sin(angles).astype(dtype)
        return cos.astype(np.float32), sin.astype(np.float32)

    return rotation


def _degrees(inv_freq: Array, positions: Array) -> tuple[Array, Array]:
    angles = positions[:, None] * inv_freq * np.float32(math.pi / 180)
    return np.cos(angles), np.sin(angles)


def _turns(inv_freq: Array, positions: Array) -> tuple[Array, Array]:
    angles = positions[:, None] * inv_freq * np.float32(2 * math.pi)
    return np.cos(angles), np.sin(angles)


def _sine_first(inv_freq: Array, positions: Array) -> tuple[Array, Array]:
    angles = positions[:, None] * inv_freq
    return np.sin(angles), np.cos(angles)


def _rope(
    key: str, says: str, code: tuple[str, str], topic: str = "rotate", **change: object
) -> Mistake:
    return entry(f"rope.{key}", says, code, topic, **change)


HALF_SPLIT = "a, b = head[j], head[j + half]"

ROTATION = (
    _rope(
        "interleaved",
        "neighbours are rotated (2j with 2j + 1), as in Meta's files and GGUF",
        (HALF_SPLIT, "a, b = head[2 · j], head[2 · j + 1]"),
        "layout",
        rope=apply_rope_interleaved,
        exhibit="interleaved",
    ),
    _rope(
        "interleaved_q",
        "in the queries neighbours are rotated, in the keys halves",
        (HALF_SPLIT, "q: a, b = head[2 · j], head[2 · j + 1]"),
        "layout",
        turn=_one_interleaved(True),
    ),
    _rope(
        "interleaved_k",
        "in the keys neighbours are rotated, in the queries halves",
        (HALF_SPLIT, "k: a, b = head[2 · j], head[2 · j + 1]"),
        "layout",
        turn=_one_interleaved(False),
    ),
    _rope(
        "mixed",
        "halves are paired, but cosines are laid out for neighbours",
        ("cos = concatenate(cos, cos)", "cos = repeat(cos, 2)"),
        "layout",
        rope=known("rotate", "mixed"),
        exhibit="mixed_layouts",
    ),
    _rope(
        "backwards",
        "queries and keys are turned backwards",
        ("a · cos - b · sin", "a · cos + b · sin"),
        rope=known("rotate", "backwards"),
    ),
    _rope(
        "sign",
        "the first number of a pair has the wrong sign",
        ("a · cos - b · sin", "a · cos + b · sin, the second as it was"),
        rope=known("rotate", "sign"),
    ),
    _rope(
        "second_sign",
        "the second number of a pair has the wrong sign",
        ("b · cos + a · sin", "b · cos - a · sin, the first as it was"),
        rope=_second_sign,
    ),
    _rope(
        "overwritten",
        "the second number of a pair is made from a first one that has been turned already",
        ("(a, b) = (head[j], head[j + half])", "head[j] = …; head[j + half] = … head[j] …"),
        rope=known("rotate", "overwritten"),
    ),
    _rope(
        "overwritten_second",
        "the first number of a pair is made from a second one that has been turned already",
        ("(a, b) = (head[j], head[j + half])", "head[j + half] = …; head[j] = … head[j + half] …"),
        rope=_overwritten_second,
    ),
    _rope(
        "overwritten_interleaved",
        "neighbours are rotated, and the second is made from a first that has been turned already",
        (HALF_SPLIT, "head[2 · j] = …; head[2 · j + 1] = … head[2 · j] …"),
        rope=_overwritten_interleaved,
    ),
    _rope(
        "first_half",
        "the second number of each pair stays as it was",
        ("head[j + half] = b · cos + a · sin", ""),
        rope=known("rotate", "first_half"),
    ),
    _rope(
        "half_of_head",
        "only the first half of each head is turned, among itself",
        ("half = head_dim / 2", "half = head_dim / 4"),
        rope=_half_of_pairs,
    ),
    _rope(
        "slow_pairs_still",
        "only the faster half of the pairs is turned",
        ("for j in 0..half", "for j in 0..half / 2"),
        rope=_slow_pairs_still,
    ),
    _rope(
        "halves_exchanged",
        "the halves of a head change places before they are turned",
        (HALF_SPLIT, "a, b = head[j + half], head[j]"),
        rope=_halves_exchanged,
    ),
    _rope(
        "sine_for_cosine",
        "sine and cosine change places",
        ("cos, sin = cos(angle), sin(angle)", "cos, sin = sin(angle), cos(angle)"),
        rotation=_sine_first,
    ),
    _rope(
        "degrees",
        "angles are taken for degrees",
        ("cos(angle)", "cos(angle · π / 180)"),
        "angles",
        rotation=_degrees,
    ),
    _rope(
        "full_turns",
        "angles are taken for full turns: 2π too many",
        ("cos(angle)", "cos(2π · angle)"),
        "angles",
        rotation=_turns,
    ),
    _rope(
        "cos_in_bf16",
        "cosines and sines are kept in bfloat16",
        ("cos, sin: f32", "cos, sin: bf16"),
        "precision",
        rotation=_rounded_rotation(BF16),
        loose=20.0,
    ),
    _rope(
        "cos_in_f16",
        "cosines and sines are kept in float16",
        ("cos, sin: f32", "cos, sin: f16"),
        "precision",
        rotation=_rounded_rotation(F16),
        loose=20.0,
    ),
    _rope(
        "none",
        "nothing is rotated",
        ("q, k = rope(q), rope(k)", "q, k = q, k"),
        "what is turned",
        turn=_turned(0, 0),
    ),
    _rope(
        "q_only",
        "queries are rotated, and keys are not",
        ("q, k = rope(q), rope(k)", "q = rope(q)"),
        "what is turned",
        turn=_turned(1, 0),
    ),
    _rope(
        "k_only",
        "keys are rotated, and queries are not",
        ("q, k = rope(q), rope(k)", "k = rope(k)"),
        "what is turned",
        turn=_turned(0, 1),
    ),
    _rope(
        "q_twice",
        "queries are rotated twice",
        ("q, k = rope(q), rope(k)", "q, k = rope(rope(q)), rope(k)"),
        "what is turned",
        turn=_turned(2, 1),
    ),
    _rope(
        "k_twice",
        "keys are rotated twice",
        ("q, k = rope(q), rope(k)", "q, k = rope(q), rope(rope(k))"),
        "what is turned",
        turn=_turned(1, 2),
    ),
    _rope(
        "both_twice",
        "queries and keys are rotated twice",
        ("q, k = rope(q), rope(k)", "q, k = rope(rope(q)), rope(rope(k))"),
        "what is turned",
        turn=_turned(2, 2),
    ),
    _rope(
        "v_too",
        "values are rotated as well",
        ("q, k = rope(q), rope(k)", "q, k, v = rope(q), rope(k), rope(v)"),
        "what is turned",
        turn=_values_too,
        exhibit="values_turned",
    ),
    _rope(
        "q_backwards",
        "queries are turned backwards",
        ("rope(q, angle)", "rope(q, -angle)"),
        turn=_one_backwards(True),
    ),
    _rope(
        "k_backwards",
        "keys are turned backwards",
        ("rope(k, angle)", "rope(k, -angle)"),
        turn=_one_backwards(False),
    ),
    _rope(
        "q_at_zero",
        "the positions of queries begin at 0 in every call, and those of keys do not",
        ("rope(q, past)", "rope(q, 0)"),
        "past",
        turn=_queries_at_zero,
    ),
    _rope(
        "k_at_total",
        "the positions of keys begin after the new tokens, and those of queries do not",
        ("rope(k, past)", "rope(k, past + seq)"),
        "past",
        turn=_keys_at_total,
    ),
    _rope(
        "q_at_total",
        "the positions of queries begin after the new tokens, and those of keys do not",
        ("rope(q, past)", "rope(q, past + seq)"),
        "past",
        turn=_queries_at_total,
    ),
    _rope(
        "k_at_zero",
        "the positions of keys begin at 0 in every call, and those of queries do not",
        ("rope(k, past)", "rope(k, 0)"),
        "past",
        turn=_keys_at_zero,
    ),
    _rope(
        "whole_row",
        "the row of all heads is turned as if it were one wide head",
        ("for head in row.chunks(head_dim)", "half = row.len() / 2"),
        turn=_whole_row(False),
    ),
    _rope(
        "whole_row_interleaved",
        "neighbours are rotated, with frequencies counted along the row of all heads",
        ("for head in row.chunks(head_dim)", "row[2 · j], row[2 · j + 1], j up to row.len() / 2"),
        turn=_whole_row(True),
    ),
    _rope(
        "first_head_only",
        "only head 0 is turned, of the queries and of the keys",
        ("for head in row.chunks(head_dim)", "row[..head_dim]"),
        turn=_first_head_only(True),
    ),
    _rope(
        "first_key_head_only",
        "only head 0 of the keys is turned",
        ("for head in row.chunks(head_dim)", "row[..head_dim]"),
        turn=_first_head_only(False),
    ),
    _rope(
        "query_heads_of_keys",
        "only the first n_kv_heads of the query heads are turned",
        ("rope(q, n_heads)", "rope(q, n_kv_heads)"),
        turn=_query_heads_of_keys,
    ),
    _rope(
        "keys_as_values",
        "keys are used as values",
        ("mixed = weights @ v", "mixed = weights @ k"),
        "attention",
        turn=_keys_as_values,
    ),
)


# Heads and scores.

Rule = Callable[[int, int, int], int]  # (head, n_kv_heads, n_groups) -> key/value head


def _owners(rule: Rule, n_kv_heads: int, n_groups: int) -> list[int]:
    return [rule(head, n_kv_heads, n_groups) for head in range(n_kv_heads * n_groups)]


def _scores_by(rule: Rule) -> Callable[[Array, Array], Array]:
    def scores(q: Array, k: Array) -> Array:
        n_kv_heads, n_groups, seq, head_dim = q.shape
        keys = k[_owners(rule, n_kv_heads, n_groups)]
        flat = np.matmul(q.reshape(-1, seq, head_dim), keys.transpose(0, 2, 1))
        return (flat * head_dim**-0.5).reshape(n_kv_heads, n_groups, seq, -1)

    return scores


def _mix_by(rule: Rule) -> Callable[[Array, Array], Array]:
    def mix(weights: Array, v: Array) -> Array:
        n_kv_heads, n_groups, seq, total_seq = weights.shape
        values = v[_owners(rule, n_kv_heads, n_groups)]
        mixed = np.matmul(weights.reshape(-1, seq, total_seq), values)
        return mixed.reshape(n_kv_heads, n_groups, seq, -1)

    return mix


RULES: dict[str, tuple[str, str, Rule]] = {
    "modulo": (
        "key/value heads are dealt out in turn: head % n_kv_heads",
        "head % n_kv_heads",
        lambda h, n, g: h % n,
    ),
    "first": ("every query head reads key/value head 0", "0", lambda h, n, g: 0),
    "reversed": (
        "query heads read the key/value heads from the last to the first",
        "n_kv_heads - 1 - head / n_groups",
        lambda h, n, g: n - 1 - h // g,
    ),
    "swapped": (
        "the head is divided by n_kv_heads, and not by n_groups",
        "head / n_kv_heads",
        lambda h, n, g: min(h // n, n - 1),
    ),
    "own": (
        "query head h reads key/value head h, and the last one from there on",
        "min(head, n_kv_heads - 1)",
        lambda h, n, g: min(h, n - 1),
    ),
    "modulo_groups": (
        "the remainder by n_groups is taken, and not the quotient",
        "head % n_groups",
        lambda h, n, g: min(h % g, n - 1),
    ),
    "next": (
        "query heads read the key/value head after their own",
        "(head / n_groups + 1) % n_kv_heads",
        lambda h, n, g: (h // g + 1) % n,
    ),
}

SHARING = (
    *(
        entry(
            f"heads.{name}",
            says,
            ("kv = head / n_groups", f"kv = {wrong}"),
            "sharing",
            exhibit="modulo" if name == "modulo" else "",
            scores=_scores_by(rule),
            mix=_mix_by(rule),
        )
        for name, (says, wrong, rule) in RULES.items()
    ),
    *(
        entry(
            f"heads.{name}_keys",
            f"for keys alone, {says}",
            ("kv = head / n_groups", f"k: kv = {wrong}"),
            "sharing",
            scores=_scores_by(rule),
        )
        for name, (says, wrong, rule) in RULES.items()
    ),
    *(
        entry(
            f"heads.{name}_values",
            f"for values alone, {says}",
            ("kv = head / n_groups", f"v: kv = {wrong}"),
            "sharing",
            mix=_mix_by(rule),
        )
        for name, (says, wrong, rule) in RULES.items()
    ),
)


def _rows_reshaped(kv: Array) -> Array:
    """Rows of a cache, `(n_kv_heads, rows, head_dim)`, as if they lay there head by head."""
    return kv.transpose(1, 0, 2).reshape(kv.shape)


def _kv_reshaped(kv: Array, n_kv_heads: int, head_dim: int) -> Array:
    return kv.reshape(n_kv_heads, len(kv), head_dim)


def _kv_dim_first(kv: Array, n_kv_heads: int, head_dim: int) -> Array:
    return kv.reshape(len(kv), head_dim, n_kv_heads).transpose(2, 0, 1)


RESHAPED = known("split_queries", "reshape_as_transpose")
DIM_FIRST = known("split_queries", "dim_first")
ROWS = "q.reshape(seq, heads, d).transpose(1, 0, 2)"

LAID_OUT = "cache[(row · n_kv_heads + kv) · d]"
READ = "cache[(kv · rows + row) · d]"

HEADS = (
    entry(
        "heads.cached_k_by_head",
        "rows of keys are written by position and read head by head",
        (f"k: {LAID_OUT}", f"k: {READ}"),
        "heads",
        scores=lambda q, k: qk_scores(q, _rows_reshaped(k)),
    ),
    entry(
        "heads.cached_v_by_head",
        "rows of values are written by position and read head by head",
        (f"v: {LAID_OUT}", f"v: {READ}"),
        "heads",
        mix=lambda weights, v: score_v(weights, _rows_reshaped(v)),
    ),
    entry(
        "heads.cached_by_head",
        "rows of keys and values are written by position and read head by head",
        (LAID_OUT, READ),
        "heads",
        scores=lambda q, k: qk_scores(q, _rows_reshaped(k)),
        mix=lambda weights, v: score_v(weights, _rows_reshaped(v)),
    ),
    entry(
        "heads.q_reshaped",
        "the rows of q are reshaped into heads, and not transposed",
        (ROWS, "q.reshape(heads, seq, d)"),
        "heads",
        split_queries=RESHAPED,
        exhibit="reshaped",
    ),
    entry(
        "heads.kv_reshaped",
        "the rows of k and v are reshaped into heads, and not transposed",
        (ROWS, "k.reshape(heads, seq, d)"),
        "heads",
        split_keys=_kv_reshaped,
        split_values=_kv_reshaped,
        exhibit="reshaped",
    ),
    entry(
        "heads.k_reshaped",
        "the rows of k are reshaped into heads, and not transposed",
        (ROWS, "k.reshape(heads, seq, d)"),
        "heads",
        split_keys=_kv_reshaped,
        exhibit="reshaped",
    ),
    entry(
        "heads.v_reshaped",
        "the rows of v are reshaped into heads, and not transposed",
        (ROWS, "v.reshape(heads, seq, d)"),
        "heads",
        split_values=_kv_reshaped,
        exhibit="reshaped",
    ),
    entry(
        "heads.all_reshaped",
        "the rows of q, k and v are reshaped into heads, and not transposed",
        (ROWS, "q.reshape(heads, seq, d)"),
        "heads",
        split_queries=RESHAPED,
        split_keys=_kv_reshaped,
        split_values=_kv_reshaped,
        exhibit="reshaped",
    ),
    entry(
        "heads.all_and_back_reshaped",
        "rows are reshaped into heads and back, and never transposed",
        (ROWS, "q.reshape(heads, seq, d) … mixed.reshape(seq, width)"),
        "heads",
        split_queries=RESHAPED,
        split_keys=_kv_reshaped,
        split_values=_kv_reshaped,
        merge=known("merge", "reshaped"),
    ),
    entry(
        "heads.groups_first",
        "query heads are laid out by groups first: q.reshape(seq, n_groups, n_kv_heads, d)",
        ("q.reshape(seq, n_kv_heads, n_groups, d)", "q.reshape(seq, n_groups, n_kv_heads, d)"),
        "heads",
        split_queries=known("split_queries", "groups_first"),
    ),
    entry(
        "heads.dim_first",
        "the numbers of all heads lie mixed: q.reshape(seq, head_dim, n_heads)",
        ("q[head · head_dim + d]", "q[d · n_heads + head]"),
        "heads",
        split_queries=DIM_FIRST,
    ),
    entry(
        "heads.all_dim_first",
        "the numbers of all heads lie mixed, in q, k and v",
        ("q[head · head_dim + d]", "q[d · n_heads + head]"),
        "heads",
        split_queries=DIM_FIRST,
        split_keys=_kv_dim_first,
        split_values=_kv_dim_first,
    ),
    *(
        entry(
            f"merge.{name}",
            says,
            ("out[i, head · head_dim + d]", wrong),
            "merge",
            merge=known("merge", name),
            exhibit=exhibit,
        )
        for name, says, wrong, exhibit in (
            (
                "reshaped",
                "heads are not turned back: their result is reshaped into rows",
                "mixed.reshape(seq, -1)",
                "heads_not_turned_back",
            ),
            (
                "interleaved",
                "heads are merged by groups first",
                "out[i, (group · n_kv_heads + kv) · head_dim + d]",
                "",
            ),
            (
                "numbers_first",
                "the numbers of all heads are merged mixed",
                "out[i, d · n_heads + head]",
                "",
            ),
        )
    ),
)


def _scaled_scores(power: float) -> Callable[[Array, Array], Array]:
    """Scores times head_dim to another power than -1/2."""

    def scores(q: Array, k: Array) -> Array:
        return qk_scores(q, k) * np.float32(q.shape[-1] ** (power + 0.5))

    return scores


def _scores_negative(q: Array, k: Array) -> Array:
    return -qk_scores(q, k)


def _scores_by_seq(q: Array, k: Array) -> Array:
    return qk_scores(q, k) * np.float32((q.shape[-1] / k.shape[1]) ** 0.5)


def _scores_half_dim(q: Array, k: Array) -> Array:
    half = q.shape[-1] // 2
    return qk_scores(q[..., :half], k[..., :half]) * np.float32((half / q.shape[-1]) ** 0.5)


SCALE = "scores = q · k / √head_dim"
SCORES = (
    entry(
        "scores.unscaled",
        "scores are not divided by √head_dim",
        (SCALE, "scores = q · k"),
        "scores",
        scores=known("group_scores", "unscaled"),
        exhibit="unscaled",
    ),
    entry(
        "scores.by_dim",
        "scores are divided by head_dim, and not by its root",
        (SCALE, "scores = q · k / head_dim"),
        "scores",
        scores=_scaled_scores(-1.0),
    ),
    entry(
        "scores.multiplied",
        "scores are multiplied by √head_dim",
        (SCALE, "scores = q · k · √head_dim"),
        "scores",
        scores=_scaled_scores(0.5),
    ),
    entry(
        "scores.fourth_root",
        "scores are divided by the fourth root of head_dim: only one side was scaled",
        (SCALE, "scores = q · k / head_dim^¼"),
        "scores",
        scores=_scaled_scores(-0.25),
    ),
    entry(
        "scores.by_width",
        "scores are divided by √(n_heads · head_dim), the width of all heads",
        (SCALE, "scores = q · k / √(n_heads · head_dim)"),
        "scores",
        scores=known("group_scores", "scaled_by_width"),
        exhibit="scaled_by_width",
    ),
    entry(
        "scores.by_half",
        "scores are divided by √(head_dim / 2)",
        (SCALE, "scores = q · k / √(head_dim / 2)"),
        "scores",
        scores=lambda q, k: qk_scores(q, k) * np.float32(2**0.5),
    ),
    entry(
        "scores.by_seq",
        "scores are divided by the root of the number of keys",
        (SCALE, "scores = q · k / √total_seq"),
        "scores",
        scores=_scores_by_seq,
    ),
    entry(
        "scores.negative",
        "scores have the wrong sign",
        (SCALE, "scores = -q · k / √head_dim"),
        "scores",
        scores=_scores_negative,
    ),
    entry(
        "scores.half_of_dim",
        "only the first half of each head is multiplied",
        ("for d in 0..head_dim", "for d in 0..head_dim / 2"),
        "scores",
        scores=_scores_half_dim,
    ),
)


# Mask and softmax.


def _stairs(name: str) -> Callable[[Array, Clock], Array]:
    """The mask that the exercise's wrong staircase makes."""
    staircase = known("staircase", name)

    def masked(scores: Array, clock: Clock) -> Array:
        return apply_mask(scores, staircase(clock.seq, clock.past))

    return masked


def _stairs_for_several(name: str) -> Callable[[Array, Clock], Array]:
    masked = _stairs(name)
    return lambda scores, clock: scores if clock.seq == 1 else masked(scores, clock)


def _known_mask(name: str) -> Callable[[Array, Clock], Array]:
    function = known("mask_scores", name)
    return lambda scores, clock: scores if clock.seq == 1 else function(scores)


def _square_at_the_left(scores: Array, clock: Clock) -> Array:
    """A square staircase over the first keys; all others may be seen."""
    if clock.seq == 1:
        return scores
    mask = np.ones((clock.seq, clock.past + clock.seq), dtype=np.bool_)
    mask[:, : clock.seq] = np.tri(clock.seq, dtype=np.bool_)
    return apply_mask(scores, mask)


def _window(width: int) -> Callable[[Array, Clock], Array]:
    def masked(scores: Array, clock: Clock) -> Array:
        mask = causal_mask(clock.seq, clock.past)
        near = np.tri(clock.seq, clock.past + clock.seq, k=clock.past - width, dtype=np.bool_)
        return apply_mask(scores, mask & ~near)

    return masked


def _newest_unseen(scores: Array, clock: Clock) -> Array:
    """With a past, a single token does not see itself."""
    if clock.seq > 1 or clock.past == 0:
        return _known_right(scores, clock)
    return apply_mask(scores, np.tri(1, clock.past + 1, k=clock.past - 1, dtype=np.bool_))


def _known_right(scores: Array, clock: Clock) -> Array:
    return scores if clock.seq == 1 else apply_mask(scores, causal_mask(clock.seq, clock.past))


def _first_unseen(scores: Array, clock: Clock) -> Array:
    """The first token is hidden from all others."""
    scores = _known_right(scores, clock).copy()
    scores[..., 1 if clock.past == 0 else 0 :, 0] = -np.inf
    return scores


class _MaskAfter:
    """Weights are cut after softmax and no longer sum to 1. Mask and softmax in one."""

    def __init__(self) -> None:
        self.clock = Clock(0, 1)

    def masked(self, scores: Array, clock: Clock) -> Array:
        self.clock = clock
        return scores

    def softmax(self, scores: Array) -> Array:
        return softmax(scores) * causal_mask(self.clock.seq, self.clock.past)


AFTER = _MaskAfter()
MASK = "scores[i, j > past + i] = -inf"


def _mask(
    key: str, says: str, wrong: str, function: Callable[[Array, Clock], Array], **more: str
) -> Mistake:
    topic = more.pop("topic", "staircase")
    return entry(f"mask.{key}", says, (MASK, wrong), topic, masked=function, **more)


MASKS = (
    _mask(
        "none",
        "there is no mask: tokens see the future",
        "",
        lambda scores, clock: scores,
        topic="mask",
    ),
    _mask(
        "unless_cached",
        "there is no mask as soon as there is a past",
        "if past == 0: …",
        _known_mask("unless_cached"),
        topic="mask",
        exhibit="no_mask_with_cache",
    ),
    _mask(
        "only_cached",
        "there is no mask as long as there is no past",
        "if past > 0: …",
        lambda scores, clock: scores if clock.past == 0 else RIGHT.masked(scores, clock),
        topic="mask",
    ),
    _mask(
        "multiplied",
        "scores are multiplied by the mask: a score of 0 is not a weight of 0",
        "scores[i, j > past + i] *= 0",
        _known_mask("multiplied"),
        topic="mask",
        exhibit="mask_multiplied",
    ),
    _mask(
        "ten",
        "10 is subtracted from hidden scores: the future keeps a small weight",
        "scores[i, j > past + i] -= 10",
        _known_mask("a_little"),
        topic="mask",
    ),
    _mask(
        "no_shift",
        "the staircase is not shifted by the past: a new token sees only the oldest ones",
        "scores[i, j > i] = -inf",
        _known_mask("no_shift"),
    ),
    _mask(
        "no_shift_decode",
        "the staircase is not shifted by the past, for a single token neither",
        "scores[i, j > i] = -inf, seq = 1 as well",
        _stairs("from_the_left"),
    ),
    _mask(
        "square_left",
        "only the first seq keys are masked, in a square; the newer ones are open",
        "scores[i, i < j < seq] = -inf",
        _square_at_the_left,
    ),
    _mask(
        "not_itself",
        "a token does not see itself",
        "scores[i, j >= past + i] = -inf",
        _stairs_for_several("not_itself"),
    ),
    _mask(
        "not_itself_decode",
        "no token sees itself, a single new one neither",
        "scores[i, j >= past + i] = -inf, seq = 1 as well",
        _stairs("not_itself"),
    ),
    _mask(
        "newest_unseen",
        "with a past, a single new token does not see itself",
        "keys = cache[..past]",
        _newest_unseen,
    ),
    _mask(
        "one_more",
        "every token sees the one after it",
        "scores[i, j > past + i + 1] = -inf",
        _stairs_for_several("one_more"),
    ),
    _mask(
        "without_past",
        "the past is hidden, as soon as there are several new tokens",
        "scores[i, j < past or j > past + i] = -inf",
        _stairs_for_several("without_past"),
    ),
    _mask(
        "without_past_decode",
        "the past is hidden from every token",
        "scores[i, j < past or j > past + i] = -inf",
        _stairs("without_past"),
    ),
    _mask(
        "upside_down",
        "the mask is upside down: tokens see the future alone",
        "scores[i, j <= past + i] = -inf",
        _stairs_for_several("upside_down"),
    ),
    _mask(
        "first_unseen",
        "the first token is hidden from all others",
        "scores[i, 0] = -inf",
        _first_unseen,
    ),
    *(
        _mask(
            f"window_{width}",
            f"tokens see no further back than {width} positions",
            f"scores[i, j <= past + i - {width}] = -inf",
            _window(width),
        )
        for width in (8, 16, 32, 64, 128, 255, 256, 512)
    ),
    entry(
        "mask.after_softmax",
        "the mask is applied to the weights, which then no longer sum to 1",
        ("softmax(masked(scores))", "masked(softmax(scores))"),
        "mask",
        masked=AFTER.masked,
        softmax=AFTER.softmax,
    ),
)


def _softmax_base_2(x: Array) -> Array:
    powers = np.exp2(x - x.max(axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True)


def _softmax_plus_one(x: Array) -> Array:
    powers = np.exp(x)
    return powers / (1 + powers.sum(axis=-1, keepdims=True))


def _softmax_plus_one_after(x: Array) -> Array:
    powers = np.exp(x - x.max(axis=-1, keepdims=True))
    return powers / (1 + powers.sum(axis=-1, keepdims=True))


def _over_heads(x: Array) -> Array:
    """Over the query heads of a KV group, for every query and key."""
    flat = x.reshape(-1, *x.shape[2:])
    with np.errstate(invalid="ignore"):
        powers = np.exp(flat - flat.max(axis=0, keepdims=True))
        weights = np.nan_to_num(powers / powers.sum(axis=0, keepdims=True))
    return weights.reshape(x.shape).astype(np.float32)


def _twice(x: Array) -> Array:
    first = softmax(x)
    return softmax(np.where(np.isneginf(x), np.float32(-np.inf), first))


SOFTMAX = (
    entry(
        "softmax.columns",
        "softmax runs over the queries, and not over the keys",
        ("softmax(scores, axis=-1)", "softmax(scores, axis=-2)"),
        "softmax",
        softmax=known("row_softmax", "columns"),
        exhibit="softmax_of_columns",
    ),
    entry(
        "softmax.one_sum",
        "all rows are divided by one sum",
        ("p / p.sum(axis=-1)", "p / p.sum()"),
        "softmax",
        softmax=known("row_softmax", "one_sum"),
    ),
    entry(
        "softmax.not_divided",
        "exponentials are not divided by their sum",
        ("p / p.sum(axis=-1)", "p"),
        "softmax",
        softmax=known("row_softmax", "not_divided"),
    ),
    entry(
        "softmax.base_2",
        "powers of 2 stand where powers of e should",
        ("exp(x - max)", "2 ** (x - max)"),
        "softmax",
        softmax=_softmax_base_2,
    ),
    entry(
        "softmax.plus_one",
        "1 is added to the sum of exponentials",
        ("p / p.sum(axis=-1)", "p / (1 + p.sum(axis=-1))"),
        "softmax",
        softmax=_softmax_plus_one,
    ),
    entry(
        "softmax.plus_one_after",
        "1 is added to the sum of exponentials, after the largest score was subtracted",
        ("p / p.sum(axis=-1)", "p = exp(x - max); p / (1 + p.sum(axis=-1))"),
        "softmax",
        softmax=_softmax_plus_one_after,
    ),
    entry(
        "softmax.over_heads",
        "softmax runs over the heads",
        ("softmax(scores, axis=-1)", "softmax(scores, axis=0)"),
        "softmax",
        softmax=_over_heads,
    ),
    entry(
        "softmax.none",
        "there is no softmax: scores are used as weights",
        ("weights = softmax(scores)", "weights = scores"),
        "softmax",
        softmax=lambda x: np.where(np.isneginf(x), np.float32(0), x),
    ),
    entry(
        "softmax.sigmoid",
        "a sigmoid stands where softmax should",
        ("weights = softmax(scores)", "weights = sigmoid(scores)"),
        "softmax",
        softmax=lambda x: (1 / (1 + np.exp(-x))).astype(np.float32),
    ),
    entry(
        "softmax.twice",
        "softmax is applied twice",
        ("softmax(scores)", "softmax(softmax(scores))"),
        "softmax",
        softmax=_twice,
    ),
    entry(
        "softmax.negative",
        "the exponent has the wrong sign",
        ("exp(x - max)", "exp(min - x)"),
        "softmax",
        softmax=lambda x: softmax(np.where(np.isneginf(x), x, -x)),
    ),
)


def _mix_backwards(weights: Array, v: Array) -> Array:
    return score_v(weights[..., ::-1], v)


VALUES = (
    entry(
        "values.largest",
        "only the value with the largest weight is taken",
        ("mixed = Σ weights[j] · v[j]", "mixed = v[argmax(weights)]"),
        "values",
        mix=known("mix_values", "largest"),
    ),
    entry(
        "values.not_weighted",
        "values are summed without their weights",
        ("mixed = Σ weights[j] · v[j]", "mixed = Σ v[j]"),
        "values",
        mix=known("mix_values", "not_weighted"),
    ),
    entry(
        "values.mean",
        "values are averaged without their weights",
        ("mixed = Σ weights[j] · v[j]", "mixed = mean of v[j]"),
        "values",
        mix=lambda w, v: score_v((w > 0) / (w > 0).sum(axis=-1, keepdims=True, dtype=w.dtype), v),
    ),
    entry(
        "values.new_only",
        "only the values of new tokens are mixed",
        ("for j in 0..total_seq", "for j in past..total_seq"),
        "values",
        mix=known("mix_values", "new_only"),
    ),
    entry(
        "values.backwards",
        "weights meet the values in reverse",
        ("weights[j] · v[j]", "weights[j] · v[total_seq - 1 - j]"),
        "values",
        mix=_mix_backwards,
    ),
    entry(
        "values.last_lost",
        "the newest value is left out of the sum",
        ("for j in 0..total_seq", "for j in 0..total_seq - 1"),
        "values",
        mix=lambda w, v: score_v(w[..., :-1], v[:, :-1]),
    ),
    entry(
        "values.first_lost",
        "the oldest value is left out of the sum",
        ("for j in 0..total_seq", "for j in 1..total_seq"),
        "values",
        mix=lambda w, v: score_v(w[..., 1:], v[:, 1:]),
    ),
)


def _no_o_proj(parts: object, x: Array, prefix: str, tensors: object) -> Array:
    from llama_edu.verify.parts import RIGHT

    return x if prefix.endswith("o_proj") else RIGHT.project(RIGHT, x, prefix, tensors)  # type: ignore[arg-type]


OUTPUT = (
    entry(
        "values.no_o_proj",
        "o_proj is left out, which only a square one allows",
        ("x = x + mixed o_projᵀ", "x = x + mixed"),
        "merge",
        project=_no_o_proj,
    ),
)

ATTENTION: tuple[Mistake, ...] = (
    *FREQUENCIES,
    *POSITIONS,
    *ROTATION,
    *SHARING,
    *HEADS,
    *SCORES,
    *MASKS,
    *SOFTMAX,
    *VALUES,
    *OUTPUT,
)
"""Mistakes in attention, but for its cache."""
