"""Mistakes in norms, the MLP, the residual stream, the order of layers, and both ends."""

from collections.abc import Callable, Sequence

import ml_dtypes
import numpy as np

from llama_edu.formats.tensor_shapes import EMBED_TOKENS
from llama_edu.ops.mlp import silu
from llama_edu.ops.norm import rms_norm
from llama_edu.verify.mistakes.base import Mistake, entry, known
from llama_edu.verify.parts import Layer, Model, PartsEngine

__all__ = ["SUBLAYERS"]

Array = np.ndarray


# Norms.


def _sized(exercise_mutant: str) -> Callable[[Array, Array, float], Array]:
    size = known("row_size", exercise_mutant)
    return lambda x, weight, eps: weight * (x / size(x, eps))


def _norm_n_minus_one(x: Array, weight: Array, eps: float) -> Array:
    squares = np.sum(x * x, axis=-1, keepdims=True) / np.float32(x.shape[-1] - 1)
    return weight * (x / np.sqrt(squares + np.float32(eps)))


def _norm_eps_twice(x: Array, weight: Array, eps: float) -> Array:
    return rms_norm(x, weight, eps * eps)


def _norm_without_eps(x: Array, weight: Array, eps: float) -> Array:
    return rms_norm(x, weight, 0.0)


def _norm_bounded(x: Array, weight: Array, eps: float) -> Array:
    squares = np.mean(x * x, axis=-1, keepdims=True)
    return weight * (x / np.sqrt(np.maximum(squares, np.float32(eps))))


def _norm_mean_absolute(x: Array, weight: Array, eps: float) -> Array:
    return weight * (x / (np.mean(np.abs(x), axis=-1, keepdims=True) + np.float32(eps)))


def _norm_weight_first(x: Array, weight: Array, eps: float) -> Array:
    weighted = x * weight
    return weighted / np.sqrt(np.mean(weighted * weighted, axis=-1, keepdims=True) + float(eps))


def _norm_l2(x: Array, weight: Array, eps: float) -> Array:
    return weight * (x / (np.sqrt(np.sum(x * x, axis=-1, keepdims=True)) + np.float32(eps)))


def _eps_in_sum(x: Array, weight: Array, eps: float) -> Array:
    squares = np.sum(x * x, axis=-1, keepdims=True) + np.float32(eps)
    return weight * (x / np.sqrt(squares / np.float32(x.shape[-1])))


def _first_row_size(x: Array, weight: Array, eps: float) -> Array:
    mean_square = np.mean(x[:1] * x[:1], axis=-1, keepdims=True)
    return weight * (x / np.sqrt(mean_square + np.float32(eps)))


def _left_out(*places: str) -> Callable[[PartsEngine, Array, str, int], Array]:
    def norm_at(engine: PartsEngine, x: Array, name: str, index: int) -> Array:
        if name in places:
            return x
        return engine.parts.norm(x, engine.gain(name, index), engine.model.config.rms_norm_eps)

    return norm_at


def _twice(place: str) -> Callable[[PartsEngine, Array, str, int], Array]:
    def norm_at(engine: PartsEngine, x: Array, name: str, index: int) -> Array:
        times = 2 if name == place else 1
        for _ in range(times):
            gain, eps = engine.gain(name, index), engine.model.config.rms_norm_eps
            x = engine.parts.norm(x, gain, eps)
        return x

    return norm_at


def _only_at(
    place: str, norm: Callable[[Array, Array, float], Array]
) -> Callable[[PartsEngine, Array, str, int], Array]:
    """Another norm in one place."""

    def norm_at(engine: PartsEngine, x: Array, name: str, index: int) -> Array:
        function = norm if name == place else engine.parts.norm
        return function(x, engine.gain(name, index), engine.model.config.rms_norm_eps)

    return norm_at


def _norm(
    key: str, says: str, wrong: str, function: Callable[..., Array], exhibit: str = ""
) -> Mistake:
    right = "y = weight · x / √(mean(x²) + eps)"
    return entry(f"norm.{key}", says, (right, wrong), "norm", exhibit=exhibit, norm=function)


LAYER_NORM = known("norm_rows", "layer_norm")

