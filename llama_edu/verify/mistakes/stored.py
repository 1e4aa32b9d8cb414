"""Mistakes in what is read: bytes, number formats, the config, and which tensor is used where."""

from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np

from llama_edu.formats.config import LlamaConfig, RopeScaling
from llama_edu.formats.precision import DTYPES, to_float32
from llama_edu.formats.safetensors import SafetensorsFile, read_header
from llama_edu.formats.tensor_shapes import EMBED_TOKENS, LM_HEAD
from llama_edu.ops.linear import linear
from llama_edu.verify.mistakes.base import Mistake, entry
from llama_edu.verify.parts import NORM, Model

__all__ = ["STORED"]

Array = np.ndarray
BF16 = np.dtype(ml_dtypes.bfloat16)
F16 = np.dtype(np.float16)
PROJECTIONS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


# Bytes and formats.


@lru_cache(maxsize=64)
def _stored(path: Path) -> dict[str, Array]:
    return dict(SafetensorsFile(path))


def _files(model: Model) -> dict[str, Array]:
    path = model.directory / "model.safetensors"
    return _stored(path) if path.is_file() else {}


def _shifted(distance: Callable[[int], int]) -> Callable[[Model], Model]:
    """Every tensor from bytes that lie elsewhere in the file, `distance(header length)` away."""

    def read(model: Model) -> Model:
        path = model.directory / "model.safetensors"
        header = read_header(path)
        data = path.read_bytes()
        tensors = {}
        for name, info in header.tensors.items():
            start = header.data_start + info.start + distance(header.header_nbytes)
            cut = data[start : start + info.nbytes].ljust(info.nbytes, b"\0")
            array = np.frombuffer(cut, DTYPES[info.dtype]).reshape(info.shape)
            tensors[name] = to_float32(array)
        return Model(model.config, tensors, model.directory, model.raw)

    return read


def _reread(change: Callable[[Array], Array]) -> Callable[[Model], Model]:
    """Every tensor as `change` makes it from the stored one."""

    def read(model: Model) -> Model:
        changed = {name: change(array) for name, array in _files(model).items()}
        return model.changed(**{name.replace(".", "__"): a for name, a in changed.items()})

    return read


def _as(stored: np.dtype, taken: np.dtype) -> Callable[[Model], Model]:
    return _reread(lambda a: to_float32(a.view(taken) if a.dtype == stored else a))


def _flushed(array: Array) -> Array:
    wide = to_float32(array)
    return np.where(np.abs(wide) < 2.0**-14, np.float32(0), wide) if array.dtype == F16 else wide


def _subnormals_halved(array: Array) -> Array:
    wide = to_float32(array)
    small = (array.dtype == F16) & (np.abs(wide) < 2.0**-14)
    return np.where(small, wide / 2, wide).astype(np.float32)


def _subnormals_as_normal(array: Array) -> Array:
    wide = to_float32(array)
    if array.dtype != F16:
        return wide
    as_normal = np.copysign(2.0**-15 + np.abs(wide) / 2, wide).astype(np.float32)
    return np.where(np.abs(wide) < 2.0**-14, as_normal, wide)


def _bf16_cut(array: Array) -> Array:
    return (to_float32(array).view(np.uint32) & np.uint32(0xFFFF0000)).view(np.float32)


def _other_end(array: Array) -> Array:
    return to_float32(array.byteswap())


def _rounded(dtype: np.dtype) -> Callable[[Model], Model]:
    def read(model: Model) -> Model:
        with np.errstate(over="ignore", invalid="ignore"):
            return model.mapped(lambda _, a: a.astype(dtype).astype(np.float32))

    return read


# The config.


def _field(**fields: Any) -> Callable[[Model], Model]:
    return lambda model: model.configured(**fields)


def _if_absent(name: str, **fields: Any) -> Callable[[Model], Model]:
    return lambda model: model if _given(model, name) else model.configured(**fields)


def _given(model: Model, name: str) -> bool:
    nested = model.raw.get("rope_parameters") or {}
    return model.raw.get(name) is not None or nested.get(name) is not None


def _old_spelling_only(model: Model) -> Model:
    theta = float(model.raw.get("rope_theta") or 10000.0)
    scaling = model.config.rope_scaling if model.raw.get("rope_scaling") else None
    return model.configured(rope_theta=theta, rope_scaling=scaling)


