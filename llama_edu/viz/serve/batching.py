"""Continuous batching, drawn step by step: who is fed, who grows, who waits."""

from collections.abc import Mapping, Sequence, Set

from matplotlib.axes import Axes

from llama_edu.errors import InputError
from llama_edu.viz.parts.axes import axis
from llama_edu.viz.parts.figure import (
    FAINT,
    INK,
    MUTED,
    PAPER,
    WIDTH,
    Picture,
    board,
    box,
    picture,
    write,
)

__all__ = ["batch_steps"]

MOST_STEPS = 40


@picture
def batch_steps(
    names: Sequence[str], prefilled: Sequence[Mapping[str, int]], decoded: Sequence[Set[str]]
) -> Picture:
    """Requests as rows, steps as columns.

    `prefilled[i]` has the prompt tokens fed to each request in step i, `decoded[i]` who got a
    token from that step's batch. Raises `InputError` for names that are not listed, for unequal
    numbers of steps, and for more than 40 of them.
    """
    steps = len(prefilled)
    if steps != len(decoded) or not 0 < steps <= MOST_STEPS or not names:
        raise InputError(
            f"expected names and 1 to {MOST_STEPS} steps in both lists, got {len(names)} names, "
            f"{steps} and {len(decoded)} steps"
        )
    strangers = {n for step in (*prefilled, *decoded) for n in step} - set(names)
    if strangers:
        raise InputError(f"expected requests of {', '.join(names)}, got {min(strangers)!r}")
    figure, ax = board(0.95 + 0.36 * len(names))
    left = 0.2 + 0.09 * max(map(len, names))
    cell = (WIDTH - left - 0.15) / steps
    _key(ax, left)
    for row, name in enumerate(names):
        y = 0.5 + 0.36 * row
        write(ax, left - 0.08, y + 0.13, name, 10, ha="right")
        for i in range(steps):
            _cell(ax, left + i * cell, y, cell, prefilled[i].get(name, 0), name in decoded[i])
    write(ax, left, 0.72 + 0.36 * len(names), "steps →", 9, color=MUTED)
    return Picture(
        figure,
        alt=_alt(names, prefilled, decoded),
        caption="One column a step. Texts that grow share it; prompts are fed in pieces beside.",
    )


def _key(ax: Axes, left: float) -> None:
    box(ax, left, 0.12, 0.2, 0.2, axis("seq").color, hatch="///", edgecolor=PAPER)
    write(ax, left + 0.27, 0.22, "prompt tokens fed", 9)
    box(ax, left + 1.75, 0.12, 0.2, 0.2, axis("vocab_size").color)
    write(ax, left + 2.02, 0.22, "a new token", 9)


def _cell(ax: Axes, x: float, y: float, width: float, fed: int, grew: bool) -> None:
    if fed:
        face, style = axis("seq").color, {"hatch": "///", "edgecolor": PAPER}
    elif grew:
        face, style = axis("vocab_size").color, {"edgecolor": PAPER}
    else:
        face, style = PAPER, {"edgecolor": FAINT}
    box(ax, x, y, width, 0.26, face, linewidth=0.8, **style)
    if fed and width > 0.24:
        frame = {"facecolor": PAPER, "edgecolor": "none", "pad": 1}
        write(ax, x + width / 2, y + 0.13, str(fed), 8.5, ha="center", color=INK, bbox=frame)


def _alt(
    names: Sequence[str], prefilled: Sequence[Mapping[str, int]], decoded: Sequence[Set[str]]
) -> str:
    said = []
    for name in names:
        fed = [step[name] for step in prefilled if step.get(name)]
        grew = [i for i, step in enumerate(decoded) if name in step]
        text = f"{name}: prompt in {len(fed)} step{'s' * (len(fed) != 1)} of {fed} tokens"
        if grew:
            text += f", {len(grew)} shared steps, from step {grew[0] + 1} to step {grew[-1] + 1}"
        said.append(text)
    most = max(map(len, decoded))
    return (
        f"{len(names)} requests over {len(decoded)} steps; at most {most} texts share a step. "
        f"{'; '.join(said)}."
    )
