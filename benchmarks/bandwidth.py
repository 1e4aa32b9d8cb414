"""How fast can memory be read? The wall that decoding runs into.

    python benchmarks/bandwidth.py

Reads half a gigabyte in order with the kernels' own loads, on all threads at once, several times.
Needs Numba. Prints the best pass, in bytes per second: what disturbs a pass only slows it down.
"""
# mypy: disable-error-code="no-untyped-def, no-untyped-call, untyped-decorator"

import time

import numpy as np

from llama_edu.engine.backends.numba.gemv import AHEAD, LINE, partition
from llama_edu.engine.backends.numba.simd import (
    F32,
    add,
    compiled,
    load,
    prefetch,
    reduce_sum,
    store1,
    zero,
)
from llama_edu.engine.backends.numba.threads import Team, barrier

NBYTES = 512 * 1024 * 1024


@compiled
def read(start, lines, out, counter, rank, ranks):
    """Add up every float32 of this thread's share, in two streams."""
    first, end = partition(lines, rank, ranks)
    half = (end - first) // 2
    p, q = start + 256 * first, start + 256 * (first + half)
    a, b, c, d = zero(), zero(), zero(), zero()
    for _ in range(half):
        for line in range(0, 256, LINE):
            prefetch(p + AHEAD + line)
            prefetch(q + AHEAD + line)
        a, b = add(a, load(F32, p)), add(b, load(F32, p + 64))
        a, b = add(a, load(F32, p + 128)), add(b, load(F32, p + 192))
        c, d = add(c, load(F32, q)), add(d, load(F32, q + 64))
        c, d = add(c, load(F32, q + 128)), add(d, load(F32, q + 192))
        p, q = p + 256, q + 256
    store1(F32, out + 64 * rank, reduce_sum(add(add(a, b), add(c, d))))
    barrier(counter, ranks)


def read_bandwidth(threads: int, passes: int = 8) -> float:
    """Bytes per second of the best pass."""
    memory = np.ones(NBYTES // 4, dtype=np.float32)
    out = np.zeros(16 * threads, dtype=np.float32)
    team = Team(threads)
    seconds = []
    for _ in range(passes):
        start = time.perf_counter()
        team.run(read, memory.ctypes.data, NBYTES // 256, out.ctypes.data)
        seconds.append(time.perf_counter() - start)
    return NBYTES / min(seconds)


if __name__ == "__main__":
    print(f"{read_bandwidth(2) / 1e9:.1f} GB/s with 2 threads")
