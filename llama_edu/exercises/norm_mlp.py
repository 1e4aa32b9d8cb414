"""Exercises on norm and MLP: normalise a row, gate it, add it to the stream."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from llama_edu.exercises.framework.draw import noise, seed_from, seeded_noise, whole, wholes
from llama_edu.exercises.framework.exercise import Case, Exercise, Mutant
from llama_edu.exercises.framework.watched import Counted
from llama_edu.ops.linear import linear
from llama_edu.ops.mlp import silu, swiglu
from llama_edu.ops.norm import rms_norm

Array = np.ndarray


# ★ norm_rows(x, weight, eps): x (seq, hidden_size), weight (hidden_size,)


def _norm_loop(x: Array, weight: Array, eps: float) -> Array:
    y = np.empty_like(x)
    for i, row in enumerate(x):
        mean_square = float(row @ row) / len(row)
        y[i] = weight * row / (mean_square + eps) ** 0.5
    return y


def _norm_reciprocal(x: Array, weight: Array, eps: float) -> Array:
    factor = (np.mean(np.square(x), axis=1) + float(eps)) ** -0.5
    return x * factor[:, None] * weight


def _norm_layer(x: Array, weight: Array, eps: float) -> Array:
    return rms_norm(x - x.mean(axis=-1, keepdims=True), weight, eps)


def _norm_variance(x: Array, weight: Array, eps: float) -> Array:
    return weight * x / np.sqrt(x.var(axis=-1, keepdims=True) + float(eps))


def _norm_length(x: Array, weight: Array, eps: float) -> Array:
    return weight * x / np.sqrt(np.sum(x * x, axis=-1, keepdims=True) + float(eps))


def _norm_no_root(x: Array, weight: Array, eps: float) -> Array:
    return weight * x / (np.mean(x * x, axis=-1, keepdims=True) + float(eps))


def _norm_divided_by_reciprocal(x: Array, weight: Array, eps: float) -> Array:
    return weight * (x / (np.mean(x * x, axis=-1, keepdims=True) + float(eps)) ** -0.5)


def _norm_over_tokens(x: Array, weight: Array, eps: float) -> Array:
    return weight * (x / np.sqrt(np.mean(x * x, axis=0, keepdims=True) + float(eps)))


def _norm_over_all(x: Array, weight: Array, eps: float) -> Array:
    return weight * (x / np.sqrt(np.mean(x * x) + np.float32(eps)))


def _norm_no_weight(x: Array, weight: Array, eps: float) -> Array:
    return rms_norm(x, np.ones_like(weight), eps)


def _norm_one_plus_weight(x: Array, weight: Array, eps: float) -> Array:
    return rms_norm(x, 1 + weight, eps)


def _norm_float64(x: Array, weight: Array, eps: float) -> Array:
    mean_square = np.sum(x * x, axis=-1, keepdims=True) / np.float64(x.shape[-1])
    return weight * (x / np.sqrt(mean_square + eps))


def _norm_in_place(x: Array, weight: Array, eps: float) -> Array:
    x /= np.sqrt(np.mean(x * x, axis=-1, keepdims=True) + float(eps))
    return weight * x


def _norm_cases() -> list[Case]:
    offset = seeded_noise(1, 4, 7) + np.float32(1.5)  # a mean far from 0, so that it shows
    return [
        Case("4 tokens, 7 features, mean not 0", (offset, 1 + seeded_noise(2, 7) / 2, 1e-5)),
        Case("1 token, 10 features", (seeded_noise(3, 1, 10) * 30, seeded_noise(4, 10), 1e-6)),
        Case(
            "rows of very different size",
            (seeded_noise(5, 3, 5) * _sizes(), seeded_noise(6, 5), 1e-3),
        ),
    ]


def _sizes() -> Array:
    return np.array([[0.01], [1], [100]], dtype=np.float32)


def _norm_rows_drawn(rng: np.random.Generator) -> list[Case]:
    seq, hidden = wholes(rng, 2, 3, 9)
    x = noise(rng, seq, hidden) + np.float32(0.7)
    return [Case("an eps that counts", (x / 3, 1 + noise(rng, hidden) / 2, whole(rng, 1, 9) / 20))]


NORM_ROWS = Exercise(
    name="norm_rows",
    loops=False,
    topic="norm_mlp",
    books=("llama_edu.ops.norm.rms_norm",),
    stars=1,
    task="Divide each row by its root mean square, eps inside the root, and weight each feature.",
    section="RMSNorm, as the engine has it",
    cases=_norm_cases,
    drawn=_norm_rows_drawn,
    correct=(_norm_loop, _norm_reciprocal, rms_norm),
    axes="seq hidden_size",
    mutants=(
        Mutant(
            "layer_norm",
            _norm_layer,
            "when the mean is subtracted first: that is LayerNorm",
            "https://github.com/ggml-org/llama.cpp/issues/173",
            section="Change the norm, change the gate",
        ),
        Mutant(
            "variance",
            _norm_variance,
            "when the variance stands for the mean square: it measures from the mean, not from 0",
            "https://github.com/huggingface/pytorch-image-models/issues/2380",
            section="Common mistakes",
        ),
        Mutant(
            "length",
            _norm_length,
            "when the squares are summed and not averaged",
            section="The notebook that travels",
        ),
        Mutant(
            "no_root",
            _norm_no_root,
            "when the mean square divides and not its root",
            section="The notebook that travels",
        ),
        Mutant(
            "divided_by_reciprocal",
            _norm_divided_by_reciprocal,
            "when the row is divided by 1/√: a reciprocal root is there to multiply with",
            "https://github.com/mosaicml/llm-foundry/issues/371",
        ),
        Mutant("over_tokens", _norm_over_tokens, "when the mean runs over the tokens of a feature"),
        Mutant("over_all", _norm_over_all, "when all rows share one mean: each has its own"),
        Mutant("no_weight", _norm_no_weight, "when the weights are left out"),
        Mutant(
            "one_plus_weight",
            _norm_one_plus_weight,
            "when 1 is added to the weights: Gemma stores them so, Llama does not",
        ),
        Mutant(
            "float64",
            _norm_float64,
            "when a NumPy float64 takes part: it widens the whole result",
            "https://github.com/numpy/numpy/issues/25683",
        ),
        Mutant(
            "in_place",
            _norm_in_place,
            "when x is divided in place: the residual stream is still needed after the norm",
            "https://github.com/GeeeekExplorer/nano-vllm/issues/170",
            section="Add in place, with care",
        ),
        Mutant("no_eps", lambda x, weight, eps: _norm_loop(x, weight, 0.0), "when eps is left out"),
        Mutant(
            "eps_outside",
            lambda x, weight, eps: (
                x / (np.sqrt((x * x).mean(axis=-1, keepdims=True)) + np.float32(eps)) * weight
            ),
            "when eps is added outside of the root",
        ),
        Mutant(
            "fixed_eps",
            lambda x, weight, eps: _norm_loop(x, weight, 1e-6),
            "when eps is 1e-6, whatever the config says",
        ),
        Mutant(
            "weight_added",
            lambda x, weight, eps: _norm_loop(x, np.ones_like(weight), eps) + weight,
            "when the weight is added and not multiplied",
        ),
        Mutant(
            "deviation",
            lambda x, weight, eps: x / (x.std(axis=-1, keepdims=True) + np.float32(eps)) * weight,
            "when rows are divided by their standard deviation",
        ),
        Mutant(
            "fixed_eps_5",
            lambda x, weight, eps: _norm_loop(x, weight, 1e-5),
            "when eps is 1e-5, whatever the config says",
        ),
    ),
)


# ★★ row_size(x, eps): √(mean(x²) + eps) of each row, (seq, 1) float32, whatever float x is


def _size_in_float32(x: Array, eps: float) -> Array:
    wide = x.astype(np.float32)
    return np.sqrt(np.mean(wide * wide, axis=-1, keepdims=True) + float(eps))


def _size_by_rows(x: Array, eps: float) -> Array:
    rows = [[sum(v * v for v in row) / len(row) + eps] for row in x.astype(float).tolist()]
    return np.sqrt(np.array(rows)).astype(np.float32)


def _size_eps_outside(x: Array, eps: float) -> Array:
    wide = x.astype(np.float32)
    return np.sqrt(np.mean(wide * wide, axis=-1, keepdims=True)) + float(eps)


def _size_no_eps(x: Array, eps: float) -> Array:
    return _size_in_float32(x, 0.0)


def _size_fixed_eps(x: Array, eps: float) -> Array:
    return _size_in_float32(x, 1e-6)


def _size_at_least_eps(x: Array, eps: float) -> Array:
    return np.maximum(_size_in_float32(x, 0.0), float(eps))


def _size_narrow(x: Array, eps: float) -> Array:
    with np.errstate(over="ignore"):
        squares = (x * x).astype(np.float32)
    return np.sqrt(np.mean(squares, axis=-1, keepdims=True) + float(eps))


def _size_cast_last(x: Array, eps: float) -> Array:
    with np.errstate(over="ignore"):
        mean_square = np.mean(x * x, axis=-1, keepdims=True, dtype=x.dtype)
        return np.sqrt(mean_square + x.dtype.type(eps)).astype(np.float32)


def _size_cases() -> list[Case]:
    small = seeded_noise(7, 3, 6) * np.array([[1e-3], [1], [0]], dtype=np.float32)
    half = (seeded_noise(8, 2, 5) * 300).astype(np.float16)  # 300² does not fit into 16 bits
    return [
        Case("a tiny row, an ordinary one, and zeros", (small, 1e-5)),
        Case("eps 0.01, as large as the row", (seeded_noise(9, 1, 8) / 10, 1e-2)),
        Case("float16 rows of ordinary size", (seeded_noise(15, 3, 9).astype(np.float16), 1e-5)),
        Case("float16 rows of a few hundred", (half, 1e-5)),
    ]


def _row_size_drawn(rng: np.random.Generator) -> list[Case]:
    seq, hidden = wholes(rng, 2, 3, 9)
    x, eps = noise(rng, seq, hidden), whole(rng, 1, 9) / 20
    return [
        Case("an eps that counts", (x / 2, eps)),
        Case("float16 rows", ((x * 100).astype(np.float16), 1e-4)),
    ]


def _narrow_mean(x: Array) -> Array:
    with np.errstate(over="ignore"):
        return (x * x).mean(axis=-1, keepdims=True).astype(np.float32)


ROW_SIZE = Exercise(
    name="row_size",
    topic="norm_mlp",
    books=("llama_edu.ops.norm.rms_norm",),
    stars=2,
    task="Repair the number a row is divided by: eps, its place, and the dtype of the squares.",
    section="RMSNorm, as the engine has it",
    cases=_size_cases,
    drawn=_row_size_drawn,
    correct=(_size_in_float32, _size_by_rows),
    mutants=(
        Mutant(
            "eps_outside",
            _size_eps_outside,
            "when eps is added after the root",
            "https://github.com/allenai/OLMo/issues/281",
            section="Change the norm, change the gate",
        ),
        Mutant("no_eps", _size_no_eps, "when eps is left out: a row of zeros divides by zero"),
        Mutant(
            "fixed_eps",
            _size_fixed_eps,
            "when eps is 1e-6 whatever the config says",
            "https://github.com/ggml-org/llama.cpp/issues/2373",
            section="Common mistakes",
        ),
        Mutant("at_least_eps", _size_at_least_eps, "when eps is a lower bound instead of a term"),
        Mutant(
            "squared_in_float16",
            _size_narrow,
            "when the squares are made before the cast: above 255 they overflow in float16",
            "https://github.com/jingyaogong/minimind/issues/301",
            section="What 16 bits cannot hold",
        ),
        Mutant(
            "cast_last",
            _size_cast_last,
            "when only the result is cast to float32, and all before it is done in 16 bits",
            "https://github.com/xlite-dev/LeetCUDA/pull/335",
            section="What 16 bits cannot hold",
        ),
        Mutant(
            "sum",
            lambda x, eps: np.sqrt(
                (x.astype(np.float32) ** 2).sum(axis=-1, keepdims=True) + np.float32(eps)
            ),
            "when squares are added, and not averaged",
        ),
        Mutant(
            "no_root", lambda x, eps: _size_in_float32(x, eps) ** 2, "when the root is left out"
        ),
        Mutant(
            "one_over",
            lambda x, eps: 1 / _size_in_float32(x, eps),
            "when one over the size comes back",
        ),
        Mutant(
            "columns",
            lambda x, eps: _size_in_float32(np.ascontiguousarray(x.T), eps).T,
            "when columns are measured and not rows",
        ),
        Mutant(
            "mean_of_sizes",
            lambda x, eps: (
                np.abs(x.astype(np.float32)).mean(axis=-1, keepdims=True) + np.float32(eps)
            ),
            "when the mean of the sizes is taken, without squares",
        ),
        Mutant(
            "flat", lambda x, eps: _size_in_float32(x, eps)[:, 0], "when the last axis is dropped"
        ),
        Mutant(
            "narrow_squares",
            lambda x, eps: np.sqrt(_narrow_mean(x) + np.float32(eps)),
            "when the squares and their mean are taken in the dtype of x",
        ),
    ),
)


# ★★ gated(gate, up): silu(gate) · up, (seq, intermediate_size)


def _quiet(answer: Callable[..., Array], gate: Array, up: Array) -> Array:
    """Overflow on the way is allowed; what counts is the number that comes out."""
    with np.errstate(all="ignore"):
        return answer(gate, up)


def _gated_by_sign(gate: Array, up: Array) -> Array:
    small = np.exp(-np.abs(gate))  # never overflows
    sigmoid = np.where(gate >= 0, 1 / (1 + small), small / (1 + small))
    return gate * sigmoid * up


def _gated_by_tanh(gate: Array, up: Array) -> Array:
    return gate * (0.5 + 0.5 * np.tanh(0.5 * gate)) * up


def _gated_swapped(gate: Array, up: Array) -> Array:
    return swiglu(up, gate)


def _gated_both(gate: Array, up: Array) -> Array:
    return silu(gate) * silu(up)


def _gated_product(gate: Array, up: Array) -> Array:
    return silu(gate * up)


def _gated_sigmoid(gate: Array, up: Array) -> Array:
    return up / (1 + np.exp(-gate))


def _gated_relu(gate: Array, up: Array) -> Array:
    return np.maximum(gate, 0) * up


def _gated_sum(gate: Array, up: Array) -> Array:
    return silu(gate) + up


def _gated_overflow(gate: Array, up: Array) -> Array:
    power = np.exp(gate)
    return gate * power / (1 + power) * up


def _gate_cases() -> list[Case]:
    extreme = np.array([[-200, -20, 0, 20, 200]], dtype=np.float32)
    return [
        Case("3 tokens, 8 features", (seeded_noise(10, 3, 8) * 3, seeded_noise(11, 3, 8))),
        Case("up of another size than gate", (seeded_noise(12, 2, 5), seeded_noise(13, 2, 5) * 40)),
        Case("gates from −200 to 200", (extreme, seeded_noise(14, 1, 5))),
    ]


def _gated_drawn(rng: np.random.Generator) -> list[Case]:
    seq, wide = wholes(rng, 2, 3, 9)
    return [Case("other sizes", (noise(rng, seq, wide) * 3, noise(rng, seq, wide) * 2))]


def _gelu(x: Array) -> Array:
    inner = math.sqrt(2 / math.pi) * (x + np.float32(0.044715) * x**3)
    return np.float32(0.5) * x * (1 + np.tanh(inner))


GATED = Exercise(
    name="gated",
    topic="norm_mlp",
    books=(
        "llama_edu.ops.mlp.swiglu",
        "llama_edu.ops.mlp.silu",
    ),
    stars=2,
    task="Repair the gate: SiLU of one projection decides how much of the other passes.",
    section="SiLU and the gate",
    cases=_gate_cases,
    harness=_quiet,
    drawn=_gated_drawn,
    correct=(_gated_by_sign, _gated_by_tanh, swiglu),
    axes="seq intermediate_size",
    mutants=(
        Mutant(
            "swapped",
            _gated_swapped,
            "when gate and up change places: SiLU belongs to the gate alone",
        ),
        Mutant("both", _gated_both, "when SiLU is applied to up as well"),
        Mutant("of_the_product", _gated_product, "when SiLU comes after the product"),
        Mutant(
            "sigmoid",
            _gated_sigmoid,
            "when the gate is the sigmoid alone: that is GLU, and SiLU is x · sigmoid(x)",
            section="A unit, on paper",
        ),
        Mutant(
            "relu",
            _gated_relu,
            "when the gate is max(x, 0): that is ReGLU",
            section="Change the norm, change the gate",
        ),
        Mutant("sum", _gated_sum, "when up is added and not multiplied"),
        Mutant(
            "overflow",
            _gated_overflow,
            "when SiLU is written as x · eˣ / (1 + eˣ): far right that is ∞ / ∞",
            "https://github.com/clab/dynet/issues/1525",
        ),
        Mutant(
            "gelu",
            lambda gate, up: (_gelu(gate) * up).astype(np.float32),
            "when the gate is a GELU",
        ),
        Mutant(
            "no_up", lambda gate, up: _gated_by_sign(gate, np.ones_like(up)), "when up is left out"
        ),
        Mutant(
            "plain_product",
            lambda gate, up: gate * up,
            "when the gate is not bent: a plain product",
        ),
        Mutant(
            "minus", lambda gate, up: _gated_by_sign(-gate, up), "when the gate has the wrong sign"
        ),
        Mutant(
            "sigmoid_safe",
            lambda gate, up: (
                (0.5 + 0.5 * np.tanh(0.5 * gate)).astype(np.float32) * np.where(gate == 0, 0, up)
            ),
            "when the gate is a sigmoid, not multiplied by itself",
        ),
        Mutant(
            "hard_product",
            lambda gate, up: np.maximum(gate * up, 0),
            "when the product goes through a ReLU",
        ),
    ),
)


# ★★★ add_mlp(x, norm, gate, up, down, eps, work): the whole sub-layer, added into x


def _into_dirty_buffers(
    answer: Callable[..., object], x: Array, *rest: Any, seed: int = 20
) -> Array:
    """Run an answer on a stream it may write, with work space full of old numbers."""
    *weights, eps = rest
    stream = x.copy()
    hidden, wide = x.shape, (len(x), len(weights[1]))
    shapes = (hidden, wide, wide, hidden)
    answer(
        stream, *weights, eps, [seeded_noise(seed + i, *shape) for i, shape in enumerate(shapes)]
    )
    return stream


def _add_mlp_into(
    x: Array, norm: Array, gate: Array, up: Array, down: Array, eps: float, work: list[Array]
) -> None:
    normed, gated, lifted, out = work
    np.square(x, out=normed)
    size = np.sqrt(normed.mean(axis=-1, keepdims=True) + eps)
    np.divide(x, size, out=normed)
    normed *= norm
    np.matmul(normed, gate.T, out=gated)
    np.matmul(normed, up.T, out=lifted)
    lifted *= gated
    np.negative(gated, out=gated)
    np.exp(gated, out=gated)
    gated += 1
    lifted /= gated
    np.matmul(lifted, down.T, out=out)
    x += out


def _add_mlp_by_tanh(
    x: Array, norm: Array, gate: Array, up: Array, down: Array, eps: float, work: list[Array]
) -> None:
    """The sigmoid of g is half of 1 + tanh(g / 2); one row of tokens after another."""
    for row, normed, gated, lifted in zip(x, *work[:3], strict=True):
        np.multiply(row, float(np.dot(row, row) / len(row) + eps) ** -0.5, out=normed)
        np.multiply(normed, norm, out=normed)
        np.dot(gate, normed, out=gated)
        np.tanh(np.multiply(gated, 0.5, out=lifted), out=lifted)
        gated += np.multiply(gated, lifted, out=lifted)
        gated *= np.dot(up, normed, out=lifted)
        np.dot(down, np.multiply(gated, 0.5, out=gated), out=normed)
        row += normed


def _makes_large_arrays(answer: Callable[..., object]) -> str | None:
    """Whether an answer makes a new array of more than a number per token."""
    x, *weights, eps = _mlp_case("", 60, 6, 8, 9).args
    made: list[tuple[int, ...]] = []
    shapes = (x.shape, (6, 9), (6, 9), x.shape)
    work = [Counted.of(seeded_noise(70 + i, *shape), made) for i, shape in enumerate(shapes)]
    answer(Counted.of(x.copy(), made), *weights, eps, work)
    large = [shape for shape in made if math.prod(shape) > len(x)]
    return f"makes a new array of shape {large[0]} for x of shape {x.shape}" if large else None


def _add_mlp_norm_on_stream(
    x: Array, norm: Array, gate: Array, up: Array, down: Array, eps: float, work: list[Array]
) -> None:
    x[...] = rms_norm(x, norm, eps)
    x += linear(swiglu(linear(x, gate), linear(x, up)), down)


def _add_mlp_replaces(
    x: Array, norm: Array, gate: Array, up: Array, down: Array, eps: float, work: list[Array]
) -> None:
    normed = rms_norm(x, norm, eps)
    x[...] = linear(swiglu(linear(normed, gate), linear(normed, up)), down)


def _add_mlp_new_array(
    x: Array, norm: Array, gate: Array, up: Array, down: Array, eps: float, work: list[Array]
) -> Array:
    normed = rms_norm(x, norm, eps)
    return x + linear(swiglu(linear(normed, gate), linear(normed, up)), down)


def _add_mlp_no_norm(
    x: Array, norm: Array, gate: Array, up: Array, down: Array, eps: float, work: list[Array]
) -> None:
    x += linear(swiglu(linear(x, gate), linear(x, up)), down)


def _add_mlp_dirty(
    x: Array, norm: Array, gate: Array, up: Array, down: Array, eps: float, work: list[Array]
) -> None:
    normed = rms_norm(x, norm, eps)
    out = work[3]
    out += linear(swiglu(linear(normed, gate), linear(normed, up)), down)
    x += out


def _add_mlp_swapped(
    x: Array, norm: Array, gate: Array, up: Array, down: Array, eps: float, work: list[Array]
) -> None:
    _add_mlp_into(x, norm, up, gate, down, eps, work)


def _mlp_case(
    label: str, seed: int, seq: int, hidden: int, wide: int, *, eps: float = 1e-5
) -> Case:
    gate, up = seeded_noise(seed, wide, hidden), seeded_noise(seed + 1, wide, hidden)
    down, norm = seeded_noise(seed + 2, hidden, wide) / 3, 1 + seeded_noise(seed + 3, hidden) / 2
    return Case(label, (seeded_noise(seed + 4, seq, hidden) * 3, norm, gate, up, down, eps))


def _add_mlp_drawn(rng: np.random.Generator) -> list[Case]:
    case = _mlp_case("an eps that counts", seed_from(rng), *wholes(rng, 3, 2, 7))
    return [Case(case.label, (*case.args[:-1], whole(rng, 5, 30) / 10))]


def _add(x: Array, change: Array) -> None:
    x += change


def _mlp_of(x: Array, norm: Array, gate: Array, up: Array, down: Array, eps: float) -> Array:
    normed = rms_norm(x, norm, eps)
    return swiglu(normed @ gate.T, normed @ up.T) @ down.T


ADD_MLP = Exercise(
    name="add_mlp",
    topic="norm_mlp",
    stars=3,
    task="Add a whole MLP sub-layer into the residual stream, working in buffers that are given.",
    section="A whole MLP",
    cases=lambda: [
        _mlp_case("3 tokens, 4 features, 7 inside", 30, 3, 4, 7),
        _mlp_case("1 token, 6 features, 5 inside", 40, 1, 6, 5),
        _mlp_case("an eps of 2", 50, 2, 5, 3, eps=2.0),
    ],
    harness=_into_dirty_buffers,
    drawn=_add_mlp_drawn,
    correct=(_add_mlp_into, _add_mlp_by_tanh),
    rule=_makes_large_arrays,
    axes="seq hidden_size",
    mutants=(
        Mutant(
            "norm_on_stream",
            _add_mlp_norm_on_stream,
            "when the norm is written over x: what should be carried on is gone",
            "https://github.com/GeeeekExplorer/nano-vllm/issues/170",
            section="Add in place, with care",
        ),
        Mutant(
            "replaces",
            _add_mlp_replaces,
            "when x is replaced by the sub-layer's output",
            section="The ledger",
        ),
        Mutant(
            "new_array",
            _add_mlp_new_array,
            "when x + … makes a new array: the one you were given never hears of it",
            section="Add in place, with care",
        ),
        Mutant(
            "no_norm",
            _add_mlp_no_norm,
            "when the sub-layer reads x without its norm",
            section="A model that needs its norm",
        ),
        Mutant(
            "dirty_buffer",
            _add_mlp_dirty,
            "when a product is added to a buffer that still holds old numbers",
            "https://github.com/torch/nn/pull/898",
            section="Bridge",
        ),
        Mutant(
            "swapped",
            _add_mlp_swapped,
            "when gate and up change places",
            section="SiLU and the gate",
        ),
        Mutant(
            "no_silu",
            lambda x, norm, gate, up, down, eps, work: _add(
                x, ((rms_norm(x, norm, eps) @ gate.T) * (rms_norm(x, norm, eps) @ up.T)) @ down.T
            ),
            "when the gate is not bent: no SiLU",
        ),
        Mutant(
            "no_gate",
            lambda x, norm, gate, up, down, eps, work: _add(
                x, silu(rms_norm(x, norm, eps) @ up.T) @ down.T
            ),
            "when there is no gate: up goes through the SiLU",
        ),
        Mutant(
            "of_the_product",
            lambda x, norm, gate, up, down, eps, work: _add(
                x,
                silu((rms_norm(x, norm, eps) @ gate.T) * (rms_norm(x, norm, eps) @ up.T)) @ down.T,
            ),
            "when the SiLU is of the product",
        ),
        Mutant(
            "added_twice",
            lambda x, norm, gate, up, down, eps, work: _add(
                x, 2 * _mlp_of(x, norm, gate, up, down, eps)
            ),
            "when the result is added twice",
        ),
        Mutant(
            "fixed_eps",
            lambda x, norm, gate, up, down, eps, work: _add(
                x, _mlp_of(x, norm, gate, up, down, 1e-6)
            ),
            "when eps is fixed",
        ),
        Mutant(
            "no_weight",
            lambda x, norm, gate, up, down, eps, work: _add(
                x, _mlp_of(x, np.ones_like(norm), gate, up, down, eps)
            ),
            "when the norm has no weight",
        ),
    ),
)

EXERCISES = (NORM_ROWS, ROW_SIZE, GATED, ADD_MLP)