def _theta_at_the_top_only(model: Model) -> Model:
    return model.configured(rope_theta=float(model.raw.get("rope_theta") or 10000.0))


def _type_unread(model: Model) -> Model:
    scaling = model.raw.get("rope_scaling") or model.raw.get("rope_parameters") or {}
    return model if "rope_type" in scaling else model.configured(rope_scaling=None)


def _scaling(**fields: Any) -> Callable[[Model], Model]:
    """Other numbers in a "llama3" scaling."""

    def read(model: Model) -> Model:
        scaling = model.config.rope_scaling
        if scaling is None or scaling.rope_type != "llama3":
            return model
        given = {name: value(model.config) for name, value in fields.items()}
        return model.configured(rope_scaling=RopeScaling(**(vars(scaling) | given)))

    return read


# Which tensor is used where.


def _without_biases(*names: str) -> Callable[[Model], Model]:
    def keep(name: str) -> bool:
        return not (name.endswith(".bias") and any(part in name for part in names))

    def read(model: Model) -> Model:
        tensors = {n: a for n, a in model.tensors.items() if keep(n)}
        return Model(model.config, tensors, model.directory, model.raw)

    return read


def _bias_of_first_row(x: Array, weight: Array, bias: Array | None) -> Array:
    y = linear(x, weight, None)
    if bias is not None:
        y[0] += bias
    return y


def _bias_times(factor: float) -> Callable[[Model], Model]:
    return lambda model: model.mapped(
        lambda n, a: a * np.float32(factor) if n.endswith(".bias") else a
    )


def _exchanged(one: str, other: str) -> Callable[[Model], Model]:
    """Two tensors of every layer change places. Their shapes must allow it."""

    def read(model: Model) -> Model:
        tensors = dict(model.tensors)
        for name in model.tensors:
            if one in name:
                tensors[name] = model.tensors[name.replace(one, other)]
            elif other in name:
                tensors[name] = model.tensors[name.replace(other, one)]
        return Model(model.config, tensors, model.directory, model.raw)

    return read


def _taken_from(wanted: str, source: str) -> Callable[[Model], Model]:
    """One tensor of every layer is read under another's name."""
    return lambda model: model.mapped(
        lambda name, a: model.tensors[name.replace(wanted, source)] if wanted in name else a
    )


def _ones(*names: str) -> Callable[[Model], Model]:
    def change(name: str, array: Array) -> Array:
        return np.ones_like(array) if any(part in name for part in names) else array

    return lambda model: model.mapped(change)


def _of_layer(pattern: str, which: Callable[[int, int], int]) -> Callable[[Model], Model]:
    """Tensors whose name contains `pattern` come from layer `which(layer, n_layers)`."""

    def read(model: Model) -> Model:
        count = model.config.num_hidden_layers

        def change(name: str, array: Array) -> Array:
            if not name.startswith("model.layers.") or pattern not in name:
                return array
            _, _, number, rest = name.split(".", 3)
            return model.tensors[f"model.layers.{which(int(number), count)}.{rest}"]

        return model.mapped(change)

    return read


def _last_gain_of_last_layer(model: Model) -> Model:
    last = f"model.layers.{model.config.num_hidden_layers - 1}.post_attention_layernorm.weight"
    return model.changed(**{NORM.replace(".", "__"): model.tensors[last]})


def _times(factor: Callable[[LlamaConfig], float], *names: str) -> Callable[[Model], Model]:
    def read(model: Model) -> Model:
        by = np.float32(factor(model.config))
        return model.mapped(lambda n, a: a * by if any(part in n for part in names) else a)

    return read


def _root_of_head_dim_over(size: int) -> Callable[[LlamaConfig], float]:
    return lambda config: float((config.head_dim / size) ** 0.5)


def _turned(*names: str) -> Callable[[Model], Model]:
    """A square matrix is used the other way around; others would not fit."""

    def change(name: str, array: Array) -> Array:
        square = array.ndim == 2 and array.shape[0] == array.shape[1]
        return array.T if square and any(part in name for part in names) else array

    return lambda model: model.mapped(change)


def _as_it_lies(*names: str) -> Callable[[Model], Model]:
    """The bytes of (out, in) are taken for those of (in, out)."""

    def change(name: str, array: Array) -> Array:
        if array.ndim < 2 or not any(part in name for part in names):
            return array
        return np.ascontiguousarray(array.reshape(array.shape[::-1]).T)

    return lambda model: model.mapped(change)


