"""The table of speed: llama_edu beside transformers and llama.cpp, in ratios with their spread.

    python benchmarks/table.py smollm2-135m-instruct --gguf FOLDER --rounds 5

Each round starts every engine once, in turn, in a fresh process, so that whatever else the machine
does falls on all alike. Figures are medians of the rounds' ratios, with the range. A ratio is only
printed if both engines chose the same tokens, or, where they round differently by design, the same
first 8. Needs Numba. `--gguf` holds <type>.gguf files written by `to_gguf.py`; `--python NAME=PATH`
gives an engine an interpreter of its own. Everything measured goes to `--json`.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bandwidth import read_bandwidth

from llama_edu import LlamaConfig, Tokenizer
from llama_edu.formats.safetensors import open_checkpoint
from llama_edu.hub import locate

ENGINES = Path(__file__).with_name("engines.py")
PROMPT = "The history of the steam engine begins long before James Watt was born. In the first"
AGREE = 8  # tokens that must be equal where both sides round differently by design


@dataclass(frozen=True)
class Row:
    """One line: two engines, what is compared, and the ratio to reach."""

    label: str
    ours: str
    peer: str
    figure: str
    target: float
    exact: bool = True  # the same tokens to the end
    prompt: int = 0  # tokens of prompt; 0 means the text above
    new_tokens: int = 128
    model: str = ""  # instead of the one asked for


ROWS = {
    "f32-numpy": Row("decode f32", "llama_edu/numpy/f32", "transformers/f32", "tokens_per_s", 2.5),
    "f32": Row("decode f32", "llama_edu/numba/f32", "llama.cpp/f32", "tokens_per_s", 1.2, False),
    "bf16": Row(
        "decode bf16", "llama_edu/numba/bf16", "llama.cpp/bf16", "tokens_per_s", 1.25, False
    ),
    "bf16-torch": Row(
        "decode bf16", "llama_edu/numba/bf16", "transformers/bf16", "tokens_per_s", 5, False
    ),
    "int8": Row(
        "decode int8", "llama_edu/numba/int8", "llama.cpp/q8_0", "tokens_per_s", 1.4, False
    ),
    "story": Row(
        *("decode story f32", "llama_edu/numpy/f32", "transformers/f32", "tokens_per_s", 6),
        model="story",
    ),
    "int4": Row("decode q4", "llama_edu/numba/q4", "llama.cpp/q4_1", "tokens_per_s", 1.15, False),
    "prefill": Row(
        *("prefill of 512", "llama_edu/numba/f32", "transformers/f32", "prefill_s", 1.2),
        prompt=512,
        new_tokens=1,
    ),
    "prefill-cpp": Row(
        *("prefill of 512", "llama_edu/numba/f32", "llama.cpp/f32", "prefill_s", 1.2, False),
        prompt=512,
        new_tokens=8,
    ),
    "prefill-bf16": Row(
        *("prefill of 512", "llama_edu/numba/bf16", "transformers/bf16", "prefill_s", 0.8, False),
        prompt=512,
        new_tokens=8,
    ),
    "prefill-both": Row(
        *("prefill of 512", "llama_edu/numba/bf16", "llama_edu/numba/f32", "prefill_s", 1, False),
        prompt=512,
        new_tokens=8,
    ),
    "past": Row(
        *("at past 2000 / 100", "llama_edu/numba/bf16", "llama_edu/numba/bf16", "tokens_per_s"),
        *(0.8, False, 2000, 32),
    ),
    "load": Row(
        *("load + first token", "llama_edu/numba/bf16", "transformers/bf16", "sooner_s", 5.0),
        exact=False,
        new_tokens=8,
    ),
    "wall": Row("decode bf16", "llama_edu/numba/bf16", "memory", "tokens_per_s", 0.8),
    "memory": Row("peak memory", "llama_edu/numba/bf16", "1.3 weights + 150 MB", "peak", 1.0),
}


# Bytes of the weights in each format, over those in bfloat16, and the rows that compare decoding.
# Of four bits: 79% of this model's weights, and the head in 8 bits.
BYTES = {"f32": 2.0, "bf16": 1.0, "int8": 17 / 32, "q8_0": 17 / 32}
BYTES |= dict.fromkeys(("q4", "q4_1"), 97 / 269)
DECODE = ("f32-numpy", "f32", "bf16", "bf16-torch", "int8", "int4")


def run(
    engine: str, ids: list[int], new_tokens: int, directory: Path, args: argparse.Namespace
) -> dict[str, Any]:
    """What one engine measures in a process of its own."""
    name, *kind = engine.split("/")
    model = args.gguf / f"{kind[0]}.gguf" if name == "llama.cpp" else directory
    python = dict(pair.split("=", 1) for pair in args.python).get(name, sys.executable)
    command = [python, ENGINES, engine, model, "--prompt", json.dumps(ids)]
    command += ["--new-tokens", str(new_tokens), "--threads", str(args.threads)]
    threads = {n: str(args.threads) for n in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS")}
    # Compiled modules are kept, as they are for anyone who starts a program twice.
    env = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"} | threads
    done = subprocess.run(command, env=env, capture_output=True, check=True, text=True)
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    result["sooner_s"] = result["load_s"] + result["first_s"]
    if "text" not in result:
        tokenizer = Tokenizer.from_pretrained(directory)
        result["text"] = tokenizer.decode(result["ids"], skip_special=False)
    return result


def one_round(row: Row, args: argparse.Namespace) -> dict[str, Any]:
    """Both engines once; the ratio, or why there is none."""
    directory = locate(row.model) if row.model else args.directory
    tokenizer = Tokenizer.from_pretrained(directory)
    prompt = tokenizer.encode(PROMPT)
    ids = prompt if not row.prompt else (prompt * (row.prompt // len(prompt) + 1))[: row.prompt]
    ours = run(row.ours, ids, row.new_tokens, directory, args)
    if row.peer == "memory":
        bandwidth = read_bandwidth(args.threads)  # each time: neighbours on a machine share it
        ratio = ours["tokens_per_s"] * args.nbytes / bandwidth
        return {"ours": ours, "peer": {"bytes_per_s": bandwidth}, "ratio": ratio}
    if row.figure == "peak":
        return {"ours": ours, "ratio": (1.3 * args.nbytes + 150e6) / ours["peak_bytes"]}
    if row.ours == row.peer:
        peer = run(row.peer, ids[:100], row.new_tokens, directory, args)
        return {"ours": ours, "peer": peer, "ratio": ours[row.figure] / peer[row.figure]}
    peer = run(row.peer, ids, row.new_tokens, directory, args)
    texts = [side["text"] for side in (ours, peer)]
    pairs = enumerate(zip(*texts, strict=False))
    same = next((i for i, (a, b) in pairs if a != b), min(map(len, texts)))
    agreed = len(tokenizer.encode(texts[0][:same], add_special=False))
    result = {"ours": ours, "peer": peer, "agreed_tokens": agreed}
    if texts[0] == texts[1] or (not row.exact and agreed >= min(AGREE, row.new_tokens)):
        figures = ours[row.figure], peer[row.figure]
        result["ratio"] = figures[0] / figures[1]
        if row.figure.endswith("_s") and not row.figure.startswith("tokens"):
            result["ratio"] = figures[1] / figures[0]
    return result


def side(figures: list[dict[str, Any]], figure: str) -> str:
    """The median of one engine's figure over the rounds, with its unit."""
    if not figures:
        return ""
    if "bytes_per_s" in figures[0]:
        return f"{statistics.median(f['bytes_per_s'] for f in figures) / 1e9:.1f} GB/s"
    if figure == "peak":
        return f"{statistics.median(f['peak_bytes'] for f in figures) / 1e6:.0f} MB"
    middle = statistics.median(f[figure] for f in figures)
    return f"{middle:.1f}/s" if figure == "tokens_per_s" else f"{1e3 * middle:.0f} ms"


