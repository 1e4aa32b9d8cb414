"""The compiled backend: the same operators, in kernels that read 16- and 8-bit weights in place.

Needs Numba (`pip install llama_edu[fast]`). The kernels are compiled at their first use on a
machine and kept on disk; a line on stderr says so when that takes a while. While a kernel runs,
Python does not: other threads do. Results differ from NumPy's in the order of sums, nothing else.

`operators` is all a model needs. The modules, bottom up: `simd` (one instruction at a time),
`threads` (threads that meet at barriers), `gemv` (matrix times vector), `primitives` (the small
operators), `decode` (a whole step), `prefill` (what surrounds the products of many rows, which are
BLAS's), `layout` (addresses), `engine` (the functions a model calls).

A step that brings one new token of each of some sequences is one kernel, for one sequence as for
many; so is a step of at most 16 rows, whichever sequences they continue, as a short prompt or
guesses make it. A longer one, with a piece of a prompt in it, goes operator by operator, with the
new tokens of other sequences among its rows: so it reads every weight once as well.
"""

import importlib

from llama_edu.engine.operators import Operators

__all__ = ["operators"]


def operators(threads: int | None = None) -> Operators:
    """Operators that run on `threads` threads, by default `OMP_NUM_THREADS` or all processors.

    Raises `ImportError` if Numba is not installed.
    """
    try:
        importlib.import_module("numba")
    except ImportError as problem:
        raise ImportError('backend="numba" needs Numba: pip install "llama_edu[fast]"') from problem
    from llama_edu.engine.backends.numba.engine import Engine

    return Engine(threads).operators()
