"""A model as the kernels see it: addresses and sizes instead of arrays.

Made once per model. Holds on to every array whose address it gives away, and copies none that
lies in memory row after row: weights mapped from a file are read where the system put them.
"""
# mypy: disable-error-code="no-untyped-def, no-untyped-call"

import numpy as np

from llama_edu.engine.backends.numba import decode, simd
from llama_edu.engine.backends.numba.gemv import small_batch_nbytes
from llama_edu.engine.weights import LayerWeights, Projection, Weights
from llama_edu.formats.config import LlamaConfig
from llama_edu.formats.four_bits import FourBits
from llama_edu.formats.quantize import Quantized, Stored

__all__ = ["Plan", "Workspace", "describe", "format_of"]

LINE = 64  # bytes the processor moves at a time; no two threads should write into one
FORMATS = {
    "float32": simd.F32,
    "bfloat16": simd.BF16,
    "float16": simd.F16,
    "float8_e4m3fn": simd.F8,
    "int8": simd.ROWS,
}


def format_of(weight: np.ndarray | Stored) -> simd.Format:
    """The format a matrix, or a cache, is stored in."""
    if isinstance(weight, FourBits):
        return simd.Q4_0 if weight.storage == "Q4_0" else simd.Q4_1
    if isinstance(weight, Quantized):
        in_blocks = weight.scales.dtype == np.float16
        return simd.BLOCKS if in_blocks else FORMATS[weight.codes.dtype.name]
    return FORMATS[weight.dtype.name]


def describe(
    weight: np.ndarray | Stored, bias: np.ndarray | None, keep: list[np.ndarray]
) -> tuple[int, ...]:
    """A matrix in five numbers (see `gemv`); the arrays behind it go to `keep`."""

    def address(array: np.ndarray | None) -> int:
        if array is None:
            return 0
        keep.append(np.require(array, requirements=["C", "A"]))
        return int(keep[-1].ctypes.data)

    if isinstance(weight, FourBits):
        return address(weight.blocks), 0, address(bias), *weight.shape
    if not isinstance(weight, Quantized):
        return address(weight), 0, address(bias), *weight.shape
    scales = weight.scales
    if weight.codes.dtype.name == "float8_e4m3fn":
        scales = scales * np.float32(256)  # `load` leaves float8 that much too small
    return address(weight.codes), address(scales), address(bias), *weight.shape


class Plan:
    """Where one model's weights are."""

    def __init__(self, weights: Weights) -> None:
        self.weights = weights
        self.head_format = format_of(weights.lm_head)
        formats = {
            format_of(part.weight) for layer in weights.layers for part in _projections(layer)
        }
        self.weight_format = min(formats, key=lambda known: known.name)
        # A kernel knows one format for all matrices of the layers, and one for the head.
        self.is_uniform = len(formats) == 1
        self.keep: list[np.ndarray] = []
        rows = [self._layer(layer) for layer in weights.layers]
        head = describe(weights.lm_head, None, self.keep)
        self.layers = np.array([*rows, [head] * len(rows[0])], dtype=np.int64)
        gains = [
            gain
            for layer in weights.layers
            for gain in (layer.input_layernorm, layer.post_attention_layernorm)
        ]
        self.keep += [np.require(gain, requirements=["C", "A"]) for gain in (*gains, weights.norm)]
        addresses = [gain.ctypes.data for gain in self.keep[-len(gains) - 1 :]]
        self.norms = np.array(addresses, dtype=np.int64)

    def _layer(self, layer: LayerWeights) -> list[tuple[int, ...]]:
        return [describe(part.weight, part.bias, self.keep) for part in _projections(layer)]


def _projections(layer: LayerWeights) -> tuple[Projection, ...]:
    """The matrices of a layer in the order that `decode` knows them in."""
    return (
        *(layer.q_proj, layer.k_proj, layer.v_proj, layer.o_proj),
        *(layer.gate_proj, layer.up_proj, layer.down_proj),
    )


class Workspace:
    """Memory for what one decode step computes on the way, and the numbers that say where it is.

    Named matrices of float32, one row per sequence, each at the start of a line; some once per
    thread. It serves any step of as many sequences whose past and new tokens are `total_seq` at
    most.
    """

    def __init__(self, config: LlamaConfig, threads: int, count: int, total_seq: int) -> None:
        self._config, self._threads, self._count = config, threads, count
        self._total_seq = total_seq
        n_heads, n_kv_heads = config.num_attention_heads, config.num_key_value_heads
        head_dim, part = config.head_dim, _in_lines(config.head_dim + 2)
        widest = max(config.hidden_size, config.intermediate_size, n_heads * head_dim)
        shared = {
            "q": count * n_heads * head_dim,
            "k": count * n_kv_heads * head_dim,
            "v": count * n_kv_heads * head_dim,
            "gate": count * config.intermediate_size,
            "up": count * config.intermediate_size,
            "parts": threads * count * n_heads * part // 4,
        }
        private = {
            "normed": count * config.hidden_size,
            "merged": count * n_heads * head_dim,
            # Of the heads of one KV group.
            "rotated": n_heads // n_kv_heads * head_dim,
            "scores": n_heads // n_kv_heads * total_seq,
            "sums": small_batch_nbytes.py_func(widest, count) // 4,
            "another": n_heads // n_kv_heads * part // 4,
        }
        private_nbytes = sum(map(_in_lines, private.values()))
        nbytes = sum(map(_in_lines, shared.values())) + threads * private_nbytes
        self._memory = np.empty(nbytes + LINE, dtype=np.uint8)
        start = self._memory.ctypes.data
        start += -start % LINE
        known = {"part_stride": part, "private_stride": private_nbytes}
        known |= {"n_heads": n_heads, "n_kv_heads": n_kv_heads, "head_dim": head_dim}
        for name, size in (shared | private).items():
            known[name] = start
            start += _in_lines(size)
        self._numbers = np.array([known.get(name, 0) for name in decode.WORKSPACE], dtype=np.int64)

    def serves(self, config: LlamaConfig, threads: int, count: int, total_seq: int) -> bool:
        """Whether it is what such a step needs."""
        return (
            config is self._config
            and (threads, count) == (self._threads, self._count)
            and total_seq <= self._total_seq
        )

    def numbers(self, x: int, logits: int) -> np.ndarray:
        """What the kernel calls its workspace, with the two addresses that only a step knows."""
        self._numbers[[decode.X, decode.LOGITS]] = x, logits
        return self._numbers


def _in_lines(count: int) -> int:
    """Bytes of `count` float32, made up to whole lines."""
    return -(-4 * count // LINE) * LINE
