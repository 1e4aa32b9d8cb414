"""Where the time of a compiled decode step goes, next to reading the same bytes and doing nothing.

    python benchmarks/step_profile.py smollm2-135m-instruct --precisions f32 bf16 --pasts 100 2000

Five things in turn, many times: read every weight, in the order of a step; multiply by every
weight, without waiting; the same with the threads meeting after each product; a whole step; and
read every weight and every key and value of the past. What one adds to the one before is the
price of arithmetic, of meeting, and of everything that is no product. If reading alone takes most
of a step, no kernel can be much faster. Needs Numba.
"""
# mypy: disable-error-code="no-untyped-def, no-untyped-call, untyped-decorator"

import argparse
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from llama_edu import Llama
from llama_edu.engine.backends.numba.gemv import (
    AHEAD,
    COLUMNS,
    DATA,
    LINE,
    ROWS,
    partition,
    product,
)
from llama_edu.engine.backends.numba.layout import Plan
from llama_edu.engine.backends.numba.simd import (
    F32,
    add,
    compiled,
    itemsize,
    load,
    prefetch,
    reduce_sum,
    store1,
    zero,
)
from llama_edu.engine.backends.numba.threads import Team, barrier

STEPS = 6  # of one kind in a row


@compiled
def skim(p, nbytes):
    """That many bytes from two streams half of them apart; nothing is widened."""
    a, b = zero(), zero()
    half = nbytes // 2 // LINE * LINE
    for at in range(0, half, LINE):
        prefetch(p + AHEAD + at)
        prefetch(p + half + AHEAD + at)
        a, b = add(a, load(F32, p + at)), add(b, load(F32, p + half + at))
    return add(a, b)


@compiled
def read(weight_format, layers, past, cached, y, counter, rank, ranks):
    """Every weight once, each thread its rows, and `past` bytes at each address in `cached`."""
    sums = zero()
    for i in range(len(layers)):
        for j in range(7):
            if i < len(layers) - 1 or j == 0:
                start, end = partition(layers[i, j, ROWS], rank, ranks)
                row = layers[i, j, COLUMNS] * itemsize(weight_format)
                sums = add(sums, skim(layers[i, j, DATA] + start * row, (end - start) * row))
        if past > 0 and i < len(layers) - 1:
            start, end = partition(past // LINE, rank, ranks)
            for head in range(cached.shape[1]):
                sums = add(sums, skim(cached[i, head] + start * LINE, (end - start) * LINE))
    store1(F32, y + 64 * rank, reduce_sum(sums))
    barrier(counter, ranks)


@compiled
def multiply(weight_format, layers, meeting, x, y, counter, rank, ranks):
    """Every product of a step, on whatever vector; with a meeting after each, if wanted."""
    for i in range(len(layers)):
        for j in range(7):
            if i < len(layers) - 1 or j == 0:
                product(weight_format, layers[i, j], x, y, False, rank, ranks)
                if meeting and j >= 2:  # q, k and v need only one
                    barrier(counter, ranks)
    barrier(counter, ranks)


def parts(model: Llama, threads: int, past: int) -> dict[str, Callable[[], object]]:
    """What is timed, by name."""
    plan, team = Plan(model.weights), Team(threads)
    config = model.config
    x = np.ones(config.intermediate_size + config.hidden_size, dtype=np.float32)
    y = np.zeros(plan.layers[:, :, ROWS].max() + 64, dtype=np.float32)  # as many as any product
    cache = model.new_cache(past + 1)
    model.forward(np.arange(past) % config.vocab_size, cache, last_only=True)
    keys, values = cache.reserve(1)
    cached = np.array(
        [
            [head.ctypes.data for part in (keys, values) for head in part[layer]]
            for layer in range(config.num_hidden_layers)
        ],
        dtype=np.int64,
    )
    nbytes = past * config.head_dim * keys.itemsize

    def reading(nbytes: int) -> None:
        team.run(read, plan.weight_format, plan.layers, nbytes, cached, y.ctypes.data)

    def products(meeting: bool) -> None:
        addresses = x.ctypes.data, y.ctypes.data
        team.run(multiply, plan.weight_format, plan.layers, meeting, *addresses)

    def step() -> None:
        model.forward([2], cache)
        cache.truncate(past)

    return {
        "read": lambda: reading(0),
        "multiply": lambda: products(False),
        "meet": lambda: products(True),
        "step": step,
        "read_all": lambda: reading(nbytes),
    }


WORDS = {
    "read": "read all weights",
    "multiply": "multiply",
    "meet": "multiply, meet",
    "step": "whole step",
    "read_all": "read weights, cache",
}


def profile(model: Llama, args: argparse.Namespace, past: int) -> dict[str, Any]:
    """The five in turn: medians in ms, and medians of the ratios to reading in the same round."""
    works = parts(model, args.threads, past)
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
    row: dict[str, Any] = {"precision": model.precision.name, "past": past}
    for name, values in ms.items():
        ratios = sorted(one / read for one, read in zip(values, ms["read"], strict=True))
        row[f"{name}_ms"] = statistics.median(values)
        row[f"{name}_ratio"] = statistics.median(ratios)
        row[f"{name}_spread"] = [ratios[len(ratios) // 10], ratios[-1 - len(ratios) // 10]]
    return row


def print_profile(row: dict[str, Any], threads: int, nbytes: int) -> None:
    """One precision at one past, a line for each of the five."""
    print(f"{row['precision']}, {threads} threads, a past of {row['past']}")
    for name, words in WORDS.items():
        low, high = row[f"{name}_spread"]
        rate = nbytes / row[f"{name}_ms"] / 1e6
        print(
            f"  {words:20} {row[f'{name}_ms']:6.2f} ms {rate:6.1f} GB/s of weights   "
            f"{row[f'{name}_ratio']:.2f} [{low:.2f}–{high:.2f}] × reading"
        )


def main() -> None:
    """Profile every precision at every past, and print medians with the middle 80 % of rounds."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", nargs="?", default="smollm2-135m-instruct")
    parser.add_argument("--precisions", nargs="+", default=["f32", "bf16"])
    parser.add_argument("--pasts", nargs="+", type=int, default=[100, 2000])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    rows = []
    for precision in args.precisions:
        model = Llama.from_pretrained(args.model, precision, "numba")
        for past in args.pasts:
            rows.append(profile(model, args, past))
            print_profile(rows[-1], args.threads, model.weights.nbytes)
    if args.json:
        record = {"model": args.model, "threads": args.threads, "rows": rows}
        args.json.write_text(json.dumps(record, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
