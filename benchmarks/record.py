"""Measure everything about speed and precision once, and keep it: tables, records, pictures.

    python benchmarks/record.py smollm2-135m-instruct --gguf FOLDER --to benchmarks/results

Runs `table.py`, `step_profile.py`, `optimisations.py`, `budget.py` and `scaling.py` one after
another, which takes half an hour on an otherwise idle machine, and writes what they print as text,
what they measured as JSON, and three pictures: tokens per second against the roofline, error
against bytes, and time per token against context length. Other arguments go to `table.py`. With
`--draw-only` the pictures are drawn again from the records.
"""

import argparse
import json
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator
from table import BYTES, DECODE, ROWS

HERE = Path(__file__).resolve().parent
# Colours and markers that stay apart without colour: ours and the two peers.
LOOKS = {
    "llama_edu/numpy": ("#d55e00", "o"),
    "llama_edu/numba": ("#0072b2", "s"),
    "transformers": ("#555555", "^"),
    "llama.cpp": ("#009e73", "D"),
}


def measure(script: str, folder: Path, name: str, *arguments: str) -> None:
    """Run one script; its text and its JSON go to the folder."""
    command = [sys.executable, str(HERE / script), *arguments]
    command += ["--json", str(folder / f"{name}.json")]
    print(f"{script} …", file=sys.stderr)
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True)
    (folder / f"{name}.txt").write_text(done.stdout, "utf-8")
    print(done.stdout)


def rates(record: dict[str, Any]) -> dict[str, float]:
    """Engine -> median tokens per second after the short prompt."""
    found: dict[str, list[float]] = {}
    for name in DECODE:
        engines = ROWS[name].ours, ROWS[name].peer
        for one in record["rows"].get(name, []):
            for key, engine in zip(("ours", "peer"), engines, strict=True):
                found.setdefault(engine, []).append(one[key]["tokens_per_s"])
    return {engine: statistics.median(values) for engine, values in found.items()}


def draw_roofline(record: dict[str, Any], path: Path) -> None:
    """Tokens per second against bytes read per token, under the roof of the memory."""
    walls = [one["peer"]["bytes_per_s"] for one in record["rows"]["wall"]]
    bandwidth, nbytes = statistics.median(walls), record["nbytes_bf16"]
    figure = Figure(figsize=(6.4, 4), layout="constrained")
    ax = figure.subplots()
    sizes = [nbytes * share for share in (0.3, 2.3)]
    roof = [bandwidth / size for size in sizes]
    ax.plot([s / 1e6 for s in sizes], roof, color="black", lw=1.2)
    ax.annotate(
        f"memory, {bandwidth / 1e9:.0f} GB/s",
        (sizes[0] / 1e6, roof[0]),
        textcoords="offset points",
        xytext=(18, 0),
    )
    seen = set()
    for engine, rate in rates(record).items():
        family, _, kind = engine.rpartition("/")
        colour, marker = LOOKS[family]
        label = None if family in seen else family.replace("/", ", ")
        seen.add(family)
        at = nbytes * BYTES[kind] / 1e6
        ax.plot(at, rate, marker, color=colour, ms=7, label=label, ls="none")
        # Two of our own and a peer may lie close together; the axis names the format as well.
        side = (7, -3) if family != "llama.cpp" else (-7, -3)
        align = "left" if side[0] > 0 else "right"
        offset = {"textcoords": "offset points", "xytext": side}
        ax.annotate(kind, (at, rate), ha=align, fontsize=8, **offset)  # type: ignore[arg-type]
    ax.set(xscale="log", yscale="log", xlabel="MB of weights read per token", ylabel="tokens/s")
    ticks = [nbytes * share / 1e6 for share in sorted(set(BYTES.values()))]
    ax.set_xticks(ticks, [f"{tick:.0f}" for tick in ticks])
    ax.set_yticks([20, 50, 100, 200, 400], ["20", "50", "100", "200", "400"])
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_minor_locator(NullLocator())
    ax.set_title(f"{record['model']}: decode under the roof of the memory")
    ax.legend(loc="lower left")
    figure.savefig(path, dpi=110)


def draw_errors(record: dict[str, Any], path: Path) -> None:
    """How far the logits of each precision are from float32's, against what it keeps."""
    figure = Figure(figsize=(6.4, 4), layout="constrained")
    ax = figure.subplots()
    for quality in record["qualities"]:
        if quality["gap"] == 0:
            continue  # float32 itself
        at = quality["weight_nbytes"] / 1e6, quality["gap"]
        ax.plot(*at, "o", color=LOOKS["llama_edu/numba"][0])
        offset = (7, -3)
        ax.annotate(quality["precision"], at, textcoords="offset points", xytext=offset)
    ax.set(yscale="log", xlabel="MB of weights", ylabel="largest distance of a logit from float32")
    ax.set_title("Error against bytes")
    ax.margins(x=0.2)
    figure.savefig(path, dpi=110)


def draw_context(record: dict[str, Any], path: Path) -> None:
    """Milliseconds per token against the positions before it."""
    figure = Figure(figsize=(6.4, 4), layout="constrained")
    ax = figure.subplots()
    ax.plot(*zip(*record["past"], strict=True), "o-", color=LOOKS["llama_edu/numpy"][0])
    ax.set(xlabel="positions in the cache", ylabel="ms per token", ylim=(0, None))
    ax.set_title("Time per token against context length (random model, 8 layers of 512)")
    figure.savefig(path, dpi=110)


def main() -> None:
    """Measure, unless told only to draw; then draw."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", nargs="?", default="smollm2-135m-instruct")
    parser.add_argument("--to", type=Path, default=HERE / "results")
    parser.add_argument("--draw-only", action="store_true")
    args, others = parser.parse_known_args()
    folder: Path = args.to
    folder.mkdir(parents=True, exist_ok=True)
    if not args.draw_only:
        measure("table.py", folder, "table", args.model, *others)
        measure("step_profile.py", folder, "profile", args.model)
        measure("optimisations.py", folder, "optimisations")
        measure("budget.py", folder, "budget", args.model, "story", "--backend", "numba")
        measure("scaling.py", folder, "scaling")
    for name, draw, picture in (
        ("table", draw_roofline, "roofline"),
        ("budget", draw_errors, "error"),
        ("scaling", draw_context, "context"),
    ):
        draw(json.loads((folder / f"{name}.json").read_text("utf-8")), folder / f"{picture}.png")


if __name__ == "__main__":
    main()
