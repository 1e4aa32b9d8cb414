"""How time grows with the past, the layers, the width, the prompt and the threads.

    python benchmarks/scaling.py --json scaling.json --plots FOLDER

Models are random, since time does not depend on what weights say. Each point is the median of
several steps after a warm-up. Beside it stands the slope to the point before on logarithmic
scales: 0 means "costs nothing more", 1 "twice as much costs twice the time", 2 "four times". A
curve turns where its slope does. Threads are counted in processes of their own, one after another.
"""

import argparse
import itertools
import json
import math
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from llama_edu import Llama, LlamaConfig
from llama_edu.formats.tensor_shapes import expected_shapes

BASE = {"layers": 8, "hidden": 512, "past": 64}
POINTS: dict[str, list[int]] = {
    "past": [16, 64, 256, 1024, 2048, 4096],
    "layers": [2, 4, 8, 16, 32],
    "hidden": [64, 128, 256, 512, 1024, 2048],
    "prompt": [1, 4, 16, 64, 256, 1024],
}
STEPS = 12


def random_model(layers: int, hidden: int, backend: str, precision: str) -> Llama:
    """A Llama of SmolLM2's proportions: head_dim 64, three queries to a key, MLP 8/3 as wide."""
    heads = max(1, hidden // 64)
    kv_heads = heads // 3 if heads % 3 == 0 else max(1, heads // 4)
    config = LlamaConfig(
        vocab_size=4096,
        hidden_size=hidden,
        intermediate_size=hidden * 8 // 3 // 32 * 32,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=kv_heads,
        head_dim=64,
        max_position_embeddings=8192,
        rms_norm_eps=1e-5,
        rope_theta=10000.0,
    )
    rng = np.random.default_rng(0)
    tensors = {
        name: rng.standard_normal(shape, dtype=np.float32) * np.float32(shape[-1] ** -0.5)
        for name, shape in expected_shapes(config).items()
    }
    return Llama(config, tensors, precision=precision, backend=backend)


def median_ms(work: Callable[[], object], times: int = STEPS) -> float:
    """Milliseconds of the median run, after one that does not count."""
    work()
    seconds = []
    for _ in range(times):
        start = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - start)
    return 1000 * statistics.median(seconds)


def decode_ms(model: Llama, past: int) -> float:
    """One token after a past of so many."""
    cache = model.new_cache(past + 2)
    for start in range(0, past, 512):
        model.forward([1] * min(512, past - start), cache, last_only=True)

    def step() -> None:
        model.forward([2], cache)
        cache.truncate(past)

    return median_ms(step)


def prefill_ms(model: Llama, prompt: int) -> float:
    """A prompt of so many tokens at once."""
    return median_ms(
        lambda: model.forward([1] * prompt, model.new_cache(prompt), last_only=True), 5
    )


def curve(name: str, backend: str, precision: str) -> list[tuple[int, float]]:
    """One growing quantity, the others as in `BASE`."""
    found = []
    for value in POINTS[name]:
        sizes = BASE | {name: value}
        model = random_model(sizes["layers"], sizes["hidden"], backend, precision)
        work = prefill_ms(model, value) if name == "prompt" else decode_ms(model, sizes["past"])
        found.append((value, work))
        print(f"{name} {value}: {work:.2f} ms", file=sys.stderr)
    return found


def thread_curve(args: argparse.Namespace) -> list[tuple[int, float]]:
    """The base model's token on 1, 2, … threads, each number in a process of its own.

    On the compiled kernels: NumPy's step reads weights on one thread, however many there are.
    """
    found = []
    for threads in range(1, (os.cpu_count() or 1) + 1):
        env = os.environ | {n: str(threads) for n in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS")}
        command = [sys.executable, __file__, "--point", "numba", args.precision]
        done = subprocess.run(command, env=env, capture_output=True, check=True, text=True)
        found.append((threads, float(done.stdout)))
    return found


def slopes(points: list[tuple[int, float]]) -> list[float]:
    """Growth between neighbours on logarithmic scales; the first has none."""
    pairs = itertools.pairwise(points)
    return [math.nan, *(math.log(b[1] / a[1]) / math.log(b[0] / a[0]) for a, b in pairs)]


def print_curve(name: str, points: list[tuple[int, float]]) -> None:
    """A table of one curve, with the place where it turns: the steepest change of slope."""
    print(f"\n{name:>8} {'ms':>9}  slope")
    found = slopes(points)
    for (value, ms), slope in zip(points, found, strict=True):
        print(f"{value:8} {ms:9.2f}  {'' if math.isnan(slope) else f'{slope:5.2f}'}")
    changes = [(abs(b - a), i + 1) for i, (a, b) in enumerate(itertools.pairwise(found[1:]))]
    if changes:
        print(f"turns most at {points[max(changes)[1]][0]}")


def draw(curves: dict[str, Any], folder: Path) -> None:
    """One picture a curve."""
    from matplotlib.figure import Figure

    folder.mkdir(parents=True, exist_ok=True)
    for name, points in curves.items():
        figure = Figure(figsize=(4.5, 3), layout="constrained")
        ax = figure.subplots()
        ax.plot(*zip(*points, strict=True), "o-", color="#0b6b8f")
        ax.set(xscale="log", yscale="log", xlabel=name, ylabel="ms", title=f"time against {name}")
        figure.savefig(folder / f"{name}.png", dpi=120)


def main() -> None:
    """Measure all curves, or one point of the thread curve."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--backend", default="numpy")
    parser.add_argument("--precision", default="f32")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--plots", type=Path, metavar="FOLDER")
    parser.add_argument("--point", nargs=2, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.point:
        model = random_model(BASE["layers"], BASE["hidden"], *args.point)
        print(decode_ms(model, BASE["past"]))
        return
    curves = {name: curve(name, args.backend, args.precision) for name in POINTS}
    curves["threads"] = thread_curve(args)
    for name, points in curves.items():
        print_curve(name, points)
    if args.json:
        args.json.write_text(json.dumps(curves, indent=1) + "\n", "utf-8")
    if args.plots:
        draw(curves, args.plots)


if __name__ == "__main__":
    main()