NORMS = (
    _norm(
        "layer_norm",
        "the mean is subtracted first, as in LayerNorm",
        "y = weight · (x - mean) / √(mean((x - mean)²) + eps)",
        LAYER_NORM,
        "layer_norm",
    ),
    _norm(
        "variance",
        "the variance stands where the mean square should: it measures from the mean",
        "y = weight · x / √(var(x) + eps)",
        known("norm_rows", "variance"),
    ),
    _norm(
        "sum",
        "the squares are summed and not averaged",
        "y = weight · x / √(sum(x²) + eps)",
        known("norm_rows", "length"),
    ),
    _norm(
        "no_root",
        "the mean square divides, and not its root",
        "y = weight · x / (mean(x²) + eps)",
        known("norm_rows", "no_root"),
    ),
    _norm(
        "reciprocal",
        "rows are multiplied by their size, and not divided by it",
        "y = weight · x · √(mean(x²) + eps)",
        known("norm_rows", "divided_by_reciprocal"),
    ),
    _norm(
        "over_tokens",
        "the mean runs over the tokens, and not over the features of one",
        "mean(x², axis=0)",
        known("norm_rows", "over_tokens"),
    ),
    _norm(
        "over_all",
        "all tokens share one mean",
        "y = weight · x / √(mean of all tokens + eps)",
        known("norm_rows", "over_all"),
        "norm_over_all",
    ),
    _norm(
        "first_row",
        "the size of the first token divides all of them",
        "mean(x[0]²)",
        _first_row_size,
    ),
    _norm(
        "no_weight",
        "no norm applies its weights",
        "y = x / √(mean(x²) + eps)",
        known("norm_rows", "no_weight"),
    ),
    _norm(
        "one_plus_weight",
        "1 is added to the weights, as Gemma stores them",
        "y = (1 + weight) · x / √(mean(x²) + eps)",
        known("norm_rows", "one_plus_weight"),
    ),
    _norm(
        "weight_twice",
        "weights are applied twice",
        "y = weight² · x / √(mean(x²) + eps)",
        lambda x, weight, eps: weight * rms_norm(x, weight, eps),
    ),
    _norm(
        "weight_first",
        "weights are applied before the size is measured",
        "x = weight · x; y = x / √(mean(x²) + eps)",
        _norm_weight_first,
    ),
    _norm(
        "eps_outside",
        "eps is added after the root",
        "y = weight · x / (√mean(x²) + eps)",
        _sized("eps_outside"),
        "eps_outside",
    ),
    _norm("no_eps", "eps is left out", "y = weight · x / √mean(x²)", _norm_without_eps),
    _norm(
        "at_least_eps",
        "eps is a lower bound of the mean square, and not a term",
        "y = weight · x / √max(mean(x²), eps)",
        _norm_bounded,
    ),
    _norm(
        "size_at_least_eps",
        "eps is a lower bound of the root, and not a term",
        "y = weight · x / max(√mean(x²), eps)",
        _sized("at_least_eps"),
    ),
    _norm(
        "eps_in_sum",
        "eps is added to the sum of the squares, before it is divided by their number",
        "y = weight · x / √((sum(x²) + eps) / n)",
        _eps_in_sum,
    ),
    _norm("eps_squared", "eps is squared", "y = weight · x / √(mean(x²) + eps²)", _norm_eps_twice),
    _norm(
        "n_minus_one",
        "the sum of squares is divided by one less than their number",
        "sum(x²) / (n - 1)",
        _norm_n_minus_one,
    ),
    _norm(
        "mean_absolute",
        "the mean of absolute values stands where the root mean square should",
        "y = weight · x / (mean(|x|) + eps)",
        _norm_mean_absolute,
    ),
    _norm("l2", "rows are divided by their length", "y = weight · x / (‖x‖ + eps)", _norm_l2),
    entry(
        "norm.last_layer_norm",
        "the last norm subtracts the mean, as LayerNorm does",
        ("x = rms_norm(x, norm)", "x = layer_norm(x, norm)"),
        "norm",
        norm_at=_only_at("norm", LAYER_NORM),
    ),
    entry(
        "norm.last_no_eps",
        "the last norm leaves eps out",
        ("x = rms_norm(x, norm, eps)", "x = rms_norm(x, norm, 0)"),
        "norm",
        norm_at=_only_at("norm", _norm_without_eps),
    ),
    entry(
        "norm.no_last",
        "the norm before the head is left out",
        ("logits = head(norm(x))", "logits = head(x)"),
        "order",
        exhibit="no_last_norm",
        norm_at=_left_out("norm"),
    ),
    entry(
        "norm.no_input",
        "attention reads the stream without input_layernorm",
        ("x = x + attention(norm(x))", "x = x + attention(x)"),
        "order",
        norm_at=_left_out("input_layernorm"),
    ),
    entry(
        "norm.no_post",
        "the MLP reads the stream without post_attention_layernorm",
        ("x = x + mlp(norm(x))", "x = x + mlp(x)"),
        "mlp",
        norm_at=_left_out("post_attention_layernorm"),
    ),
    entry(
        "norm.none",
        "no norm is applied anywhere",
        ("x = x + attention(norm(x))", "x = x + attention(x)"),
        "order",
        norm_at=_left_out("input_layernorm", "post_attention_layernorm", "norm"),
    ),
    *(
        entry(
            f"norm.{name}_twice",
            f"{words} is applied twice",
            ("h = norm(x)", "h = norm(norm(x))"),
            "order",
            norm_at=_twice(name),
        )
        for name, words in (
            ("norm", "the last norm"),
            ("input_layernorm", "input_layernorm"),
            ("post_attention_layernorm", "post_attention_layernorm"),
        )
    ),
)


