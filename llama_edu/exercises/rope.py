"""Exercises on RoPE: angles, pairs, layouts."""

import math
from collections.abc import Callable, Mapping
from functools import cache

import numpy as np

from llama_edu.engine.llama import Llama
from llama_edu.exercises.framework.draw import noise, pick, seeded_noise, whole, wholes
from llama_edu.exercises.framework.exercise import Case, Exercise, Mutant
from llama_edu.exercises.framework.tiny import tiny_checkpoint
from llama_edu.formats.config import LlamaConfig
from llama_edu.ops.attention import softmax
from llama_edu.ops.rope import (
    apply_rope,
    apply_rope_interleaved,
    half_split_to_interleaved,
    interleaved_to_half_split,
)

Array = np.ndarray


# ★ angles(head_dim, theta, past, seq): radians of every position and pair, (seq, half_dim)


def _angles(head_dim: int, theta: float, past: int, seq: int) -> Array:
    turns = np.array([theta ** (-2 * j / head_dim) for j in range(head_dim // 2)])
    return np.outer(np.arange(past, past + seq), turns).astype(np.float32)


def _angles_loop(head_dim: int, theta: float, past: int, seq: int) -> Array:
    angles = np.empty((seq, head_dim // 2), dtype=np.float32)
    for i, j in np.ndindex(angles.shape):
        angles[i, j] = (past + i) / theta ** (2 * j / head_dim)
    return angles


def _angles_no_past(head_dim: int, theta: float, past: int, seq: int) -> Array:
    return _angles(head_dim, theta, 0, seq)


def _angles_from_one(head_dim: int, theta: float, past: int, seq: int) -> Array:
    return _angles(head_dim, theta, past + 1, seq)


def _angles_past_twice(head_dim: int, theta: float, past: int, seq: int) -> Array:
    return _angles(head_dim, theta, 2 * past, seq)


def _angles_fixed_theta(head_dim: int, theta: float, past: int, seq: int) -> Array:
    return _angles(head_dim, 10000.0, past, seq)


def _angles_single_steps(head_dim: int, theta: float, past: int, seq: int) -> Array:
    return _angles_loop(2 * head_dim, theta, past, seq)[:, : head_dim // 2]


def _angles_of_half(head_dim: int, theta: float, past: int, seq: int) -> Array:
    turns = np.array([theta ** (-4 * j / head_dim) for j in range(head_dim // 2)])
    return np.outer(np.arange(past, past + seq), turns).astype(np.float32)


def _angles_growing(head_dim: int, theta: float, past: int, seq: int) -> Array:
    turns = np.array([theta ** (2 * j / head_dim) for j in range(head_dim // 2)])
    return np.outer(np.arange(past, past + seq), turns).astype(np.float32)


def _angles_for_all(head_dim: int, theta: float, past: int, seq: int) -> Array:
    angles = _angles(head_dim, theta, past, seq)
    return np.concatenate([angles, angles], axis=-1)


def _angles_drawn(rng: np.random.Generator) -> list[Case]:
    dim, past, seq = 2 * whole(rng, 3, 8), whole(rng, 1, 90), whole(rng, 2, 6)
    return [Case("other numbers", (dim, float(whole(rng, 50, 9000)), past, seq))]


ANGLES = Exercise(
    name="angles",
    loops=False,
    topic="rope",
    books=("llama_edu.ops.rope.inverse_frequencies",),
    stars=1,
    task="Compute the angle of every position and pair: position times theta^(-2j / head_dim).",
    section="All pairs, each at its speed",
    cases=lambda: [
        Case("5 positions from 0, head_dim 6", (6, 10000.0, 0, 5)),
        Case("2 positions after a past of 7, theta 500,000", (8, 500000.0, 7, 2)),
        Case("1 position after a past of 30, head_dim 2", (2, 100.0, 30, 1)),
    ],
    drawn=_angles_drawn,
    correct=(_angles, _angles_loop),
    axes="seq half_dim",
    mutants=(
        Mutant(
            "no_past",
            _angles_no_past,
            "when positions start at 0 although there is a past: a decoded token never moves",
            "https://github.com/Blaizzy/mlx-vlm/issues/1983",
            section="Forget the past",
        ),
        Mutant("from_one", _angles_from_one, "when the first position is 1"),
        Mutant(
            "past_twice",
            _angles_past_twice,
            "when the past is counted twice: the position jumps after the prompt",
            "https://github.com/skyzh/tiny-llm/pull/46",
            section="Common mistakes",
        ),
        Mutant(
            "fixed_theta",
            _angles_fixed_theta,
            "when theta is 10,000 whatever the config says",
            "https://github.com/marin-community/levanter/pull/649",
            section="A wrong theta",
        ),
        Mutant(
            "single_steps",
            _angles_single_steps,
            "when the exponent is j / head_dim: it is 2j, since a pair takes two of the numbers",
        ),
        Mutant("of_half", _angles_of_half, "when 2j is divided by the number of pairs"),
        Mutant("growing", _angles_growing, "when the exponent is not negative"),
        Mutant(
            "for_all",
            _angles_for_all,
            "when every angle comes twice: one per number, where one per pair is asked for",
        ),
        Mutant(
            "from_zero_on",
            lambda head_dim, theta, past, seq: _angles(head_dim, theta, 0, past + seq),
            "when the past's positions get angles as well",
        ),
        Mutant(
            "cosines",
            lambda head_dim, theta, past, seq: np.cos(_angles(head_dim, theta, past, seq)),
            "when the cosine is taken as well",
        ),
        Mutant(
            "every_number",
            lambda head_dim, theta, past, seq: np.outer(
                np.arange(past, past + seq), theta ** (-2.0 * np.arange(head_dim) / head_dim)
            ).astype(np.float32),
            "when there is an angle for each number, not for each pair",
        ),
        Mutant(
            "turned",
            lambda head_dim, theta, past, seq: _angles(head_dim, theta, past, seq).T,
            "when positions are the columns",
        ),
        Mutant(
            "turns",
            lambda head_dim, theta, past, seq: (
                _angles(head_dim, theta, past, seq) / np.float32(2 * np.pi)
            ),
            "when angles are counted in full turns",
        ),
    ),
)


# ★★ rotate(x, cos, sin): x (n_heads, seq, head_dim), half-split pairs


def _rotate_concatenated(x: Array, cos: Array, sin: Array) -> Array:
    first, second = np.split(x, 2, axis=-1)
    return np.concatenate([first * cos - second * sin, second * cos + first * sin], axis=-1)


def _rotate_complex(x: Array, cos: Array, sin: Array) -> Array:
    half = x.shape[-1] // 2
    turned = (x[..., :half] + 1j * x[..., half:]) * (cos + 1j * sin)
    return np.concatenate([turned.real, turned.imag], axis=-1).astype(x.dtype)


def _rotate_slices(x: Array, cos: Array, sin: Array) -> Array:
    first, second = x[..., 0::2], x[..., 1::2]
    y = np.empty_like(x)
    y[..., 0::2] = first * cos - second * sin
    y[..., 1::2] = second * cos + first * sin
    return y


def _rotate_backwards(x: Array, cos: Array, sin: Array) -> Array:
    return apply_rope(x, cos, -sin)


def _rotate_sign(x: Array, cos: Array, sin: Array) -> Array:
    first, second = np.split(x, 2, axis=-1)
    return np.concatenate([first * cos + second * sin, second * cos + first * sin], axis=-1)


def _rotate_overwritten(x: Array, cos: Array, sin: Array) -> Array:
    half = x.shape[-1] // 2
    y = x.copy()
    y[..., :half] = y[..., :half] * cos - y[..., half:] * sin
    y[..., half:] = y[..., half:] * cos + y[..., :half] * sin
    return y


def _rotate_mixed(x: Array, cos: Array, sin: Array) -> Array:
    first, second = np.split(x, 2, axis=-1)
    turned = np.concatenate([-second, first], axis=-1)
    return x * np.repeat(cos, 2, axis=-1) + turned * np.repeat(sin, 2, axis=-1)


def _rotate_by_head(x: Array, cos: Array, sin: Array) -> Array:
    heads = np.arange(len(x)) % len(cos)
    return apply_rope(x, cos[heads][:, None], sin[heads][:, None])


def _rotate_first_half_only(x: Array, cos: Array, sin: Array) -> Array:
    first, second = np.split(x, 2, axis=-1)
    return np.concatenate([first * cos - second * sin, second], axis=-1)


def _rotate_in_place(x: Array, cos: Array, sin: Array) -> Array:
    x[...] = apply_rope(x, cos, sin)
    return x


def _turns(past: int, seq: int, half: int) -> tuple[Array, Array]:
    angles = _angles(2 * half, 50.0, past, seq)
    return np.cos(angles), np.sin(angles)


def _rotate_drawn(rng: np.random.Generator) -> list[Case]:
    heads, seq, half, past = wholes(rng, 4, 2, 7)
    return [Case("other sizes", (noise(rng, heads, seq, 2 * half), *_turns(past, seq, half)))]


ROTATE = Exercise(
    name="rotate",
    topic="rope",
    books=("llama_edu.ops.rope.apply_rope",),
    stars=2,
    task="Repair the rotation: number j of a head turns together with number j + head_dim / 2.",
    section="All pairs, each at its speed",
    cases=lambda: [
        Case("3 heads, 4 positions, head_dim 6", (seeded_noise(1, 3, 4, 6), *_turns(0, 4, 3))),
        Case(
            "2 heads, 1 position after a past of 9", (seeded_noise(2, 2, 1, 10), *_turns(9, 1, 5))
        ),
        Case(
            "head_dim 2, where both layouts are one", (seeded_noise(3, 5, 3, 2), *_turns(2, 3, 1))
        ),
    ],
    drawn=_rotate_drawn,
    correct=(_rotate_concatenated, _rotate_complex, apply_rope),
    axes="n_heads seq head_dim",
    mutants=(
        Mutant(
            "interleaved",
            _rotate_slices,
            "when neighbours are taken for pairs: that is the other layout",
            "https://github.com/NeuraLegion/shainet/pull/111",
            section="Two ways to pair",
        ),
        Mutant(
            "backwards",
            _rotate_backwards,
            "when it turns the other way round",
            section="Turn it wrong",
        ),
        Mutant(
            "sign",
            _rotate_sign,
            "when the minus is missing: that is no rotation",
            section="One pair of numbers",
        ),
        Mutant(
            "overwritten",
            _rotate_overwritten,
            "when the second half is computed from a first half that was already turned",
        ),
        Mutant(
            "mixed",
            _rotate_mixed,
            "when the numbers are paired by halves and the angles are repeated by neighbours",
            "https://github.com/huggingface/transformers/issues/40462",
            section="Move everything",
        ),
        Mutant(
            "by_head",
            _rotate_by_head,
            "when the angle goes by the number of the head and not by the position",
            "https://github.com/mlfoundations/open_lm/issues/4",
            section="Common mistakes",
        ),
        Mutant("first_half", _rotate_first_half_only, "when only the first half is turned"),
        Mutant("in_place", _rotate_in_place, "when the caller's heads are turned in place"),
        Mutant(
            "exchanged",
            lambda x, cos, sin: _rotate_concatenated(x, sin, cos),
            "when sine and cosine change places",
        ),
        Mutant(
            "cosine_only", lambda x, cos, sin: x * np.tile(cos, 2), "when only the cosine is used"
        ),
        Mutant(
            "twice",
            lambda x, cos, sin: _rotate_concatenated(_rotate_concatenated(x, cos, sin), cos, sin),
            "when everything is turned twice",
        ),
        Mutant("not_turned", lambda x, cos, sin: x.copy(), "when nothing is turned"),
    ),
)


# ★★ rows_to_neighbours(weight, n_heads): a half-split q or k weight for an interleaved engine


def _rows_indexed(weight: Array, n_heads: int) -> Array:
    half = len(weight) // n_heads // 2
    order = [
        head * 2 * half + part * half + j
        for head in range(n_heads)
        for j in range(half)
        for part in (0, 1)
    ]
    return weight[order]


def _rows_strided(weight: Array, n_heads: int) -> Array:
    by_head = weight.reshape(n_heads, -1, *weight.shape[1:])
    out = np.empty_like(by_head)
    half = by_head.shape[1] // 2
    out[:, 0::2], out[:, 1::2] = by_head[:, :half], by_head[:, half:]
    return out.reshape(weight.shape)


def _rows_reshaped(weight: Array, n_heads: int) -> Array:
    pairs = weight.reshape(n_heads, -1, 2, *weight.shape[1:])
    return pairs.swapaxes(1, 2).reshape(weight.shape)


def _rows_one_head(weight: Array, n_heads: int) -> Array:
    return half_split_to_interleaved(weight, 1)


def _rows_swapped(weight: Array, n_heads: int) -> Array:
    half = len(weight) // n_heads // 2
    by_half = weight.reshape(n_heads, 2, half, *weight.shape[1:])
    return by_half[:, ::-1].swapaxes(1, 2).reshape(weight.shape)


def _columns(weight: Array, n_heads: int) -> Array:
    if weight.ndim == 1:
        return weight.copy()
    half = weight.shape[1] // 2
    order = [part * half + j for j in range(half) for part in (0, 1)]
    return weight[:, order]


def _rows_unchanged(weight: Array, n_heads: int) -> Array:
    return weight.copy()


def _rows_to_neighbours_drawn(rng: np.random.Generator) -> list[Case]:
    heads, half, columns = wholes(rng, 3, 3, 7)
    return [
        Case("other sizes", (noise(rng, heads * 2 * half, columns), heads)),
        Case("a bias of other sizes", (noise(rng, heads * 2 * half), heads)),
    ]


ROWS_TO_NEIGHBOURS = Exercise(
    name="rows_to_neighbours",
    topic="rope",
    books=(
        "llama_edu.ops.rope.half_split_to_interleaved",
        "llama_edu.ops.rope.interleaved_to_half_split",
    ),
    stars=2,
    task="Repair the reordering that makes a half-split weight fit an interleaved rotation.",
    section="Two ways to pair",
    cases=lambda: [
        Case("3 heads of 6 rows, 4 columns", (seeded_noise(4, 18, 4), 3)),
        Case("2 heads of 10 rows, 6 columns", (seeded_noise(5, 20, 6), 2)),
        Case("a bias of 2 heads of 6", (seeded_noise(6, 12), 2)),
    ],
    drawn=_rows_to_neighbours_drawn,
    correct=(_rows_indexed, _rows_strided, half_split_to_interleaved),
    axes="n_heads*head_dim hidden_size",
    mutants=(
        Mutant(
            "way_back",
            _rows_reshaped,
            "when the rows are sorted the other way: even ones first, then odd ones",
        ),
        Mutant("one_head", _rows_one_head, "when all heads are reordered as if they were one"),
        Mutant("swapped", _rows_swapped, "when the partners of each pair change places"),
        Mutant("columns", _columns, "when columns are reordered: those are inputs, not outputs"),
        Mutant(
            "unchanged", _rows_unchanged, "when nothing is reordered", section="Which layout is it?"
        ),
        Mutant(
            "twice",
            lambda weight, n_heads: _rows_indexed(_rows_indexed(weight, n_heads), n_heads),
            "when the rows are reordered twice",
        ),
        Mutant(
            "heads_reversed",
            lambda weight, n_heads: _rows_indexed(weight[::-1], n_heads),
            "when the rows begin at the end",
        ),
        Mutant(
            "weights_only",
            lambda weight, n_heads: _rows_indexed(weight, n_heads).reshape(
                len(weight), weight.shape[1]
            ),
            "when only weights of two axes are allowed for",
        ),
        Mutant(
            "not_joined",
            lambda weight, n_heads: _rows_indexed(weight, n_heads).reshape(
                n_heads, -1, 2, *weight.shape[1:]
            ),
            "when heads, pairs and rows are not joined to one axis again",
        ),
    ),
)


# ★★★ scaled_turns(turns, factor, low, high, context): Llama 3.1's frequencies


def _scaled_by_cases(turns: Array, factor: float, low: float, high: float, context: int) -> Array:
    return np.array([_scaled_one(float(t), factor, low, high, context) for t in turns], np.float32)


def _scaled_one(turn: float, factor: float, low: float, high: float, context: int) -> float:
    wavelength = 2 * math.pi / turn
    if wavelength < context / high:
        return turn
    if wavelength > context / low:
        return turn / factor
    smooth = (context / wavelength - low) / (high - low)
    return (1 - smooth) * turn / factor + smooth * turn


def _scaled_clipped(turns: Array, factor: float, low: float, high: float, context: int) -> Array:
    keep = np.clip((context * turns / (2 * np.pi) - low) / (high - low), 0, 1)
    return (turns * (keep + (1 - keep) / factor)).astype(np.float32)


def _scaled_not(turns: Array, factor: float, low: float, high: float, context: int) -> Array:
    return turns.copy()


def _scaled_linear(turns: Array, factor: float, low: float, high: float, context: int) -> Array:
    return turns / np.float32(factor)


def _scaled_by_8(turns: Array, factor: float, low: float, high: float, context: int) -> Array:
    return _scaled_clipped(turns, 8.0, low, high, context)


def _scaled_step(turns: Array, factor: float, low: float, high: float, context: int) -> Array:
    return np.where(context * turns / (2 * np.pi) < low, turns / np.float32(factor), turns)


def _scaled_fast(turns: Array, factor: float, low: float, high: float, context: int) -> Array:
    keep = 1 - np.clip((context * turns / (2 * np.pi) - low) / (high - low), 0, 1)
    return (turns * (keep + (1 - keep) / factor)).astype(np.float32)


def _scaled_no_pi(turns: Array, factor: float, low: float, high: float, context: int) -> Array:
    keep = np.clip((context * turns - low) / (high - low), 0, 1)
    return (turns * (keep + (1 - keep) / factor)).astype(np.float32)


def _frequencies(theta: float, head_dim: int) -> Array:
    pairs = np.arange(head_dim // 2)
    return (theta ** (-2 * pairs / head_dim)).astype(np.float32)


def _scaled_turns_drawn(rng: np.random.Generator) -> list[Case]:
    low = float(whole(rng, 1, 3))
    turns = _frequencies(float(whole(rng, 100, 999)), 2 * whole(rng, 9, 14))
    factor, context = float(whole(rng, 3, 9)), whole(rng, 200, 900)
    return [Case("other numbers", (turns, factor, low, low + whole(rng, 4, 20), context))]


def _blended(
    turns: Array,
    factor: float,
    low: float,
    high: float,
    context: int,
    change: Callable[[Array], Array],
) -> Array:
    """Scaled with a share of one's own, from the right one."""
    share = np.clip((turns * (context / (2 * math.pi)) - low) / (high - low), 0, 1)
    inside = (share > 0) & (share < 1)
    share = np.where(inside, change(share), share)
    return (turns * (share + (1 - share) / factor)).astype(turns.dtype)


def _periods_blended(turns: Array, factor: float, low: float, high: float, context: int) -> Array:
    share = np.clip((turns * (context / (2 * math.pi)) - low) / (high - low), 0, 1)
    return (turns / (share + (1 - share) * factor)).astype(turns.dtype)


SCALED_TURNS = Exercise(
    name="scaled_turns",
    topic="rope",
    books=("llama_edu.ops.rope.inverse_frequencies",),
    stars=3,
    task="Scale frequencies as Llama 3.1 does: fast pairs stay, slow ones are divided, some blend.",
    section="Longer than it was trained for",
    cases=lambda: [
        Case("Llama 3.2 1B", (_frequencies(500000.0, 64), 32.0, 1.0, 4.0, 8192)),
        Case("Llama 3.1 8B", (_frequencies(500000.0, 128), 8.0, 1.0, 4.0, 8192)),
        Case("other borders, theta 100", (_frequencies(100.0, 12), 5.0, 2.0, 9.0, 60)),
    ],
    drawn=_scaled_turns_drawn,
    correct=(_scaled_by_cases, _scaled_clipped),
    axes="half_dim",
    tolerance=1e-6,
    mutants=(
        Mutant(
            "not_scaled",
            _scaled_not,
            "when the config's rope_scaling is not read",
            "https://github.com/Blaizzy/mlx-vlm/pull/1710",
        ),
        Mutant("linear", _scaled_linear, "when every pair is divided, also the fast ones"),
        Mutant(
            "by_8",
            _scaled_by_8,
            "when the factor is 8 whatever the config says",
            "https://github.com/meta-llama/llama-models/issues/241",
            section="Common mistakes",
        ),
        Mutant("step", _scaled_step, "when there is no blend between the two borders"),
        Mutant("fast", _scaled_fast, "when the fast pairs are divided and the slow ones stay"),
        Mutant("no_pi", _scaled_no_pi, "when 2π is forgotten: a turn is 2π radians, not 1"),
        Mutant(
            "shares_exchanged",
            lambda turns, factor, low, high, context: _blended(
                turns, factor, low, high, context, lambda share: 1 - share
            ),
            "when the two shares of the blend change places",
        ),
        Mutant(
            "multiplied",
            lambda turns, factor, low, high, context: _scaled_by_cases(
                turns, 1 / factor, low, high, context
            ),
            "when the slow ones are multiplied",
        ),
        Mutant(
            "longer_context",
            lambda turns, factor, low, high, context: _scaled_by_cases(
                turns, factor, low, high, context * factor
            ),
            "when turns are counted in the longer context",
        ),
        Mutant(
            "half_turns",
            lambda turns, factor, low, high, context: _scaled_by_cases(
                turns, factor, low, high, 2 * context
            ),
            "when half turns are counted",
        ),
        Mutant(
            "fast_divided",
            lambda turns, factor, low, high, context: np.where(
                turns * np.float32(context / (2 * math.pi)) >= high,
                turns / np.float32(factor),
                turns,
            ),
            "when the fast ones are divided, and the others stay",
        ),
        Mutant(
            "periods_blended",
            lambda turns, factor, low, high, context: _periods_blended(
                turns, factor, low, high, context
            ),
            "when the periods are blended and not the speeds",
        ),
    ),
)


# ★★★ layout_of(config, tensors, token_ids): "half-split" or "interleaved", by the loss

Tensors = Mapping[str, Array]


def _loss(model: Llama, token_ids: list[int]) -> float:
    p = softmax(model.forward(token_ids)[:-1])
    return float(-np.log(p[np.arange(len(p)), token_ids[1:]] + 1e-30).mean())


def _reordered(
    config: LlamaConfig, tensors: Tensors, way: Callable[[Array, int], Array], names: str = "qk"
) -> dict[str, Array]:
    """The checkpoint with the rows of its q, k (or v) projections in another order."""
    heads = {"q": config.num_attention_heads, "k": config.num_key_value_heads}
    heads["v"] = heads["k"]
    changed = dict(tensors)
    for name, tensor in tensors.items():
        for letter in names:
            if f".{letter}_proj." in name:
                changed[name] = way(tensor, heads[letter])
    return changed


def _by_rows(config: LlamaConfig, tensors: Tensors, ids: list[int], names: str = "qk") -> str:
    as_it_is = _loss(Llama(config, tensors), ids)
    changed = _reordered(config, tensors, interleaved_to_half_split, names)
    return "half-split" if as_it_is < _loss(Llama(config, changed), ids) else "interleaved"


def _by_operator(config: LlamaConfig, tensors: Tensors, ids: list[int]) -> str:
    losses = {}
    for name, rotate in (("half-split", apply_rope), ("interleaved", apply_rope_interleaved)):
        model = Llama(config, tensors)
        model.operators = model.operators.replaced(apply_rope=rotate)
        losses[name] = _loss(model, ids)
    return min(losses, key=lambda name: losses[name])


def _layout_of_larger_loss(config: LlamaConfig, tensors: Tensors, ids: list[int]) -> str:
    found = _by_rows(config, tensors, ids)
    return "interleaved" if found == "half-split" else "half-split"


def _layout_of_first_token(config: LlamaConfig, tensors: Tensors, ids: list[int]) -> str:
    return _by_rows(config, tensors, ids[:2])


def _layout_values_too(config: LlamaConfig, tensors: Tensors, ids: list[int]) -> str:
    return _by_rows(config, tensors, ids, "qkv")


def _layout_keys_only(config: LlamaConfig, tensors: Tensors, ids: list[int]) -> str:
    return _by_rows(config, tensors, ids, "k")


@cache
def _layout_case(label: str, seed: int, *, interleaved: bool) -> Case:
    """A checkpoint in either layout, and a text that its model wrote in the right one."""
    config, tensors = tiny_checkpoint(seed)
    model, ids = Llama(config, tensors), [seed]
    kv = model.new_cache()
    for _ in range(40):
        ids.append(int(model.forward(ids[-1:], kv)[-1].argmax()))
    if interleaved:
        tensors = _reordered(config, tensors, half_split_to_interleaved)
    return Case(label, (config, tensors, ids))


CLEAR_SEEDS = [2, 4, 5, 7, 8]


def _layout_of_drawn(rng: np.random.Generator) -> list[Case]:
    # Of random models, some write a text that both layouts find likely. These do not.
    seeds = pick(rng, CLEAR_SEEDS, 1)
    kinds = {"a drawn checkpoint": bool(rng.integers(2))}
    return [
        _layout_case(label, seed, interleaved=interleaved)
        for seed, (label, interleaved) in zip(seeds, kinds.items(), strict=True)
    ]


LAYOUT_OF = Exercise(
    name="layout_of",
    topic="rope",
    stars=3,
    task="Tell the layout of a checkpoint that does not say it: which one fits the text better.",
    section="Which layout is it?",
    cases=lambda: [
        _layout_case("a half-split checkpoint", 5, interleaved=False),
        _layout_case("an interleaved checkpoint", 2, interleaved=True),
        _layout_case("another interleaved checkpoint", 4, interleaved=True),
        _layout_case("another half-split checkpoint", 7, interleaved=False),
        _layout_case("a third interleaved checkpoint", 8, interleaved=True),
    ],
    drawn=_layout_of_drawn,
    correct=(_by_rows, _by_operator),
    mutants=(
        Mutant("larger_loss", _layout_of_larger_loss, "when the larger loss wins"),
        Mutant(
            "first_token",
            _layout_of_first_token,
            "when only the first token is tried: at position 0 nothing turns in either layout",
            "https://github.com/NeuraLegion/shainet/pull/111",
            section="Turn it wrong",
        ),
        Mutant("keys_only", _layout_keys_only, "when only k is reordered: q must match it"),
        Mutant(
            "values_too",
            _layout_values_too,
            "when v is reordered as well: it is never turned",
            section="What is turned in one run",
        ),
    ),
)

EXERCISES = (ANGLES, ROTATE, ROWS_TO_NEIGHBOURS, SCALED_TURNS, LAYOUT_OF)
