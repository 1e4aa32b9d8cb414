"""Turn a checkpoint's tensors into the arrays the forward pass multiplies by.

Checks that exactly the tensors are there which the config calls for, in exactly those shapes,
brings each to the format a precision keeps it in, and settles which array is the embedding table
and which the output head. Computes nothing else.
"""

import hashlib
from collections.abc import Iterator, Mapping, Set
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any

import numpy as np
from jaxtyping import Float

from llama_edu.errors import CheckpointError, NumericsError
from llama_edu.formats.config import LlamaConfig
from llama_edu.formats.four_bits import FourBits
from llama_edu.formats.precision import PRECISIONS, Precision, cast, dtype_name, is_float
from llama_edu.formats.quantize import Quantized, Stored, stored_as
from llama_edu.formats.safetensors import forget_pages, is_of_rope
from llama_edu.formats.strict_json import short
from llama_edu.formats.tensor_shapes import EMBED_TOKENS, LM_HEAD, expected_shapes

__all__ = ["LayerWeights", "Projection", "Weights", "load_weights"]

BARE = ("embed_tokens.", "layers.", "norm.", "rotary_emb.", LM_HEAD)  # names without `model.`
PIECE = 32 * 1024 * 1024  # bytes asked for at a time; memory not written to is not taken
LINE = 64


@dataclass(frozen=True)
class Projection:
    """One linear layer, under the name the checkpoint gives it."""

    weight: Float[np.ndarray, "out_features in_features"] | Stored
    bias: Float[np.ndarray, " out_features"] | None


@dataclass(frozen=True)
class LayerWeights:
    """One decoder layer, the `index`-th from 0. The other fields carry the checkpoint's names."""

    index: int
    input_layernorm: Float[np.ndarray, " hidden_size"]
    q_proj: Projection
    k_proj: Projection
    v_proj: Projection
    o_proj: Projection
    post_attention_layernorm: Float[np.ndarray, " hidden_size"]
    gate_proj: Projection
    up_proj: Projection
    down_proj: Projection
    q_norm: Float[np.ndarray, " head_dim"] | None = None
    k_norm: Float[np.ndarray, " head_dim"] | None = None


@dataclass(frozen=True)
class JoinedProjections:
    """Copies of a layer's projections of the same vector, as one: two products instead of five."""

    qkv_proj: Projection
    gate_up_proj: Projection


@dataclass(frozen=True)
class Weights:
    """A whole model. With tied embeddings `lm_head` and `embed_tokens` are the same array."""

    embed_tokens: Float[np.ndarray, "vocab_size hidden_size"] | Stored
    layers: tuple[LayerWeights, ...]
    norm: Float[np.ndarray, " hidden_size"]
    lm_head: Float[np.ndarray, "vocab_size hidden_size"] | Stored

    @cached_property
    def nbytes(self) -> int:
        """Bytes of every weight, gain and bias, scales included; a tied table counts once."""
        arrays = {id(array): array.nbytes for array in self._arrays()}
        return sum(arrays.values())

    @cached_property
    def joined_projections(self) -> tuple[JoinedProjections, ...]:
        """Those of every layer. Only for weights that are plain arrays.

        A small model spends more time on the way to a product than in it. For a large one this
        would take its memory a second time, and gain nothing.
        """
        return tuple(
            JoinedProjections(
                _joined(layer.q_proj, layer.k_proj, layer.v_proj),
                _joined(layer.gate_proj, layer.up_proj),
            )
            for layer in self.layers
        )

    def sha256(self) -> str:
        """A hash over every number as it is stored here: equal for equal models only."""
        whole = hashlib.sha256()
        for array in self._arrays():
            for part in _plain(array):
                whole.update(f"{part.dtype} {part.shape}".encode())
                whole.update(np.ascontiguousarray(part).reshape(-1).view(np.uint8).data)
        return whole.hexdigest()

    def _arrays(self) -> Iterator[np.ndarray | Stored]:
        yield from (self.embed_tokens, self.norm, self.lm_head)
        for layer in self.layers:
            parts = (getattr(layer, part.name) for part in fields(layer) if part.name != "index")
            for part in parts:
                if isinstance(part, Projection):
                    yield part.weight
                    if part.bias is not None:
                        yield part.bias
                elif part is not None:
                    yield part