# The gate.


def _sigmoid(x: Array) -> Array:
    return 1 / (1 + np.exp(-x))


def _gelu_tanh(x: Array) -> Array:
    return 0.5 * x * (1 + np.tanh(np.float32(0.7978845608) * (x + np.float32(0.044715) * x**3)))


def _erf(x: Array) -> Array:
    """The error function, to 1e-7 (Abramowitz and Stegun 7.1.26 is too coarse: a series of it)."""
    wide = x.astype(np.float64)
    small = np.clip(np.abs(wide), 0, 4)
    term, total = small.copy(), small.copy()
    for n in range(1, 80):
        term = -term * small * small / n
        total = total + term / (2 * n + 1)
    return (np.sign(wide) * total * 2 / np.sqrt(np.pi)).astype(np.float32)


def _gelu(x: Array) -> Array:
    return 0.5 * x * (1 + _erf(x / np.float32(np.sqrt(2.0))))


def _softplus(x: Array) -> Array:
    return np.logaddexp(np.float32(0), x).astype(np.float32)


def _gate(
    key: str, says: str, wrong: str, function: Callable[[Array, Array], Array], exhibit: str = ""
) -> Mistake:
    right = "h = gate / (1 + e^-gate) · up"
    return entry(f"gate.{key}", says, (right, wrong), "gate", exhibit=exhibit, gated=function)


GATES = (
    _gate(
        "swapped",
        "SiLU is applied to up, and not to gate",
        "h = gate · silu(up)",
        known("gated", "swapped"),
        "gate_and_up",
    ),
    _gate(
        "both", "SiLU is applied to up as well", "h = silu(gate) · silu(up)", known("gated", "both")
    ),
    _gate(
        "of_the_product",
        "SiLU comes after the product",
        "h = silu(gate · up)",
        known("gated", "of_the_product"),
    ),
    _gate(
        "sigmoid",
        "the gate is the sigmoid alone",
        "h = sigmoid(gate) · up",
        known("gated", "sigmoid"),
    ),
    _gate("relu", "the gate is ReLU", "h = max(gate, 0) · up", known("gated", "relu")),
    _gate("sum", "up is added, and not multiplied", "h = silu(gate) + up", known("gated", "sum")),
    _gate(
        "gelu_tanh",
        "the gate is GELU, in its tanh form",
        "h = gelu_tanh(gate) · up",
        lambda g, u: _gelu_tanh(g) * u,
        "gelu",
    ),
    _gate(
        "gelu",
        "the gate is GELU, in its exact form",
        "h = gelu(gate) · up",
        lambda g, u: _gelu(g) * u,
        "gelu",
    ),
    _gate(
        "quick_gelu",
        "the gate is the quick form of GELU",
        "h = gate · sigmoid(1.702 · gate) · up",
        lambda g, u: g * _sigmoid(np.float32(1.702) * g) * u,
    ),
    _gate("linear", "the gate has no activation", "h = gate · up", lambda g, u: g * u),
    _gate("tanh", "the gate is tanh", "h = tanh(gate) · up", lambda g, u: np.tanh(g) * u),
    _gate(
        "relu_squared",
        "the gate is the square of ReLU",
        "h = max(gate, 0)² · up",
        lambda g, u: np.maximum(g, 0) ** 2 * u,
    ),
    _gate(
        "softplus",
        "the gate is softplus",
        "h = log(1 + e^gate) · up",
        lambda g, u: _softplus(g) * u,
    ),
    _gate(
        "mish",
        "the gate is Mish",
        "h = gate · tanh(softplus(gate)) · up",
        lambda g, u: g * np.tanh(_softplus(g)) * u,
    ),
    _gate(
        "hard_swish",
        "the gate is the hard form of SiLU, made of straight lines and a parabola",
        "h = gate · clamp(gate + 3, 0, 6) / 6 · up",
        lambda g, u: g * np.clip(g + 3, 0, 6) / 6 * u,
    ),
    _gate("gate_only", "up is left out", "h = silu(gate)", lambda g, u: silu(g)),
    _gate("up_only", "gate is left out", "h = up", lambda g, u: u),
    _gate("silu_of_up_only", "only up is used, with SiLU", "h = silu(up)", lambda g, u: silu(u)),
    _gate(
        "sign",
        "SiLU has the wrong sign in its exponent",
        "h = gate / (1 + e^gate) · up",
        lambda g, u: g / (1 + np.exp(g)) * u,
    ),
    _gate(
        "silu_twice",
        "SiLU is applied twice",
        "h = silu(silu(gate)) · up",
        lambda g, u: silu(silu(g)) * u,
    ),
    _gate(
        "silu_then_gate",
        "the gate multiplies once more: its square with the sigmoid",
        "h = gate · silu(gate) · up",
        lambda g, u: g * silu(g) * u,
    ),
)


