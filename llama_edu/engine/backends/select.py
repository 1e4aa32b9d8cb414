"""Which functions compute: the choice of a backend and a precision, made once per model."""

from dataclasses import replace

from llama_edu.engine.backends.mixed import MIXED
from llama_edu.engine.backends.numpy_attention import fused_attention
from llama_edu.engine.backends.numpy_decode import SmallModelDecode
from llama_edu.engine.backends.pure16 import PURE
from llama_edu.engine.operators import NUMPY, Operators
from llama_edu.errors import InputError
from llama_edu.formats.precision import Precision

__all__ = ["BACKENDS", "operators_of"]

BACKENDS = ("numpy", "numba")


def operators_of(backend: str, precision: Precision) -> Operators:
    """The operators of a backend for a precision.

    Raises `InputError` for an unknown backend, and for a pure precision on "numba": those show
    what rounding everywhere costs, so NumPy is enough. Raises `ImportError` without Numba.
    """
    if backend not in BACKENDS:
        raise InputError(f"expected a backend of {', '.join(BACKENDS)}, got {backend!r}")
    if backend == "numba":
        if precision.is_pure:
            raise InputError(
                f"expected backend 'numpy' for precision {precision.name!r}, got numba"
            )
        from llama_edu.engine.backends import numba as kernels  # Numba takes a while to import

        return kernels.operators()
    if precision.is_pure:
        return PURE
    if (precision.storage, precision.cache) == ("F32", "F32"):
        return replace(NUMPY, decode_step=SmallModelDecode(), fused_attention=fused_attention)
    return MIXED