def _as_it_lies_everywhere(model: Model) -> Model:
    model = _as_it_lies("_proj", LM_HEAD)(model)
    if model.config.tie_word_embeddings:
        table = model.tensors[EMBED_TOKENS]
        turned = np.ascontiguousarray(table.reshape(table.shape[::-1]).T)
        return model.changed(**{LM_HEAD.replace(".", "__"): turned})
    return model


def _head_of_its_own(model: Model) -> Array:
    return model.tensors.get(LM_HEAD, model.tensors[EMBED_TOKENS])


BYTES = (
    entry(
        "bytes.eight_early",
        "the 8 bytes of the header's length are forgotten, so every tensor is read 8 bytes early",
        ("data = file[8 + header_length:]", "data = file[header_length:]"),
        "bytes",
        read=_shifted(lambda _: -8),
    ),
    entry(
        "bytes.from_the_start",
        "offsets are counted from the start of the file, not from the end of the header",
        ("data = file[8 + header_length:]", "data = file"),
        "bytes",
        read=_shifted(lambda n: -8 - n),
    ),
    entry(
        "bytes.from_the_header",
        "offsets are counted from the start of the header, not from its end",
        ("data = file[8 + header_length:]", "data = file[8:]"),
        "bytes",
        read=_shifted(lambda n: -n),
    ),
    entry(
        "bytes.big_endian",
        "numbers are read with their largest byte first",
        ("f32::from_le_bytes(b)", "f32::from_be_bytes(b)"),
        "bytes",
        read=_reread(_other_end),
    ),
    entry(
        "bytes.bf16_as_f16",
        "bfloat16 is read as float16",
        ("float = bits << 16", "float = half_to_float(bits)"),
        "bf16",
        read=_as(BF16, F16),
    ),
    entry(
        "bytes.f16_as_bf16",
        "float16 is read as bfloat16",
        ("float = half_to_float(bits)", "float = bits << 16"),
        "f16",
        read=_as(F16, BF16),
    ),
    entry(
        "bytes.f16_flushed",
        "the smallest numbers of float16, the subnormal ones, are read as 0",
        ("exponent 0: mantissa · 2⁻²⁴", "exponent 0: 0"),
        "f16",
        read=_reread(_flushed),
    ),
    entry(
        "bytes.f16_subnormal_as_normal",
        "the smallest numbers of float16, the subnormal ones, are given a leading 1",
        ("exponent 0: mantissa · 2⁻²⁴", "exponent 0: (1 + mantissa / 1024) · 2⁻¹⁵"),
        "f16",
        read=_reread(_subnormals_as_normal),
    ),
    entry(
        "bytes.f16_subnormal_halved",
        "the smallest numbers of float16, the subnormal ones, are half as large",
        ("exponent 0: mantissa · 2⁻²⁴", "exponent 0: mantissa · 2⁻²⁵"),
        "f16",
        read=_reread(_subnormals_halved),
    ),
    entry(
        "bytes.weights_in_bf16",
        "weights are rounded to bfloat16 on their way in",
        ("weight: f32", "weight: bf16, rounded"),
        "precision",
        read=_rounded(BF16),
    ),
    entry(
        "bytes.weights_cut_to_bf16",
        "weights are cut to bfloat16 on their way in, not even rounded",
        ("weight: f32", "weight: its upper 16 bits"),
        "precision",
        read=_reread(_bf16_cut),
    ),
    entry(
        "bytes.weights_in_f16",
        "weights are rounded to float16 on their way in",
        ("weight: f32", "weight: f16, rounded"),
        "precision",
        read=_rounded(F16),
    ),
)

EPS = tuple(
    entry(
        f"config.eps_{value:g}",
        f"rms_norm_eps is {value:g}, whatever the config says",
        ("eps = config.rms_norm_eps", f"eps = {value:g}"),
        "norm",
        exhibit="fixed_eps",
        read=_field(rms_norm_eps=value),
    )
    for value in (1e-5, 1e-6)
)
THETA = tuple(
    entry(
        f"config.theta_{value:g}",
        f"rope_theta is {value:g}, whatever the config says",
        ("theta = config.rope_theta", f"theta = {value:g}"),
        "theta",
        exhibit="fixed_theta",
        read=_field(rope_theta=value),
    )
    for value in (10000.0, 100000.0, 500000.0, 1000000.0)
)
MISSING_THETA = tuple(
    entry(
        f"config.missing_theta_{value:g}",
        f"a missing rope_theta is taken as {value:g}, where it means 10000",
        ("theta = config.get(rope_theta, 10000)", f"theta = config.get(rope_theta, {value:g})"),
        "config",
        read=_if_absent("rope_theta", rope_theta=value),
    )
    for value in (500000.0, 1000000.0)
)