# The stream.


def _attended(x: Array, layer: Layer) -> Array:
    return layer.attention(layer.norm(x, "input_layernorm"))


def _fed(x: Array, layer: Layer) -> Array:
    return layer.mlp(layer.norm(x, "post_attention_layernorm"))


def _normed_attention_stream(x: Array, layer: Layer) -> Array:
    h = layer.norm(x, "input_layernorm")
    x = h + layer.attention(h)
    return x + _fed(x, layer)


def _normed_mlp_stream(x: Array, layer: Layer) -> Array:
    x = x + _attended(x, layer)
    h = layer.norm(x, "post_attention_layernorm")
    return h + layer.mlp(h)


def _normed_both(x: Array, layer: Layer) -> Array:
    h = layer.norm(x, "input_layernorm")
    x = h + layer.attention(h)
    h = layer.norm(x, "post_attention_layernorm")
    return h + layer.mlp(h)


def _no_residual_attention(x: Array, layer: Layer) -> Array:
    x = _attended(x, layer)
    return x + _fed(x, layer)


def _no_residual_mlp(x: Array, layer: Layer) -> Array:
    return _fed(x + _attended(x, layer), layer)


def _no_residual(x: Array, layer: Layer) -> Array:
    return _fed(_attended(x, layer), layer)


def _no_attention(x: Array, layer: Layer) -> Array:
    return x + _fed(x, layer)


def _no_mlp(x: Array, layer: Layer) -> Array:
    return x + _attended(x, layer)


def _parallel(x: Array, layer: Layer) -> Array:
    return x + _attended(x, layer) + _fed(x, layer)


def _parallel_one_norm(x: Array, layer: Layer) -> Array:
    h = layer.norm(x, "input_layernorm")
    return x + layer.attention(h) + layer.mlp(h)


def _old_stream(x: Array, layer: Layer) -> Array:
    """The second residual is the layer's input: what attention added is lost."""
    return x + _fed(x + _attended(x, layer), layer)


def _post_norm(x: Array, layer: Layer) -> Array:
    x = layer.norm(x + layer.attention(x), "input_layernorm")
    return layer.norm(x + layer.mlp(x), "post_attention_layernorm")


def _norm_of_output(x: Array, layer: Layer) -> Array:
    x = x + layer.norm(layer.attention(x), "input_layernorm")
    return x + layer.norm(layer.mlp(x), "post_attention_layernorm")


def _mlp_first(x: Array, layer: Layer) -> Array:
    x = x + _fed(x, layer)
    return x + _attended(x, layer)


def _attention_twice(x: Array, layer: Layer) -> Array:
    x = x + 2 * _attended(x, layer)
    return x + _fed(x, layer)


def _mlp_twice(x: Array, layer: Layer) -> Array:
    x = x + _attended(x, layer)
    return x + 2 * _fed(x, layer)