def print_row(row: Row, rounds: list[dict[str, Any]], note: str = "") -> None:
    """One line: what either side reached, the median ratio, its range, and the target."""
    ratios = sorted(r["ratio"] for r in rounds if "ratio" in r)
    label = f"{row.label:18} {row.ours:20} {row.peer:20}"
    if len(ratios) < len(rounds):
        least = min(r.get("agreed_tokens", 0) for r in rounds)
        print(f"{label} no ratio: outputs differ after {least} tokens")
        return
    ours, peer = ([r[key] for r in rounds if key in r] for key in ("ours", "peer"))
    middle = statistics.median(ratios)
    verdict = "reached" if middle >= row.target else "not reached"
    print(
        f"{label} {side(ours, row.figure):>9} {side(peer, row.figure):>9} "
        f"{middle:5.2f} [{ratios[0]:.2f}–{ratios[-1]:.2f}]  {row.target} {verdict}{note}"
    )


def most(name: str, results: dict[str, list[dict[str, Any]]], nbytes: int) -> str:
    """The best ratio that memory allows a decode row: the wall over what the peer reached."""
    if name not in DECODE or "wall" not in results:
        return ""
    bandwidth = statistics.median(r["peer"]["bytes_per_s"] for r in results["wall"])
    rate = statistics.median(r["peer"]["tokens_per_s"] for r in results[name])
    kind = ROWS[name].peer.rpartition("/")[2]
    return f"   memory allows {bandwidth / (BYTES[kind] * nbytes) / rate:.2f}"


def machine(threads: int, results: dict[str, list[dict[str, Any]]]) -> dict[str, Any]:
    """Where this was measured, and with which versions of everything."""
    versions: dict[str, str] = {"python": platform.python_version()}
    for rounds in results.values():
        for one in rounds:
            for key in ("ours", "peer"):
                versions |= one.get(key, {}).get("versions", {})
    cpuinfo = Path("/proc/cpuinfo")
    names = cpuinfo.read_text("utf-8").splitlines() if cpuinfo.exists() else []
    model = next((line.split(":", 1)[1].strip() for line in names if "model name" in line), "")
    return {
        "processor": model or platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "threads": threads,
        "versions": versions,
    }


def main() -> None:
    """Run the rows asked for, round after round, and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", nargs="?", default="smollm2-135m-instruct")
    parser.add_argument("--rows", nargs="+", choices=ROWS, default=list(ROWS))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--gguf", type=Path, default=Path("gguf"))
    parser.add_argument("--python", action="append", default=[], metavar="NAME=PATH")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    args.directory = locate(args.model)
    args.nbytes = sum(2 * a.size for a in open_checkpoint(args.directory).values())
    results: dict[str, list[dict[str, Any]]] = {name: [] for name in args.rows}
    for number in range(args.rounds):
        for name in args.rows:
            results[name].append(one_round(ROWS[name], args))
            print(f"round {number + 1}: {name}", file=sys.stderr)
    where = machine(args.threads, results)
    layers = LlamaConfig.from_directory(args.directory).num_hidden_layers
    print(f"{args.model}, {layers} layers, {args.rounds} rounds")
    print(json.dumps(where))
    for name, rounds in results.items():
        print_row(ROWS[name], rounds, most(name, results, args.nbytes))
    if args.json:
        record = {"model": args.model, "nbytes_bf16": args.nbytes, **where, "rows": results}
        args.json.write_text(json.dumps(record, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
