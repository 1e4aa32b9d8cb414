"""Number formats: how a weight is stored, and how it becomes the float32 we compute with.

The names are those of the safetensors specification. NumPy has no bfloat16 and no 8-bit floats of
its own; `ml_dtypes` adds them as ordinary dtypes.

A `Precision` names four choices that are often confused: what the weights are stored as, what
operators hand to each other, what a sum is accumulated in, and what the KV cache keeps. This
module names and converts; the arithmetic of each choice is elsewhere.
"""

from dataclasses import dataclass, replace

import ml_dtypes
import numpy as np
from jaxtyping import Float, Float32

from llama_edu.errors import InputError, NumericsError

__all__ = [
    "DTYPES",
    "PRECISIONS",
    "Precision",
    "cast",
    "dtype_name",
    "is_float",
    "precision_named",
    "to_float32",
]

DTYPES: dict[str, np.dtype] = {
    "F64": np.dtype("<f8"),
    "F32": np.dtype("<f4"),
    "F16": np.dtype("<f2"),
    "BF16": np.dtype(ml_dtypes.bfloat16),
    "F8_E5M2": np.dtype(ml_dtypes.float8_e5m2),
    "F8_E5M2FNUZ": np.dtype(ml_dtypes.float8_e5m2fnuz),
    "F8_E4M3": np.dtype(ml_dtypes.float8_e4m3fn),
    "F8_E4M3FNUZ": np.dtype(ml_dtypes.float8_e4m3fnuz),
    "F8_E8M0": np.dtype(ml_dtypes.float8_e8m0fnu),
    "I64": np.dtype("<i8"),
    "I32": np.dtype("<i4"),
    "I16": np.dtype("<i2"),
    "I8": np.dtype("i1"),
    "U64": np.dtype("<u8"),
    "U32": np.dtype("<u4"),
    "U16": np.dtype("<u2"),
    "U8": np.dtype("u1"),
    "BOOL": np.dtype("?"),
    "C64": np.dtype("<c8"),
}
"""Every whole-byte dtype of the safetensors format, by the name the format gives it."""


def dtype_name(dtype: np.dtype) -> str:
    """The safetensors name of a NumPy dtype; `InputError` if the format has none."""
    for name, known in DTYPES.items():
        if known == dtype.newbyteorder("<"):
            return name
    raise InputError(f"expected a dtype safetensors can store ({', '.join(DTYPES)}), got {dtype}")


def is_float(dtype: np.dtype) -> bool:
    """True for the formats weights come in."""
    # Not `np.issubdtype`, which says False for bfloat16.
    return dtype_name(dtype).startswith(("F", "BF"))


def to_float32(stored: np.ndarray) -> Float32[np.ndarray, "..."]:
    """Widen (or, from F64, round) a stored array to float32.

    A float32 array comes back as it is, not copied, unless its numbers straddle machine words, as
    a file may lay them out: every product would copy them again. Every other format gives a new
    array; from 16 and 8 bits the conversion is exact, since float32 holds each of their values.
    Raises `InputError` for integers and booleans: those need a scale, which only a caller knows.
    """
    if stored.dtype == np.float32 and stored.flags.aligned:  # the usual case, once per token
        return stored
    if not is_float(stored.dtype):
        raise InputError(f"expected floating-point weights, got {dtype_name(stored.dtype)}")
    return np.require(stored, np.float32, ["ALIGNED"])


