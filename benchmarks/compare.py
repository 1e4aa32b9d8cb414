"""Compare engines side by side on the same weights: speed, time to the first token, memory.

    python benchmarks/compare.py smollm2-135m-instruct --rounds 5

Each round starts every engine once, in turn, each in a fresh process, so that whatever else the
machine does falls on all of them alike. Figures are medians with the range in brackets; what
travels to another machine is the ratio. A run counts only if all engines chose the same tokens.
Peers come from `benchmarks/requirements.txt`; `--python` names an interpreter that has them.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

from llama_edu import Tokenizer
from llama_edu.hub import locate

WORKER = Path(__file__).with_name("engines.py")
PROMPT = "The history of the steam engine begins long before James Watt was born. In the first"
BASE, *PEERS = ENGINES = ("llama_edu/numpy/f32", "transformers/f32")
FIGURES = {
    # figure → (label, unit, scale, True if more is better)
    "tokens_per_s": ("decode", "tokens/s", 1.0, True),
    "load_s": ("import and load", "s", 1.0, False),
    "load_and_first_s": ("… and first token", "s", 1.0, False),
    "peak_bytes": ("peak memory", "MB", 1e-6, False),
}


def run(engine: str, args: argparse.Namespace, directory: Path, prompt: list[int]) -> Any:
    command = [args.python, WORKER, engine, directory, "--prompt", json.dumps(prompt)]
    command += ["--new-tokens", str(args.new_tokens), "--threads", str(args.threads)]
    threads = {name: str(args.threads) for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS")}
    done = subprocess.run(
        command, env=os.environ | threads, stdout=subprocess.PIPE, check=True, text=True
    )
    result = json.loads(done.stdout.splitlines()[-1])
    return result | {"load_and_first_s": result["load_s"] + result["first_s"]}


def spread(values: list[float], scale: float) -> str:
    scaled = [value * scale for value in values]
    return f"{statistics.median(scaled):.3g} [{min(scaled):.3g}–{max(scaled):.3g}]"


def print_table(results: dict[str, list[Any]]) -> None:
    print(f"{'':20}" + "".join(f"{engine:>31}" for engine in ENGINES) + "   ratio")
    for figure, (label, unit, scale, more_is_better) in FIGURES.items():
        columns = {e: [run[figure] for run in runs] for e, runs in results.items()}
        medians = {e: statistics.median(values) for e, values in columns.items()}
        row = f"{label:20}"
        row += "".join(f"{spread(v, scale):>22} {unit:8}" for v in columns.values())
        for peer in PEERS:
            ratio = medians[BASE] / medians[peer]
            row += f"{ratio if more_is_better else 1 / ratio:8.2f}×"
        print(row)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", nargs="?", default="smollm2-135m-instruct")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--new-tokens", type=int, default=128)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--python", default=sys.executable, help="interpreter with the peers")
    args = parser.parse_args()
    directory = locate(args.model)
    prompt = Tokenizer.from_pretrained(directory).encode(PROMPT)
    results: dict[str, list[Any]] = {engine: [] for engine in ENGINES}
    for round_ in range(args.rounds):
        for engine in ENGINES:
            results[engine].append(run(engine, args, directory, prompt))
            print(f"round {round_ + 1}: {engine}", file=sys.stderr)
    chosen = {tuple(run["ids"]) for runs in results.values() for run in runs}
    if len(chosen) > 1:
        sys.exit("expected every engine to choose the same tokens, got different texts")
    print(f"{args.model}, {len(prompt)} prompt + {args.new_tokens} new tokens, ", end="")
    print(f"{args.threads} threads, {args.rounds} rounds")
    print_table(results)


if __name__ == "__main__":
    main()