def _plain(array: np.ndarray | Stored) -> tuple[np.ndarray, ...]:
    """The arrays a stored matrix consists of."""
    if isinstance(array, FourBits):
        return (array.blocks,)
    return (array.codes, array.scales) if isinstance(array, Quantized) else (array,)


def _joined(*projections: Projection) -> Projection:
    """One projection with the rows of several."""
    biases = [p.bias for p in projections if p.bias is not None]  # all have one, or none has
    weight = np.concatenate([p.weight for p in projections])
    return Projection(weight, np.concatenate(biases) if biases else None)


def load_weights(
    config: LlamaConfig,
    stored: Mapping[str, Any],
    precision: Precision = PRECISIONS["f32"],
) -> Weights:
    """Check the stored tensors against the config and bring them to a precision.

    Names may lack the prefix `model.`, as those of a model saved without its head do. Tensors
    stored in the format the precision keeps are used where they lie, memory-mapped or
    not; the others are converted, one new array each. Raises `CheckpointError` for a missing,
    surplus or misshapen tensor, an integer one, and for embeddings stored against what the config
    says; `NumericsError` for numbers that the precision cannot hold. A matrix may also come in the
    codes that the precision keeps, and is then used as it is.
    """
    stored = _with_prefix(stored)
    _check_tensors(config, stored)
    load = _Loader(stored, expected_shapes(config).keys(), precision, Arena())
    if config.tie_word_embeddings:
        table = load.matrix(EMBED_TOKENS if EMBED_TOKENS in stored else LM_HEAD)
        embed_tokens, lm_head = table, table
    else:
        embed_tokens, lm_head = load.matrix(EMBED_TOKENS), load.matrix(LM_HEAD)
    layers = tuple(load.layer(i) for i in range(config.num_hidden_layers))
    return Weights(embed_tokens, layers, load.vector("model.norm.weight"), lm_head)


class Arena:
    """Lays converted matrices one behind the other in a few large pieces of memory.

    Large pieces come in large pages, so that reading through all weights, as every token does,
    looks up some hundred addresses instead of a hundred thousand (measured: 3 % faster).
    """

    def __init__(self) -> None:
        self._free = np.empty(0, dtype=np.uint8)

    def place(self, array: np.ndarray) -> np.ndarray:
        """A copy of the array at the start of a line of the processor's cache."""
        if array.nbytes + LINE > self._free.nbytes:
            self._free = np.empty(max(PIECE, array.nbytes + LINE), dtype=np.uint8)
        start = -self._free.ctypes.data % LINE
        end = start + array.nbytes
        placed = self._free[start:end].view(array.dtype).reshape(array.shape)
        placed[...] = array
        self._free = self._free[end:]
        return placed


@dataclass(frozen=True)
class _Loader:
    """Reads tensors by name and converts them to what a precision keeps."""

    stored: Mapping[str, Any]
    names: Set[str]  # those that the config calls for
    precision: Precision
    arena: Arena

    def matrix(self, name: str) -> np.ndarray | Stored:
        precision = self.precision
        at_an_end = name in (EMBED_TOKENS, LM_HEAD)
        storage = precision.head_storage if at_an_end else precision.storage
        if not isinstance(self.stored[name], np.ndarray):
            return self._as_stored(name, storage)
        try:
            array = self._float(name)
            if precision.is_quantized:
                codes = stored_as(array, storage, precision.block)
                forget_pages(array)
                place = self.arena.place
                if isinstance(codes, FourBits):
                    return FourBits(place(codes.blocks))
                return Quantized(place(codes.codes), place(codes.scales), codes.block)
            converted = cast(array, precision.storage)
            if array.dtype == converted.dtype:
                return converted
            forget_pages(array)
            return self.arena.place(converted)
        except NumericsError as problem:
            raise NumericsError(f"{name!r} as {precision.name}: {problem}") from problem

    def _as_stored(self, name: str, storage: str) -> Stored:
        """A matrix that is in codes already: used where it lies, if the precision keeps such."""
        matrix: Stored = self.stored[name]
        kept = matrix.storage if isinstance(matrix, FourBits) else dtype_name(matrix.codes.dtype)
        if kept != storage:
            raise CheckpointError(
                f"{name!r}: expected weights that {self.precision.name!r} can keep, as {storage} "
                f"or as floating-point numbers, got {kept}"
            )
        return matrix

    def vector(self, name: str) -> np.ndarray:
        return cast(self._float(name), self.precision.compute)

    def optional_vector(self, name: str) -> np.ndarray | None:
        return self.vector(name) if name in self.names else None

    def projection(self, name: str) -> Projection:
        bias = f"{name}.bias"
        return Projection(
            self.matrix(f"{name}.weight"), self.vector(bias) if bias in self.names else None
        )

    def layer(self, index: int) -> LayerWeights:
        prefix = f"model.layers.{index}"
        return LayerWeights(
            index=index,
            input_layernorm=self.vector(f"{prefix}.input_layernorm.weight"),
            q_proj=self.projection(f"{prefix}.self_attn.q_proj"),
            k_proj=self.projection(f"{prefix}.self_attn.k_proj"),
            v_proj=self.projection(f"{prefix}.self_attn.v_proj"),
            o_proj=self.projection(f"{prefix}.self_attn.o_proj"),
            post_attention_layernorm=self.vector(f"{prefix}.post_attention_layernorm.weight"),
            gate_proj=self.projection(f"{prefix}.mlp.gate_proj"),
            up_proj=self.projection(f"{prefix}.mlp.up_proj"),
            down_proj=self.projection(f"{prefix}.mlp.down_proj"),
            q_norm=self.optional_vector(f"{prefix}.self_attn.q_norm.weight"),
            k_norm=self.optional_vector(f"{prefix}.self_attn.k_norm.weight"),
        )

    def _float(self, name: str) -> np.ndarray:
        array = self.stored[name]
        if not is_float(array.dtype):
            raise CheckpointError(
                f"{name!r}: expected floating-point weights, got {dtype_name(array.dtype)}"
            )
        return array