@dataclass(frozen=True)
class Precision:
    """Four number formats, named as safetensors names them, under one name.

    Four-bit storage has GGML's names, Q4_0 and Q4_1.

    storage      what a weight matrix is kept as; read from memory once per token
    compute      what one operator hands to the next
    accumulate   what sums over many products are held in, inside an operator: see below
    cache        what keys and values are kept as
    block        weights that share one scale, where storage needs scales: 0 means a whole row

    The gains of RMSNorm and the biases, a thousandth of the weights, stay in float32 unless
    compute is narrower.

    `accumulate` says what is; no operator asks it. Every precision here sums in float32, the pure
    ones too, as the 16-bit kernels behind `transformers` do: they round results, not the sums on
    the way. Code that is generic over a number type, and adds up in that type, is narrower than
    any of them; a running sum of ones in bfloat16 ends at 256.
    """

    name: str
    storage: str
    compute: str = "F32"
    accumulate: str = "F32"
    cache: str = "F32"
    block: int = 0

    @property
    def is_pure(self) -> bool:
        """True if every operator rounds its result to 16 bits."""
        return self.compute != "F32"

    @property
    def is_quantized(self) -> bool:
        """True if stored weights mean nothing without a scale."""
        return self.storage in ("I8", "F8_E4M3", "Q4_0", "Q4_1")

    @property
    def head_storage(self) -> str:
        """What embedding table and output head are kept as: in 8 bits where the rest has 4."""
        return "I8" if self.storage.startswith("Q4") else self.storage


PRECISIONS: dict[str, Precision] = {
    precision.name: precision
    for precision in (
        Precision("f32", storage="F32"),
        Precision("bf16", storage="BF16", cache="BF16"),
        Precision("f16", storage="F16", cache="F16"),
        Precision("bf16-pure", storage="BF16", compute="BF16", cache="BF16"),
        Precision("f16-pure", storage="F16", compute="F16", cache="F16"),
        Precision("int8", storage="I8", cache="F16", block=32),
        Precision("int8-row", storage="I8", cache="F16"),
        Precision("f8", storage="F8_E4M3", cache="F16"),
        Precision("q4", storage="Q4_1", cache="F16", block=32),
        Precision("q4_0", storage="Q4_0", cache="F16", block=32),
    )
}
"""The precisions a model can be loaded in, by name."""

LARGEST = {
    "F32": "3.40e38, the end of float32",
    "BF16": "3.39e38, the end of bfloat16",
    "F16": "65504, the end of float16",
}
CACHE_FORMATS = {"f32": "F32", "bf16": "BF16", "f16": "F16"}


def precision_named(name: str, cache_dtype: str | None = None) -> Precision:
    """The precision of that name, with its cache kept as `cache_dtype` ("f32", "bf16" or "f16").

    Raises `InputError` for an unknown name, and for a cache that a pure precision's operators,
    which take one format only, could not read.
    """
    if name not in PRECISIONS:
        raise InputError(f"expected a precision of {', '.join(PRECISIONS)}, got {name!r}")
    precision = PRECISIONS[name]
    if cache_dtype is None:
        return precision
    if cache_dtype not in CACHE_FORMATS:
        raise InputError(f"expected a cache of {', '.join(CACHE_FORMATS)}, got {cache_dtype!r}")
    cache = CACHE_FORMATS[cache_dtype]
    if precision.is_pure and cache != precision.compute:
        raise InputError(
            f"expected a {precision.compute} cache for precision {name!r}, got {cache_dtype!r}"
        )
    return replace(precision, cache=cache)


def cast(array: Float[np.ndarray, "*shape"], name: str) -> Float[np.ndarray, "*shape"]:
    """The array in the format called `name`, each number to the nearest one the format has.

    An array of that format already comes back as it is, not copied, unless its numbers straddle
    machine words, as a file may lay them out: every product would copy them again. Raises
    `NumericsError` if a finite number is too large for the format: float16 ends at 65504,
    bfloat16 just before float32 does.
    """
    dtype = DTYPES[name]
    if array.dtype == dtype:
        return array if array.flags.aligned else np.require(array, requirements=["ALIGNED"])
    with np.errstate(over="ignore"):
        narrow = array.astype(dtype)
    # Float32 holds what anything narrower can, so loading a 16-bit checkpoint skips the search.
    may_overflow = name != "F32" or array.itemsize > narrow.itemsize
    if may_overflow and np.any(np.isinf(narrow) & np.isfinite(array)):
        largest = float(np.max(np.abs(array[np.isfinite(array)])))
        raise NumericsError(f"expected numbers up to {LARGEST[name]}, got {largest:g}")
    return narrow
