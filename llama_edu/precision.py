"""Number formats: how a weight is stored, and how it becomes the float32 we compute with.

The names are those of the safetensors specification. NumPy has no bfloat16 and no 8-bit floats of
its own; `ml_dtypes` adds them as ordinary dtypes. This module does not choose precisions for the
model; it says what they are.
"""

import ml_dtypes
import numpy as np
from jaxtyping import Float32

from llama_edu.errors import InputError

__all__ = ["DTYPES", "dtype_name", "is_float", "to_float32"]

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
    if not is_float(stored.dtype):
        raise InputError(f"expected floating-point weights, got {dtype_name(stored.dtype)}")
    return np.require(stored, np.float32, ["ALIGNED"])
