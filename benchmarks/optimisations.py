"""What single ideas give: the engine with one of them, and without, in turn.

    python benchmarks/optimisations.py --json benchmarks/results/optimisations.json

Each row switches one thing off in a running model and decodes both ways, a few steps each, round
after round; shown are the median of the rounds' ratios, and the range. Asking a page ahead is part
of a kernel, so each way has a process of its own there. What can no longer be switched off, since
the code it replaced is gone, keeps the ratio that was measured side by side when it was made
(`EARLIER`). Needs Numba.
"""

import argparse
import copy
import dataclasses
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
from table import machine

from llama_edu import Llama
from llama_edu.engine.weights import Arena
from llama_edu.ops.linear import linear

LARGE, SMALL = "smollm2-135m-instruct", "story"
PAST = 100
STEPS = {LARGE: 8, SMALL: 200}  # of one kind in a row
TEXTS = 8

EARLIER = [
    {
        "what": "a group's keys and values widened once, four scores at a time",
        "against": "each query by itself",
        "where": "bf16, Numba, a past of 2,000",
        "ratio": 1.11,
        "how": "side by side when it was made, commit 37fb9cd",
    },
]

Work = Callable[[], object]


def decode(model: Llama) -> Work:
    """One step at a past of `PAST`, again and again."""
    cache = model.new_cache(PAST + 1)
    model.forward([1] * PAST, cache, last_only=True)

    def step() -> None:
        model.forward([2], cache)
        cache.truncate(PAST)

    return step


def without(model: Llama, **changes: Any) -> Llama:
    """The same weights, other operators."""
    other = copy.copy(model)
    other.operators = dataclasses.replace(model.operators, **changes)
    return other


def by_rows_of(model: Llama, product: Callable[[np.ndarray, np.ndarray], np.ndarray]) -> Work:
    """The same step, with this product of matrix and vector for every matrix."""

    def by_it(x: np.ndarray, weight: np.ndarray, bias: np.ndarray | None = None) -> np.ndarray:
        if len(x) > 1:
            return linear(x, weight, bias)
        y = product(weight, x[0])[None]
        return y if bias is None else y + bias

    return decode(without(model, linear=by_it, decode_step=None))


def scattered(precision: str) -> Llama:
    """A model whose converted weights lie each by itself."""
    with mock.patch.object(Arena, "place", lambda self, array: array.copy()):
        return Llama.from_pretrained(LARGE, precision, "numba")


def several(model: Llama, together: bool) -> Work:
    """A step of `TEXTS` texts, in one or one after another."""
    caches = [model.new_cache(PAST + 1) for _ in range(TEXTS)]
    for cache in caches:
        model.forward([1] * PAST, cache, last_only=True)

    def work() -> None:
        if together:
            model.forward_batch([2] * TEXTS, caches)
        else:
            for cache in caches:
                model.forward([2], cache)
        for cache in caches:
            cache.truncate(PAST)

    return work


def ways() -> list[tuple[str, str, str, int, Work, Work]]:
    """What, against what, where, steps in a row, and the step with it and without."""
    plain, story = Llama.from_pretrained(LARGE), Llama.from_pretrained(SMALL)
    f32 = Llama.from_pretrained(LARGE, "f32", "numba")
    bf16 = Llama.from_pretrained(LARGE, "bf16", "numba")
    here, there = STEPS[LARGE], STEPS[SMALL]
    return [
        (
            *("a step for one token: vectors, and no general case", "the general forward pass"),
            *(f"{SMALL} f32, NumPy", there, *both(story)),
        ),
        (
            *("np.dot", "np.vecdot", f"{LARGE} f32, NumPy", here),
            *(by_rows_of(plain, np.dot), by_rows_of(plain, np.vecdot)),
        ),
        (
            *("one compiled call for a token", "a compiled call for each operator"),
            *(f"{LARGE} bf16, Numba", here, decode(bf16), decode(without(bf16, decode_step=None))),
        ),
        (
            *("one compiled call for a token", "a compiled call for each operator"),
            *(f"{SMALL} f32, Numba", there, *both(Llama.from_pretrained(SMALL, "f32", "numba"))),
        ),
        (
            *("16 bits widened in registers", "the same kernels on 32 bits"),
            *(LARGE + ", Numba", here, decode(bf16), decode(f32)),
        ),
        (
            *("converted weights in large pages", "every matrix by itself"),
            *(f"{LARGE} f32, Numba", here, decode(f32), decode(scattered("f32"))),
        ),
        (
            *(f"a step of {TEXTS} texts", f"{TEXTS} steps of one text"),
            *(f"{LARGE} f32, Numba", 2, several(f32, True), several(f32, False)),
        ),
    ]


def both(model: Llama) -> tuple[Work, Work]:
    """A step in one call, and in one call an operator."""
    return decode(model), decode(without(model, decode_step=None))


def seconds(work: Work, steps: int) -> float:
    """The median of some steps in a row."""
    found = []
    for _ in range(steps):
        start = time.perf_counter()
        work()
        found.append(time.perf_counter() - start)
    return statistics.median(found)


def row(what: str, against: str, where: str, ratios: list[float]) -> dict[str, Any]:
    """As it is kept."""
    return {
        "what": what,
        "against": against,
        "where": where,
        "ratio": statistics.median(ratios),
        "low": min(ratios),
        "high": max(ratios),
        "how": "benchmarks/optimisations.py",
    }


def ahead(rounds: int) -> list[float]:
    """The ratios of a kernel that asks a page ahead to one that asks when it reads."""
    with tempfile.TemporaryDirectory() as folder:
        pairs = []
        for _ in range(rounds + 1):  # the first compiles
            pair = []
            for distance in ("0", "4096"):
                env = os.environ | {"NUMBA_CACHE_DIR": str(Path(folder) / distance)}
                command = [sys.executable, __file__, "--ahead", distance]
                done = subprocess.run(command, env=env, stdout=subprocess.PIPE, check=True)
                pair.append(float(done.stdout.split()[-1]))
            pairs.append(pair[0] / pair[1])
    return pairs[1:]


def time_ahead(distance: int) -> None:
    """Print the seconds of a step with kernels that ask so many bytes ahead."""
    from llama_edu.engine.backends.numba import gemv as rows

    rows.AHEAD = distance  # before anything is compiled, and into a cache of its own
    step = decode(Llama.from_pretrained(LARGE, "bf16", "numba"))
    step()
    print(seconds(step, 40))


def main() -> None:
    """Measure every row and print it."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--ahead", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    if args.ahead is not None:
        time_ahead(args.ahead)
        return
    rows = []
    for what, against, where, steps, new, old in ways():
        seconds(new, 2), seconds(old, 2)
        ratios = [seconds(old, steps) / seconds(new, steps) for _ in range(args.rounds)]
        rows.append(row(what, against, where, ratios))
    ratios = ahead(max(1, args.rounds // 3))
    rows.append(
        row("weights asked for a page ahead", "asked for as they are read", "bf16, Numba", ratios)
    )
    rows += EARLIER
    for one in rows:
        spread = f" [{one['low']:.2f}–{one['high']:.2f}]" if "low" in one else ""
        print(f"× {one['ratio']:.2f}{spread}  {one['what']} / {one['against']}: {one['where']}")
    if args.json:
        versions = {"numpy": np.__version__}
        record = machine(os.cpu_count() or 1, {"rows": [{"ours": {"versions": versions}}]})
        args.json.write_text(json.dumps(record | {"rows": rows}, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