CONFIG = (
    *EPS,
    *THETA,
    *MISSING_THETA,
    entry(
        "config.missing_tie",
        "a missing tie_word_embeddings is taken as true, where it means false",
        ("tied = config.get(tie_word_embeddings, false)", "… , true)"),
        "config",
        read=_if_absent("tie_word_embeddings", tie_word_embeddings=True),
    ),
    entry(
        "config.old_spelling_only",
        "rope_parameters, the newer spelling of the RoPE fields, is not read",
        ("rope = config.rope_parameters or config.rope_scaling", "rope = config.rope_scaling"),
        "config",
        read=_old_spelling_only,
    ),
    entry(
        "config.theta_at_the_top_only",
        "rope_theta is looked for beside rope_parameters and not in it",
        ("theta = rope_parameters.rope_theta or config.rope_theta", "theta = config.rope_theta"),
        "config",
        read=_theta_at_the_top_only,
    ),
    entry(
        "config.type_unread",
        'a rope_scaling whose kind is given as "type" and not as "rope_type" is ignored',
        ('kind = rope_type or type or "default"', 'kind = rope_type or "default"'),
        "config",
        read=_type_unread,
    ),
    entry(
        "config.no_scaling",
        "rope_scaling is not read at all",
        ("inv_freq = scaled(inv_freq, config.rope_scaling)", "inv_freq = inv_freq"),
        "scaling",
        read=_field(rope_scaling=None),
    ),
    entry(
        "config.llama3_context_is_models",
        "llama3 scaling measures against max_position_embeddings, not the original context",
        ("context = original_max_position_embeddings", "context = max_position_embeddings"),
        "scaling",
        read=_scaling(original_max_position_embeddings=lambda c: c.max_position_embeddings),
    ),
    entry(
        "config.llama3_context_8192",
        "llama3 scaling measures against a context of 8192, whatever the config says",
        ("context = original_max_position_embeddings", "context = 8192"),
        "scaling",
        read=_scaling(original_max_position_embeddings=lambda c: 8192),
    ),
    entry(
        "config.llama3_factor_8",
        "llama3 scaling divides by 8, whatever the config says",
        ("inv_freq / factor", "inv_freq / 8"),
        "scaling",
        read=_scaling(factor=lambda c: 8.0),
    ),
    entry(
        "config.llama3_low_high_fixed",
        "llama3 scaling blends between 1 and 4, whatever the config says",
        ("low, high = low_freq_factor, high_freq_factor", "low, high = 1, 4"),
        "scaling",
        read=_scaling(low_freq_factor=lambda c: 1.0, high_freq_factor=lambda c: 4.0),
    ),
    entry(
        "config.theta_of_eps",
        "max_position_embeddings stands where rope_theta should",
        ("theta = config.rope_theta", "theta = config.max_position_embeddings"),
        "theta",
        read=lambda m: m.configured(rope_theta=float(m.config.max_position_embeddings)),
    ),
)