def _stream_twice(x: Array, layer: Layer) -> Array:
    x = 2 * x + _attended(x, layer)
    return 2 * x + _fed(x, layer)


def _subtracted(x: Array, layer: Layer) -> Array:
    x = x - _attended(x, layer)
    return x - _fed(x, layer)


def _halved(x: Array, layer: Layer) -> Array:
    scale = np.float32((2 * layer.engine.model.config.num_hidden_layers) ** -0.5)
    x = x + scale * _attended(x, layer)
    return x + scale * _fed(x, layer)


def _stale_norm(x: Array, layer: Layer) -> Array:
    """The MLP reads the normed input of attention."""
    h = layer.norm(x, "input_layernorm")
    x = x + layer.attention(h)
    return x + layer.mlp(h)


def _mlp_of_attention(x: Array, layer: Layer) -> Array:
    """The MLP reads what attention gave, without the stream."""
    attended = _attended(x, layer)
    return x + attended + layer.mlp(layer.norm(attended, "post_attention_layernorm"))


def _from_embedding(x: Array, layer: Layer) -> Array:
    first = layer.engine.__dict__.setdefault("_stream", {})
    if layer.slot == 0:
        first["x"] = x
    x = first["x"] + _attended(x, layer)
    return x + _fed(x, layer)


def _stream(
    key: str, says: str, wrong: str, function: Callable[[Array, Layer], Array], **more: str
) -> Mistake:
    right = "x = x + attention(norm(x)); x = x + mlp(norm(x))"
    topic = more.pop("topic", "residual")
    return entry(f"stream.{key}", says, (right, wrong), topic, block=function, **more)


STREAM = (
    _stream(
        "normed_attention",
        "attention is added to the normed stream, and not to the stream itself",
        "x = norm(x); x = x + attention(x)",
        _normed_attention_stream,
        exhibit="normed_stream",
    ),
    _stream(
        "normed_mlp",
        "the MLP is added to the normed stream, and not to the stream itself",
        "x = norm(x); x = x + mlp(x)",
        _normed_mlp_stream,
        exhibit="normed_stream",
    ),
    _stream(
        "normed_both",
        "both sub-layers are added to the normed stream",
        "x = norm(x); x = x + attention(x); x = norm(x); x = x + mlp(x)",
        _normed_both,
        exhibit="normed_stream",
    ),
    _stream(
        "no_residual_attention",
        "the stream is replaced by attention's output, and not added to",
        "x = attention(norm(x))",
        _no_residual_attention,
    ),
    _stream(
        "no_residual_mlp",
        "the stream is replaced by the MLP's output, and not added to",
        "x = mlp(norm(x))",
        _no_residual_mlp,
    ),
    _stream(
        "no_residual",
        "there is no residual stream: each sub-layer replaces it",
        "x = attention(norm(x)); x = mlp(norm(x))",
        _no_residual,
    ),
    _stream("no_attention", "attention is left out", "x = x + mlp(norm(x))", _no_attention),
    _stream("no_mlp", "the MLP is left out", "x = x + attention(norm(x))", _no_mlp),
    _stream(
        "parallel",
        "attention and MLP both read the layer's input, as in GPT-J",
        "x = x + attention(norm(x)) + mlp(norm2(x))",
        _parallel,
        topic="order",
    ),
    _stream(
        "parallel_one_norm",
        "attention and MLP both read the layer's input through one norm",
        "h = norm(x); x = x + attention(h) + mlp(h)",
        _parallel_one_norm,
        topic="order",
    ),
    _stream(
        "old_stream",
        "the MLP is added to the layer's input, so that what attention added is lost",
        "x = input + mlp(norm(x))",
        _old_stream,
    ),
    _stream(
        "post_norm",
        "norms come after the additions, as in the first transformer",
        "x = norm(x + attention(x))",
        _post_norm,
        topic="order",
    ),
    _stream(
        "norm_of_output",
        "norms are applied to what a sub-layer gives, and not to what it reads",
        "x = x + norm(attention(x))",
        _norm_of_output,
        topic="order",
    ),
    _stream(
        "mlp_first",
        "the MLP comes before attention",
        "x = x + mlp(norm2(x)); x = x + attention(norm(x))",
        _mlp_first,
        topic="order",
    ),
    _stream(
        "attention_twice",
        "attention is added twice",
        "x = x + 2 · attention(norm(x))",
        _attention_twice,
    ),
    _stream("mlp_twice", "the MLP is added twice", "x = x + 2 · mlp(norm(x))", _mlp_twice),
    _stream(
        "stream_twice",
        "the stream itself is added twice",
        "x = x + x + attention(norm(x))",
        _stream_twice,
    ),
    _stream("subtracted", "sub-layers are subtracted", "x = x - attention(norm(x))", _subtracted),
    _stream(
        "scaled",
        "sub-layers are scaled by 1/√(2 · layers), as weights are before training",
        "x = x + attention(norm(x)) / √(2 · layers)",
        _halved,
    ),
    _stream(
        "stale_norm",
        "the MLP reads the normed stream from before attention",
        "h = norm(x); x = x + attention(h); x = x + mlp(h)",
        _stale_norm,
        topic="mlp",
    ),
    _stream(
        "mlp_of_attention",
        "the MLP reads attention's output without the stream",
        "a = attention(norm(x)); x = x + a + mlp(norm2(a))",
        _mlp_of_attention,
    ),
    _stream(
        "from_embedding",
        "every layer adds to the embedding, and not to the stream",
        "x = embedding + attention(norm(x))",
        _from_embedding,
    ),
)


