"""Two checkouts of this project side by side: is one slower than the other, and where.

    git worktree add ../before SOME_COMMIT
    python benchmarks/against.py ../before . --rounds 7 --json benchmarks/results/against.json

Every case runs in a fresh process of each checkout, in turn, round after round; a ratio is the
median over rounds of the time after to the time before, with the range. Below 1 is faster now.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

# Run in the checkout's own process; prints one number.
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
for _ in range(3):
    step()
print(statistics.median(step() for _ in range({steps})))
"""
PREFILL = """
import statistics, time
from llama_edu import Llama
model = Llama.from_pretrained({model!r}, {precision!r}, {backend!r})
ids = [i % 1000 for i in range({past})]
def run():
    cache = model.new_cache({past})
    start = time.perf_counter()
    model.forward(ids, cache, last_only=True)
    return time.perf_counter() - start
run()
print(statistics.median(run() for _ in range({steps})))
"""
FIRST = """
import time
start = time.perf_counter()
from llama_edu import Llama, generate
model = Llama.from_pretrained({model!r}, {precision!r}, {backend!r})
next(generate(model, [1] * {past}, max_new_tokens=1))
print(time.perf_counter() - start)
"""
MEMORY = """
import resource
from llama_edu import Llama, generate
model = Llama.from_pretrained({model!r}, {precision!r}, {backend!r})
list(generate(model, [1] * {past}, max_new_tokens={steps}, stop_ids=()))
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""
LARGE, SMALL = "smollm2-135m-instruct", "story"


def case(program: str, model: str, precision: str, backend: str, **sizes: int) -> str:
    """The program of a case; a past of 100 and one sequence unless told otherwise."""
    known = {"past": 100, "sequences": 1} | sizes
    return program.format(model=model, precision=precision, backend=backend, **known)


CASES = {
    "decode f32, NumPy": case(DECODE, LARGE, "f32", "numpy", steps=20),
    "decode f32, Numba": case(DECODE, LARGE, "f32", "numba", steps=40),
    "decode bf16, Numba": case(DECODE, LARGE, "bf16", "numba", steps=60),
    "8 sequences f32, NumPy": case(DECODE, LARGE, "f32", "numpy", steps=9, sequences=8),
    "8 sequences bf16, Numba": case(DECODE, LARGE, "bf16", "numba", steps=15, sequences=8),
    "prefill of 512 f32, NumPy": case(PREFILL, LARGE, "f32", "numpy", steps=3, past=512),
    "prefill of 512 bf16, Numba": case(PREFILL, LARGE, "bf16", "numba", steps=3, past=512),
    "first token f32, NumPy": case(FIRST, LARGE, "f32", "numpy", past=16),
    "first token bf16, Numba": case(FIRST, LARGE, "bf16", "numba", past=16),
    "decode story, NumPy": case(DECODE, SMALL, "f32", "numpy", steps=2000),
    "decode story, Numba": case(DECODE, SMALL, "f32", "numba", steps=2000),
    "peak memory f32, NumPy": case(MEMORY, LARGE, "f32", "numpy", steps=4),
    "peak memory bf16, Numba": case(MEMORY, LARGE, "bf16", "numba", steps=4),
}


def measured(checkout: Path, program: str) -> float:
    """What a program prints in a fresh process that imports from a checkout."""
    environment = {**os.environ, "PYTHONPATH": str(checkout.resolve())}
    command = [sys.executable, "-c", program]
    done = subprocess.run(
        command, env=environment, cwd=checkout, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise SystemExit(f"{checkout}: {done.stderr}")
    return float(done.stdout.split()[-1])


def compared(before: Path, after: Path, program: str, rounds: int) -> dict[str, Any]:
    """Both checkouts in turn, the first one changing places from round to round."""
    values: dict[str, list[float]] = {"before": [], "after": []}
    places = {"before": before, "after": after}
    for i in range(rounds):
        for name in sorted(places, reverse=bool(i % 2)):
            values[name].append(measured(places[name], program))
    ratios = [b / a for a, b in zip(values["before"], values["after"], strict=True)]
    return {
        "before": statistics.median(values["before"]),
        "after": statistics.median(values["after"]),
        "ratio": statistics.median(ratios),
        "low": min(ratios),
        "high": max(ratios),
        # Of the least disturbed run of each: what other programs do can only add to it.
        "best": min(values["after"]) / min(values["before"]),
    }


def main() -> None:
    """Compare all cases, or those named, and print a line for each."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("before", type=Path)
    parser.add_argument("after", type=Path)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--cases", nargs="+", metavar="PART", help="parts of the names of cases")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    rows = {}
    for name, program in CASES.items():
        if args.cases and not any(part in name for part in args.cases):
            continue
        row = rows[name] = compared(args.before, args.after, program, args.rounds)
        print(
            f"{name:27} {row['before']:10.4g} → {row['after']:10.4g}   "
            f"{row['ratio']:.3f} [{row['low']:.3f}–{row['high']:.3f}], best {row['best']:.3f}",
            flush=True,
        )
    if args.json:
        record = {"unit": "seconds; peak memory in KiB", "rounds": args.rounds, "cases": rows}
        args.json.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