BIASES = (
    entry(
        "bias.all",
        "biases are not added, though the checkpoint has them",
        ("y = x Wᵀ + b", "y = x Wᵀ"),
        "product",
        read=_without_biases(""),
    ),
    entry(
        "bias.attention",
        "the biases of attention are not added",
        ("q = x Wᵀ + b", "q = x Wᵀ"),
        "product",
        read=_without_biases("self_attn"),
    ),
    entry(
        "bias.mlp",
        "the biases of the MLP are not added",
        ("gate = x Wᵀ + b", "gate = x Wᵀ"),
        "product",
        read=_without_biases("mlp"),
    ),
    entry(
        "bias.qkv",
        "the biases of q, k and v are not added, only that of o_proj",
        ("q = x Wᵀ + b", "q = x Wᵀ"),
        "product",
        read=_without_biases("q_proj", "k_proj", "v_proj"),
    ),
    *(
        entry(
            f"bias.{name}",
            f"the bias of {name} is not added",
            ("y = x Wᵀ + b", "y = x Wᵀ"),
            "product",
            read=_without_biases(name),
        )
        for name in PROJECTIONS
    ),
    entry(
        "bias.first_row",
        "biases are added to the first token of a call alone",
        ("for row in y: row += b", "y[0] += b"),
        "product",
        linear=_bias_of_first_row,
    ),
    entry(
        "bias.subtracted",
        "biases are subtracted",
        ("y = x Wᵀ + b", "y = x Wᵀ - b"),
        "product",
        read=_bias_times(-1.0),
    ),
    entry(
        "bias.twice",
        "biases are added twice",
        ("y = x Wᵀ + b", "y = x Wᵀ + b + b"),
        "product",
        read=_bias_times(2.0),
    ),
)

MATRICES = (
    entry(
        "weight.turned",
        "matrices are used the other way around, which only square ones allow",
        ("y = x Wᵀ", "y = x W"),
        "product",
        exhibit="weight_not_turned",
        read=_turned("_proj"),
    ),
    entry(
        "weight.as_it_lies",
        "every matrix is read as (in, out), though it is stored as (out, in)",
        ("w[o * n_in + i]", "w[i * n_out + o]"),
        "product",
        exhibit="weight_not_turned",
        head=_head_of_its_own,
        read=_as_it_lies_everywhere,
    ),
    entry(
        "weight.as_it_lies_in_layers",
        "every matrix but the head is read as (in, out), though it is stored as (out, in)",
        ("w[o * n_in + i]", "w[i * n_out + o]"),
        "product",
        read=_as_it_lies("_proj"),
    ),
    *(
        entry(
            f"weight.{name}_turned",
            f"{name} is used the other way around, which only a square matrix allows",
            ("y = x Wᵀ", "y = x W"),
            "product",
            read=_turned(name),
        )
        for name in PROJECTIONS
    ),
    *(
        entry(
            f"weight.{name}_as_it_lies",
            f"{name} is read as (in, out), though it is stored as (out, in)",
            ("w[o * n_in + i]", "w[i * n_out + o]"),
            "product",
            read=_as_it_lies(name),
        )
        for name in PROJECTIONS
    ),
    entry(
        "weight.q_o_swapped",
        "q_proj and o_proj change places",
        ("q = x q_projᵀ", "q = x o_projᵀ"),
        "config",
        read=_exchanged("q_proj", "o_proj"),
    ),
    entry(
        "weight.k_v_swapped",
        "k_proj and v_proj change places",
        ("k, v = x k_projᵀ, x v_projᵀ", "k, v = x v_projᵀ, x k_projᵀ"),
        "config",
        read=_exchanged("k_proj", "v_proj"),
    ),
    entry(
        "weight.v_is_k",
        "v is made with k_proj",
        ("v = x v_projᵀ", "v = x k_projᵀ"),
        "config",
        read=_taken_from("v_proj", "k_proj"),
    ),
    entry(
        "weight.k_is_v",
        "k is made with v_proj",
        ("k = x k_projᵀ", "k = x v_projᵀ"),
        "config",
        read=_taken_from("k_proj", "v_proj"),
    ),
    entry(
        "weight.up_is_gate",
        "up is made with gate_proj",
        ("up = x up_projᵀ", "up = x gate_projᵀ"),
        "mlp",
        read=_taken_from("up_proj", "gate_proj"),
    ),
    entry(
        "weight.gate_is_up",
        "gate is made with up_proj",
        ("gate = x gate_projᵀ", "gate = x up_projᵀ"),
        "mlp",
        read=_taken_from("gate_proj", "up_proj"),
    ),
    entry(
        "weight.first_layer_for_all",
        "every layer uses the weights of layer 0",
        ("layers[i]", "layers[0]"),
        "order",
        read=_of_layer("", lambda i, n: 0),
    ),
    *(
        entry(
            f"weight.{name}_of_layer_0",
            f"every layer uses {name} of layer 0",
            (f"layers[i].{name}", f"layers[0].{name}"),
            "order",
            read=_of_layer(name, lambda i, n: 0),
        )
        for name in ("self_attn", "mlp", "input_layernorm", "post_attention_layernorm", "norm")
    ),
    entry(
        "weight.next_layer_norm",
        "input_layernorm comes from the layer after",
        ("layers[i].input_layernorm", "layers[i + 1].input_layernorm"),
        "order",
        read=_of_layer("input_layernorm", lambda i, n: min(i + 1, n - 1)),
    ),
)

