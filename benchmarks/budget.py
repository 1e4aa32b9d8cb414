"""The precision budget of a model: what every precision saves, and what it costs.

    python benchmarks/budget.py story
    python benchmarks/budget.py smollm2-135m-instruct --backend numba --json budget.json

Two tables. The first: mean and largest error of every operator against float64, on what really
flows through the model. The second, for the whole model on a text it has not seen: bytes of the
weights, bytes of cache per token, how far logits are from float32's, where another token became
the likeliest, perplexity, and tokens per second, each precision in a fresh process, in turn.
"""

import argparse
import dataclasses
import json
import os
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

from llama_edu import Llama, LlamaConfig, Tokenizer
from llama_edu.budget import OperatorError, Quality, operator_errors, qualities
from llama_edu.checkpoint import open_checkpoint
from llama_edu.hub import locate
from llama_edu.precision import PRECISIONS

ENGINES = Path(__file__).with_name("engines.py")
STORIES = Path(__file__).parent.parent / "tests" / "data" / "held_out_stories.txt"
PROSE = Path(__file__).with_name("held_out.txt")


def speed(name: str, directory: Path, ids: list[int], args: argparse.Namespace) -> float:
    """Tokens per second of one precision: the median of the rounds."""
    backend = "numpy" if PRECISIONS[name].is_pure else args.backend
    command = [sys.executable, str(ENGINES), f"llama_edu/{backend}/{name}", str(directory)]
    command += ["--prompt", json.dumps(ids), "--new-tokens", "64"]
    env = os.environ | dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), str(args.threads))
    rates = []
    for _ in range(args.rounds):
        done = subprocess.run(command, env=env, capture_output=True, check=True, text=True)
        rates.append(json.loads(done.stdout.splitlines()[-1])["tokens_per_s"])
    return statistics.median(rates)


def print_errors(errors: list[OperatorError]) -> None:
    """Operators by precisions: mean / largest."""
    found = {(e.operator, e.precision): e for e in errors}
    print(f"{'mean / largest error':20}" + "".join(f"{p:>19}" for p in PRECISIONS))
    for operator in dict.fromkeys(e.operator for e in errors):
        cells = (found[operator, p] for p in PRECISIONS)
        print(f"{operator:20}" + "".join(f"{f'{c.mean:.0e} / {c.largest:.0e}':>19}" for c in cells))


def print_qualities(found: list[Quality], rates: dict[str, float]) -> None:
    """One line a precision."""
    print(f"\n{'':10} {'weights':>10} {'cache/token':>12} {'logits off':>11} {'flips':>10}", end="")
    print(f" {'perplexity':>11} {'tokens/s':>9}")
    for q in found:
        print(
            f"{q.precision:10} {q.weight_nbytes / 1e6:7.1f} MB {q.cache_nbytes:10,} B {q.gap:11.4f}"
            f" {q.flips:4} of {q.positions:3} {q.perplexity:11.3f} {rates[q.precision]:9.1f}"
        )


def main() -> None:
    """Measure and print both tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", nargs="?", default="story")
    parser.add_argument("--backend", default="numpy")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--text", type=Path, help="a text the model has not seen")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    directory = locate(args.model)
    text = (args.text or (STORIES if args.model == "story" else PROSE)).read_text("utf-8")
    ids = Tokenizer.from_pretrained(directory).encode(text.splitlines()[0])
    errors = operator_errors(Llama.from_pretrained(directory), ids, PRECISIONS)
    config, tensors = LlamaConfig.from_directory(directory), open_checkpoint(directory)
    found = qualities(config, tensors, ids, PRECISIONS)
    rates = {name: speed(name, directory, ids[:22], args) for name in PRECISIONS}
    print(f"{args.model}, {len(ids)} tokens, {args.threads} threads, backend {args.backend}\n")
    print_errors(errors)
    print_qualities(found, rates)
    if args.json:
        record: dict[str, Any] = {
            "errors": [dataclasses.asdict(e) for e in errors],
            "qualities": [dataclasses.asdict(q) for q in found],
            "tokens_per_s": rates,
        }
        args.json.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
