"""The loss curve of a run: the numbers as CSV, the picture as PNG."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

FIELDS = ("step", "tokens", "loss", "held_out")


def write(log: Sequence[dict[str, float]], directory: Path, name: str) -> None:
    """Write `<name>.csv` and `<name>.png` into the directory."""
    directory.mkdir(parents=True, exist_ok=True)
    with (directory / f"{name}.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, FIELDS, lineterminator="\n")
        writer.writeheader()
        for row in log:
            rounded = {k: round(v, 4) if isinstance(v, float) else v for k, v in row.items()}
            writer.writerow(rounded)
    draw(log, directory / f"{name}.png", f"{name}: loss while training")


def draw(log: Sequence[dict[str, float]], path: Path, title: str) -> None:
    """Training and held-out loss against the tokens seen, on a log scale."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(7, 3.6), dpi=90, layout="constrained")
    axes.plot([r["tokens"] / 1e6 for r in log], [r["loss"] for r in log], lw=1, label="training")
    held = [r for r in log if "held_out" in r]
    x, y = [r["tokens"] / 1e6 for r in held], [r["held_out"] for r in held]
    axes.plot(x, y, "o-", ms=2.5, lw=1, label="held out")
    axes.set_yscale("log")
    axes.set(xlabel="million tokens seen", ylabel="nats per token", title=title)
    axes.grid(alpha=0.3, which="both")
    axes.legend()
    figure.savefig(path)
    plt.close(figure)