def _with_prefix(stored: Mapping[str, np.ndarray]) -> Mapping[str, np.ndarray]:
    """The tensors by their full names."""
    if not all(name.startswith(BARE) for name in stored):
        return stored
    return {name if name == LM_HEAD else f"model.{name}": stored[name] for name in stored}


def _check_tensors(config: LlamaConfig, stored: Mapping[str, np.ndarray]) -> None:
    # First of all, since a config may ask for more layers than there is time to name.
    if config.num_hidden_layers > len(stored):
        raise CheckpointError(
            f"expected tensors for {config.num_hidden_layers} layers, got {len(stored)} in all"
        )
    expected = expected_shapes(config)
    # Old checkpoints store the RoPE frequencies; they follow from the config.
    given = {name for name in stored if not is_of_rope(name)}
    missing = expected.keys() - given
    if config.tie_word_embeddings and len(missing & {EMBED_TOKENS, LM_HEAD}) == 1:
        missing -= {EMBED_TOKENS, LM_HEAD}
    # Some programs write a bias for every projection; one of zeros changes nothing.
    surplus = {n for n in given - expected.keys() if not _is_bias_of_zeros(n, expected, stored)}
    if missing:
        tied = "; the config says the embeddings are not tied" if missing == {LM_HEAD} else ""
        instead = f", but {_listed(surplus)}" if surplus and not tied else ""
        raise CheckpointError(
            f"expected {len(expected)} tensors, got none named {_listed(missing)}{instead}{tied}"
        )
    if surplus:
        raise CheckpointError(f"expected no tensor named {_listed(surplus)}, got one")
    for name, shape in expected.items():
        if name in given and stored[name].shape != shape:
            raise CheckpointError(
                f"{name!r}: expected shape {shape} from the config, got {stored[name].shape}"
            )
    if (
        config.tie_word_embeddings
        and {EMBED_TOKENS, LM_HEAD} <= given
        and not np.array_equal(stored[EMBED_TOKENS], stored[LM_HEAD])
    ):
        raise CheckpointError(
            f"expected {EMBED_TOKENS!r} and {LM_HEAD!r} to be equal, since the config ties them, "
            "got two different tables"
        )


def _is_bias_of_zeros(
    name: str, expected: Mapping[str, tuple[int, ...]], stored: Mapping[str, np.ndarray]
) -> bool:
    weight = expected.get(f"{name.removesuffix('.bias')}.weight", ())
    is_one = name.endswith(".bias") and len(weight) == 2 and stored[name].shape == weight[:1]
    return is_one and is_float(stored[name].dtype) and not stored[name].any()


def _listed(names: set[str]) -> str:
    first, *rest = sorted(names)
    return short(first) + (f" (and {len(rest)} more)" if rest else "")