GAINS = (
    entry(
        "gain.swapped",
        "the two norms of a layer change places",
        ("h = norm(x, input_layernorm)", "h = norm(x, post_attention_layernorm)"),
        "order",
        read=_exchanged("input_layernorm", "post_attention_layernorm"),
    ),
    entry(
        "gain.input_for_both",
        "both norms of a layer use the weights of input_layernorm",
        ("h = norm(x, post_attention_layernorm)", "h = norm(x, input_layernorm)"),
        "order",
        read=_taken_from("post_attention_layernorm", "input_layernorm"),
    ),
    entry(
        "gain.post_for_both",
        "both norms of a layer use the weights of post_attention_layernorm",
        ("h = norm(x, input_layernorm)", "h = norm(x, post_attention_layernorm)"),
        "order",
        read=_taken_from("input_layernorm", "post_attention_layernorm"),
    ),
    entry(
        "gain.not_input",
        "input_layernorm is applied without its weights",
        ("h = input_layernorm · x / rms", "h = x / rms"),
        "norm",
        read=_ones("input_layernorm"),
    ),
    entry(
        "gain.not_post",
        "post_attention_layernorm is applied without its weights",
        ("h = post_attention_layernorm · x / rms", "h = x / rms"),
        "norm",
        read=_ones("post_attention_layernorm"),
    ),
    entry(
        "gain.not_last",
        "the last norm is applied without its weights",
        ("h = norm · x / rms", "h = x / rms"),
        "norm",
        read=_ones(NORM),
    ),
    entry(
        "gain.last_of_layer",
        "the last norm uses the weights of the last layer's post_attention_layernorm",
        ("h = rms_norm(x, norm)", "h = rms_norm(x, layers[-1].post_attention_layernorm)"),
        "order",
        read=_last_gain_of_last_layer,
    ),
)

SCALES = (
    entry(
        "scale.by_hidden",
        "scores are divided by √hidden_size, not by √head_dim",
        ("scores / √head_dim", "scores / √hidden_size"),
        "scores",
        read=_times(lambda c: (c.head_dim / c.hidden_size) ** 0.5, "q_proj"),
    ),
    entry(
        "scale.by_hidden_over_heads",
        "scores are divided by √(hidden_size / n_heads), though the config gives another head_dim",
        ("scores / √head_dim", "scores / √(hidden_size / n_heads)"),
        "scores",
        read=_times(
            lambda c: (c.head_dim * c.num_attention_heads / c.hidden_size) ** 0.5, "q_proj"
        ),
    ),
    entry(
        "scale.by_hidden_over_heads_whole",
        "scores are divided by √(hidden_size // n_heads), though the config gives another head_dim",
        ("scores / √head_dim", "scores / √(hidden_size // n_heads)"),
        "scores",
        read=_times(
            lambda c: (c.head_dim / (c.hidden_size // c.num_attention_heads)) ** 0.5, "q_proj"
        ),
    ),
    entry(
        "scale.by_kv_width",
        "scores are divided by √(n_kv_heads · head_dim), not by √head_dim",
        ("scores / √head_dim", "scores / √(n_kv_heads · head_dim)"),
        "scores",
        read=_times(lambda c: c.num_key_value_heads**-0.5, "q_proj"),
    ),
    *(
        entry(
            f"scale.of_{d}",
            f"scores are divided by √{d}, whatever head_dim is",
            ("scores / √head_dim", f"scores / √{d}"),
            "scores",
            read=_times(_root_of_head_dim_over(d), "q_proj"),
        )
        for d in (16, 64, 128)
    ),
    entry(
        "scale.by_heads",
        "scores are divided by √n_heads, not by √head_dim",
        ("scores / √head_dim", "scores / √n_heads"),
        "scores",
        read=_times(lambda c: (c.head_dim / c.num_attention_heads) ** 0.5, "q_proj"),
    ),
)

STORED: tuple[Mistake, ...] = (*BYTES, *CONFIG, *BIASES, *MATRICES, *GAINS, *SCALES)
"""Mistakes in what is read, and in which tensor is used where."""