# The order of layers.


def _as_text(count: int) -> Sequence[int]:
    return sorted(range(count), key=str)


LAYERS = (
    entry(
        "layers.reversed",
        "layers run from the last to the first",
        ("for i in 0..n", "for i in (0..n).rev()"),
        "order",
        layers=lambda n: range(n - 1, -1, -1),
    ),
    entry(
        "layers.no_last",
        "the last layer is left out",
        ("for i in 0..n", "for i in 0..n - 1"),
        "order",
        layers=lambda n: range(n - 1),
    ),
    entry(
        "layers.no_first",
        "the first layer is left out",
        ("for i in 0..n", "for i in 1..n"),
        "order",
        layers=lambda n: range(1, n),
    ),
    entry(
        "layers.first_only",
        "only the first layer runs",
        ("for i in 0..n", "for i in 0..1"),
        "order",
        layers=lambda n: range(1),
    ),
    entry(
        "layers.none",
        "no layer runs",
        ("for i in 0..n", "for i in 0..0"),
        "order",
        layers=lambda n: range(0),
    ),
    entry(
        "layers.as_text",
        "layers are sorted as text: layers.10 comes before layers.2",
        ("0, 1, 2, … 10, 11", "0, 1, 10, 11, 2, …"),
        "order",
        layers=_as_text,
    ),
    entry(
        "layers.at_most_10",
        "layers from the eleventh on are left out: their number has two digits",
        ("layers.10 follows layers.9", "only one digit is read"),
        "order",
        layers=lambda n: range(min(n, 10)),
    ),
)


# Both ends.


def _tied_always(model: Model) -> Array:
    return model.tensors[EMBED_TOKENS]


def _log_softmax(logits: Array, model: Model) -> Array:
    shifted = logits - logits.max(axis=-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))


def _softmax(logits: Array, model: Model) -> Array:
    return np.exp(_log_softmax(logits, model))


def _bf16(logits: Array, model: Model) -> Array:
    return logits.astype(ml_dtypes.bfloat16).astype(np.float32)


def _f16(logits: Array, model: Model) -> Array:
    return logits.astype(np.float16).astype(np.float32)


def _lies(table: Array) -> Array:
    return np.ascontiguousarray(table.reshape(table.shape[::-1]).T)


