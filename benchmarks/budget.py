"""The precision budget of models: what every precision saves, and what it costs.

    python benchmarks/budget.py story
    python benchmarks/budget.py smollm2-135m-instruct story --backend numba --json budget.json

Two tables a model. The first: mean and largest error of every operator against float64, on what
really flows through the model. The second, for the whole model on a text it has not seen: bytes of
the weights, bytes of cache per token, how far logits are from float32's, where another token
became the likeliest, perplexity, and tokens per second. For the last, every precision decodes in a
process of its own, all of them in turn, round after round; the median of the rounds is shown, with
the backend it ran on: the pure precisions have no kernels, and run on NumPy whatever is asked for.

The first model's record goes to `--json`; that of each other lies beside it, its name at the end:
`budget-story.json`.
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
from llama_edu.analysis.precision_cost import OperatorError, Quality, operator_errors, qualities
from llama_edu.formats.precision import PRECISIONS
from llama_edu.formats.safetensors import open_checkpoint
from llama_edu.hub import locate

ENGINES = Path(__file__).with_name("engines.py")
STORIES = Path(__file__).parent.parent / "tests" / "data" / "held_out_stories.txt"
PROSE = Path(__file__).with_name("held_out.txt")


def backend_of(name: str, wanted: str) -> str:
    """What a precision runs on: the pure ones have no kernels."""
    return "numpy" if PRECISIONS[name].is_pure else wanted


def one_speed(name: str, directory: Path, ids: list[int], args: argparse.Namespace) -> float:
    """Tokens per second of one precision, once, in a fresh process."""
    engine = f"llama_edu/{backend_of(name, args.backend)}/{name}"
    command = [sys.executable, str(ENGINES), engine, str(directory)]
    command += ["--prompt", json.dumps(ids), "--new-tokens", "64"]
    env = os.environ | dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), str(args.threads))
    done = subprocess.run(command, env=env, capture_output=True, check=True, text=True)
    return float(json.loads(done.stdout.splitlines()[-1])["tokens_per_s"])


def speeds(directory: Path, ids: list[int], args: argparse.Namespace) -> dict[str, list[float]]:
    """Tokens per second of every precision in every round; a round runs each of them once."""
    rates: dict[str, list[float]] = {name: [] for name in PRECISIONS}
    for number in range(args.rounds):
        for name, found in rates.items():
            found.append(one_speed(name, directory, ids, args))
        print(f"{directory.name}: round {number + 1}", file=sys.stderr)
    return rates


def measured(model: str, args: argparse.Namespace) -> dict[str, Any]:
    """Everything about one model, as it is kept."""
    directory = locate(model)
    text = (args.text or (STORIES if model == "story" else PROSE)).read_text("utf-8")
    ids = Tokenizer.from_pretrained(directory).encode(text.splitlines()[0])
    errors = operator_errors(Llama.from_pretrained(directory), ids, PRECISIONS)
    config, tensors = LlamaConfig.from_directory(directory), open_checkpoint(directory)
    found = qualities(config, tensors, ids, PRECISIONS)
    rates = speeds(directory, ids[:22], args)
    return {
        "model": model,
        "tokens": len(ids),
        "threads": args.threads,
        "errors": [dataclasses.asdict(e) for e in errors],
        "qualities": [dataclasses.asdict(q) for q in found],
        "backends": {name: backend_of(name, args.backend) for name in PRECISIONS},
        "rounds": rates,
        "tokens_per_s": {name: statistics.median(found) for name, found in rates.items()},
    }


def print_record(record: dict[str, Any]) -> None:
    """Both tables of one model."""
    print(f"{record['model']}, {record['tokens']} tokens, {record['threads']} threads\n")
    print_errors([OperatorError(**error) for error in record["errors"]])
    print_qualities([Quality(**q) for q in record["qualities"]], record)


def print_errors(errors: list[OperatorError]) -> None:
    """Operators by precisions: mean / largest."""
    found = {(e.operator, e.precision): e for e in errors}
    print(f"{'mean / largest error':20}" + "".join(f"{p:>19}" for p in PRECISIONS))
    for operator in dict.fromkeys(e.operator for e in errors):
        cells = (found[operator, p] for p in PRECISIONS)
        print(f"{operator:20}" + "".join(f"{f'{c.mean:.0e} / {c.largest:.0e}':>19}" for c in cells))


def print_qualities(found: list[Quality], record: dict[str, Any]) -> None:
    """One line a precision."""
    print(f"\n{'':10} {'weights':>10} {'cache/token':>12} {'logits off':>11} {'flips':>10}", end="")
    print(f" {'perplexity':>11} {'tokens/s':>9} backend")
    for q in found:
        print(
            f"{q.precision:10} {q.weight_nbytes / 1e6:7.1f} MB {q.cache_nbytes:10,} B {q.gap:11.4f}"
            f" {q.flips:4} of {q.positions:3} {q.perplexity:11.3f}"
            f" {record['tokens_per_s'][q.precision]:9.1f} {record['backends'][q.precision]}"
        )


def beside(path: Path, model: str, is_first: bool) -> Path:
    """Where a model's record goes."""
    return path if is_first else path.with_name(f"{path.stem}-{model}{path.suffix}")


def main() -> None:
    """Measure and print both tables of every model."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("models", nargs="*", default=["story"])
    parser.add_argument("--backend", default="numpy")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--text", type=Path, help="a text the models have not seen")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    for number, model in enumerate(args.models):
        record = measured(model, args)
        print("\n" * (number > 0), end="")
        print_record(record)
        if args.json:
            path = beside(args.json, Path(model).name, number == 0)
            path.write_text(json.dumps(record, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
