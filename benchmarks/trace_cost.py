"""What the trace costs a forward pass: when nobody watches, and when somebody does.

    python benchmarks/trace_cost.py story

Off, each name costs one call of an empty function; those calls are timed alone and set against a
whole decode step. On, every array is copied; both kinds of step are timed in turn.
"""

import argparse
import statistics
import time
import timeit
from collections.abc import Callable

import numpy as np

from llama_edu import Llama, Trace
from llama_edu.engine.trace import IGNORE


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", nargs="?", default="story")
    parser.add_argument("--rounds", type=int, default=200)
    args = parser.parse_args()
    model = Llama.from_pretrained(args.model)
    cache = model.new_cache()
    model.forward(list(range(1, 33)), cache)

    def step(trace: Trace | None) -> None:
        model.forward([1], cache, trace=trace)
        cache.truncate(32)

    def seconds(call: Callable[[], None]) -> float:
        start = time.perf_counter()
        call()
        return time.perf_counter() - start

    off, on = [], []
    for _ in range(args.rounds):
        off.append(seconds(lambda: step(None)))
        on.append(seconds(lambda: step(Trace())))
    with Trace() as trace:
        step(trace)
    array = np.zeros(1, dtype=np.float32)
    ignored = min(timeit.repeat(lambda: IGNORE("name", array, "axes"), number=10_000)) / 10_000
    step_s = statistics.median(off)
    print(f"{args.model}: {len(trace)} names, decode step {step_s * 1e3:.3g} ms")
    print(f"trace off: {len(trace) * ignored / step_s:.2%} of the step")
    print(f"trace on:  {statistics.median(on) / step_s:.2f} times the step")


if __name__ == "__main__":
    main()
