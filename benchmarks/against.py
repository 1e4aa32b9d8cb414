"""Two checkouts of this project side by side: is one slower than the other, and where.

    git worktree add ../before SOME_COMMIT
    python benchmarks/against.py ../before . --json against.json

In every round each checkout has a fresh process, and the two take turns, a few steps each, so that
whatever else the machine does meets both. A ratio is the median over turns of the time after to
the time before, with the range of the rounds' medians. Below 1 is faster now.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

# Each program defines `run`, which measures once. It runs in the checkout's own process.
DECODE = """
import statistics, time
from llama_edu import Llama
model = Llama.from_pretrained({model!r}, {precision!r}, {backend!r})
caches = [model.new_cache({past} + 1) for _ in range({sequences})]
for cache in caches:
    model.forward([1] * {past}, cache, last_only=True)
def step():
    start = time.perf_counter()
    if len(caches) == 1:
        model.forward([2], caches[0])
    else:
        model.forward_batch([2] * len(caches), caches)
    spent = time.perf_counter() - start
    for cache in caches:
        cache.truncate({past})
    return spent
def run():
    return statistics.median(step() for _ in range({steps}))
run()
"""
PREFILL = """
import time
from llama_edu import Llama
model = Llama.from_pretrained({model!r}, {precision!r}, {backend!r})
ids = [i % 1000 for i in range({past})]
def run():
    cache = model.new_cache({past})
    start = time.perf_counter()
    model.forward(ids, cache, last_only=True)
    return time.perf_counter() - start
run()
"""
FIRST = """
import time
def run():
    start = time.perf_counter()
    from llama_edu import Llama, generate
    model = Llama.from_pretrained({model!r}, {precision!r}, {backend!r})
    next(generate(model, [1] * {past}, max_new_tokens=1))
    return time.perf_counter() - start
"""
MEMORY = """
import resource
from llama_edu import Llama, generate
def run():
    model = Llama.from_pretrained({model!r}, {precision!r}, {backend!r})
    list(generate(model, [1] * {past}, max_new_tokens=4, stop_ids=()))
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
"""
SERVED = """
import sys
for line in sys.stdin:
    print(run(), flush=True)
"""
LARGE, SMALL = "smollm2-135m-instruct", "story"


def case(program: str, model: str, precision: str, backend: str, **sizes: int) -> tuple[str, int]:
    """The program of a case and its turns a round; a past of 100 and one sequence unless told."""
    turns = 1 if program in (FIRST, MEMORY) else TURNS
    known = {"past": 100, "sequences": 1} | sizes
    return program.format(model=model, precision=precision, backend=backend, **known), turns


TURNS = 7
CASES = {
    "decode f32, NumPy": case(DECODE, LARGE, "f32", "numpy", steps=5),
    "decode f32, Numba": case(DECODE, LARGE, "f32", "numba", steps=7),
    "decode bf16, Numba": case(DECODE, LARGE, "bf16", "numba", steps=11),
    # Long turns: BLAS's threads look out for work for a fifth of a second after the last product,
    # on the core that the other checkout may need for a thread of its own.
    "8 sequences f32, NumPy": case(DECODE, LARGE, "f32", "numpy", steps=15, sequences=8),
    "8 sequences story, NumPy": case(DECODE, SMALL, "f32", "numpy", steps=100, sequences=8),
    "8 sequences bf16, Numba": case(DECODE, LARGE, "bf16", "numba", steps=5, sequences=8),
    "prefill of 512 f32, NumPy": case(PREFILL, LARGE, "f32", "numpy", past=512),
    "prefill of 512 bf16, Numba": case(PREFILL, LARGE, "bf16", "numba", past=512),
    "first token f32, NumPy": case(FIRST, LARGE, "f32", "numpy", past=16),
    "first token bf16, Numba": case(FIRST, LARGE, "bf16", "numba", past=16),
    "decode story, NumPy": case(DECODE, SMALL, "f32", "numpy", steps=400),
    "decode story, Numba": case(DECODE, SMALL, "f32", "numba", steps=400),
    "peak memory f32, NumPy": case(MEMORY, LARGE, "f32", "numpy"),
    "peak memory bf16, Numba": case(MEMORY, LARGE, "bf16", "numba"),
}


class Side:
    """A process of one checkout, which measures when asked."""

    def __init__(self, checkout: Path, program: str) -> None:
        environment = {**os.environ, "PYTHONPATH": str(checkout.resolve())}
        self.process = subprocess.Popen(
            [sys.executable, "-c", program + SERVED],
            env=environment,
            cwd=checkout,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def measure(self) -> float:
        """One turn."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        return float(self.process.stdout.readline())

    def end(self) -> None:
        """No more turns."""
        self.process.communicate()


def compared(before: Path, after: Path, case: tuple[str, int], rounds: int) -> dict[str, Any]:
    """Both checkouts in turn; which of them begins changes from turn to turn."""
    program, turns = case
    values: dict[str, list[float]] = {"before": [], "after": []}
    medians = []
    for i in range(rounds):
        places = [("before", before), ("after", after)]
        sides = {name: Side(place, program) for name, place in places[:: 1 - 2 * (i % 2)]}
        try:
            for turn in range(turns):
                for name in sorted(sides, reverse=bool((turn + i) % 2)):
                    values[name].append(sides[name].measure())
        finally:
            for side in sides.values():
                side.end()
        medians.append(statistics.median(ratios(values)[-turns:]))
    return {
        "before": statistics.median(values["before"]),
        "after": statistics.median(values["after"]),
        "ratio": statistics.median(ratios(values)),
        "low": min(medians),
        "high": max(medians),
    }


def ratios(values: dict[str, list[float]]) -> list[float]:
    """After to before, turn by turn."""
    return [b / a for a, b in zip(values["before"], values["after"], strict=True)]


def main() -> None:
    """Compare all cases, or those named, and print a line for each."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("before", type=Path)
    parser.add_argument("after", type=Path)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--cases", nargs="+", metavar="PART", help="parts of the names of cases")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    rows = {}
    for name, known in CASES.items():
        if args.cases and not any(part in name for part in args.cases):
            continue
        row = rows[name] = compared(args.before, args.after, known, args.rounds)
        print(
            f"{name:27} {row['before']:10.4g} → {row['after']:10.4g}   "
            f"{row['ratio']:.3f} [{row['low']:.3f}–{row['high']:.3f}]",
            flush=True,
        )
    if args.json:
        record = {"unit": "seconds; peak memory in KiB", "rounds": args.rounds, "cases": rows}
        args.json.write_text(json.dumps(record, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
