"""Where the time of a compiled decode step goes, next to reading the same bytes and doing nothing.

    python benchmarks/step_profile.py smollm2-135m-instruct --precision bf16

Four things in turn, many times: read every weight, in the order of a step; multiply by every
weight, without waiting; the same with the threads meeting after each product; a whole step. What
one adds to the one before is the price of arithmetic, of meeting, and of everything that is no
product. If reading alone takes most of a step, no kernel can be much faster. Needs Numba.
"""
# mypy: disable-error-code="no-untyped-def, no-untyped-call, untyped-decorator"

import argparse
import statistics
import time
from collections.abc import Callable

import numpy as np

from llama_edu import Llama
from llama_edu.kernels.plan import Plan
from llama_edu.kernels.rows import AHEAD, COLUMNS, DATA, LINE, ROWS, product, share
from llama_edu.kernels.team import Team, meet
from llama_edu.kernels.vectors import F32, add, compiled, fetch, itemsize, load, store1, total, zero

PAST = 100
STEPS = 6  # of one kind in a row


@compiled
def read(form, layers, y, counter, rank, ranks):
    """Every weight once, each thread its rows, in two streams; nothing is widened."""
    a, b = zero(), zero()
    for i in range(len(layers)):
        for j in range(7):
            if i < len(layers) - 1 or j == 0:
                start, end = share(layers[i, j, ROWS], rank, ranks)
                row = layers[i, j, COLUMNS] * itemsize(form)
                half = (end - start) // 2 * row // LINE * LINE
                p = layers[i, j, DATA] + start * row
                for at in range(0, half, LINE):
                    fetch(p + AHEAD + at)
                    fetch(p + half + AHEAD + at)
                    a, b = add(a, load(F32, p + at)), add(b, load(F32, p + half + at))
    store1(F32, y + 64 * rank, total(add(a, b)))
    meet(counter, ranks)


@compiled
def multiply(form, layers, meeting, x, y, counter, rank, ranks):
    """Every product of a step, on whatever vector; with a meeting after each, if wanted."""
    for i in range(len(layers)):
        for j in range(7):
            if i < len(layers) - 1 or j == 0:
                product(form, layers[i, j], x, y, False, rank, ranks)
                if meeting and j >= 2:  # q, k and v need only one
                    meet(counter, ranks)
    meet(counter, ranks)


def parts(model: Llama, threads: int) -> dict[str, Callable[[], object]]:
    """What is timed, by name."""
    plan, team = Plan(model.weights), Team(threads)
    config = model.config
    x = np.ones(config.intermediate_size + config.hidden_size, dtype=np.float32)
    y = np.zeros(config.vocab_size, dtype=np.float32)
    cache = model.new_cache(PAST + 1)
    model.forward([1] * PAST, cache, last_only=True)

    def step() -> None:
        model.forward([2], cache)
        cache.truncate(PAST)

    def products(meeting: bool) -> None:
        addresses = x.ctypes.data, y.ctypes.data
        team.run(multiply, plan.form, plan.layers, meeting, *addresses)

    return {
        "read": lambda: team.run(read, plan.form, plan.layers, y.ctypes.data),
        "multiply": lambda: products(False),
        "multiply, meet": lambda: products(True),
        "whole step": step,
    }


def main() -> None:
    """Time the four in turn and print medians, and ratios to reading within the same round."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", nargs="?", default="smollm2-135m-instruct")
    parser.add_argument("--precision", default="bf16")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=40)
    args = parser.parse_args()
    model = Llama.from_pretrained(args.model, args.precision, "numba")
    works = parts(model, args.threads)
    for work in works.values():
        work()
    ms: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(args.rounds):
        for name, work in works.items():
            found = []
            for _ in range(STEPS):
                start = time.perf_counter()
                work()
                found.append(1e3 * (time.perf_counter() - start))
            ms[name].append(statistics.median(found))
    print(f"{args.model}, {args.precision}, {args.threads} threads, a past of {PAST}")
    for name, values in ms.items():
        ratios = [one / reading for one, reading in zip(values, ms["read"], strict=True)]
        rate = model.weights.nbytes / statistics.median(values) / 1e6
        print(
            f"{name:16} {statistics.median(values):6.2f} ms {rate:6.1f} GB/s   "
            f"{statistics.median(ratios):.2f} × reading"
        )


if __name__ == "__main__":
    main()