ENDS = (
    entry(
        "ends.always_tied",
        "the embedding table scores, though the model has a head of its own",
        ("head = lm_head, unless tied", "head = embed_tokens"),
        "ends",
        head=_tied_always,
    ),
    entry(
        "ends.head_embeds",
        "the head's table embeds as well, though the two are not tied",
        ("x = embed_tokens[ids]", "x = lm_head[ids]"),
        "ends",
        table=lambda model: model.tensors.get("lm_head.weight", model.tensors[EMBED_TOKENS]),
    ),
    entry(
        "ends.head_as_it_lies",
        "the head is read as (hidden, vocab), though it is stored as (vocab, hidden)",
        ("head[token * hidden + i]", "head[i * vocab + token]"),
        "product",
        head=lambda model: _lies(
            model.tensors.get("lm_head.weight", model.tensors[EMBED_TOKENS])
            if not model.config.tie_word_embeddings
            else model.tensors[EMBED_TOKENS]
        ),
    ),
    entry(
        "ends.table_as_it_lies",
        "the embedding table is read as (hidden, vocab), though it is stored as (vocab, hidden)",
        ("table[token * hidden + i]", "table[i * vocab + token]"),
        "embedding",
        embed=lambda table, ids: _lies(table)[ids],
    ),
    entry(
        "ends.scaled",
        "embeddings are multiplied by √hidden_size, as in Gemma",
        ("x = embed_tokens[ids]", "x = embed_tokens[ids] · √hidden_size"),
        "embedding",
        embed=lambda table, ids: table[ids] * np.float32(table.shape[1] ** 0.5),
    ),
    entry(
        "ends.normed",
        "embeddings are divided by their root mean square",
        ("x = embed_tokens[ids]", "x = embed_tokens[ids] / rms"),
        "embedding",
        embed=lambda table, ids: rms_norm(table[ids], np.ones_like(table[0]), 1e-5),
    ),
    entry(
        "ends.next_row",
        "each id is looked up one row too late",
        ("embed_tokens[id]", "embed_tokens[id + 1]"),
        "embedding",
        embed=lambda table, ids: table[(ids + 1) % len(table)],
    ),
    entry(
        "ends.previous_row",
        "each id is looked up one row too early",
        ("embed_tokens[id]", "embed_tokens[id - 1]"),
        "embedding",
        embed=lambda table, ids: table[ids - 1],
    ),
    entry(
        "ends.one_byte_ids",
        "ids are kept in 8 bits: from 256 on they start again at 0",
        ("id: u32", "id: u8"),
        "embedding",
        embed=lambda table, ids: table[ids % 256],
    ),
    entry(
        "ends.ids_backwards",
        "the ids of a call are fed in reverse",
        ("for id in ids", "for id in ids.rev()"),
        "embedding",
        embed=lambda table, ids: table[ids[::-1]],
    ),
    entry(
        "ends.first_row",
        "the logits of the first position of a call are given, and not of the last",
        ("x[seq - 1]", "x[0]"),
        "order",
        last=lambda x: x[:1],
    ),
    entry(
        "ends.row_before",
        "the logits of the last position but one are given",
        ("x[seq - 1]", "x[seq - 2]"),
        "order",
        last=lambda x: x[-2:-1] if len(x) > 1 else x,
    ),
    entry(
        "ends.mean_row",
        "the logits of the mean of all positions are given",
        ("x[seq - 1]", "x.mean(over positions)"),
        "order",
        last=lambda x: x.mean(axis=0, keepdims=True),
    ),
    entry(
        "ends.softmax",
        "probabilities are given, and not logits",
        ("logits = x headᵀ", "logits = softmax(x headᵀ)"),
        "order",
        logits=_softmax,
    ),
    entry(
        "ends.log_softmax",
        "log-probabilities are given, and not logits",
        ("logits = x headᵀ", "logits = log_softmax(x headᵀ)"),
        "order",
        logits=_log_softmax,
    ),
    entry(
        "ends.largest_subtracted",
        "the largest logit is subtracted from all",
        ("logits = x headᵀ", "logits = x headᵀ; logits -= max"),
        "order",
        logits=lambda logits, model: logits - logits.max(),
    ),
    entry(
        "ends.softcap",
        "logits are capped by 30 · tanh(logits / 30), as in Gemma",
        ("logits = x headᵀ", "logits = 30 · tanh(x headᵀ / 30)"),
        "order",
        logits=lambda logits, model: np.float32(30) * np.tanh(logits / np.float32(30)),
    ),
    entry(
        "ends.scaled_down",
        "logits are divided by √hidden_size",
        ("logits = x headᵀ", "logits = x headᵀ / √hidden_size"),
        "order",
        logits=lambda logits, model: logits * np.float32(model.config.hidden_size**-0.5),
    ),
    entry(
        "ends.bf16",
        "logits are rounded to bfloat16",
        ("logits: f32", "logits: bf16"),
        "precision",
        logits=_bf16,
        loose=300.0,
    ),
    entry(
        "ends.f16",
        "logits are rounded to float16",
        ("logits: f32", "logits: f16"),
        "precision",
        logits=_f16,
        loose=300.0,
    ),
)

SUBLAYERS: tuple[Mistake, ...] = (*NORMS, *GATES, *STREAM, *LAYERS, *ENDS)
"""Mistakes in everything but attention and its cache."""
