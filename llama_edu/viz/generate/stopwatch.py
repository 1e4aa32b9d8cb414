"""The same text written more than once, each time at the pace at which it was really written."""

from collections.abc import Mapping, Sequence

import numpy as np

from llama_edu.errors import InputError
from llama_edu.viz.parts.embed import interactive
from llama_edu.viz.parts.html import Html, aligned, escape, table, td, th

__all__ = ["stopwatch"]

ROWS = 5  # of the table without scripts


def stopwatch(pieces: Sequence[str], clocks: Mapping[str, Sequence[float]]) -> Html:
    """A button that writes `pieces` side by side, once for each of `clocks`, in real time.

    `clocks` maps the name of a run to the second at which each piece was there, counted from the
    start. Where scripts are stripped, a table of some of these seconds remains. Raises
    `InputError` without pieces or clocks, and for a clock of another length or one that does not
    run forward from 0.
    """
    if not pieces or not clocks:
        raise InputError(f"expected pieces and clocks, got {len(pieces)} and {len(clocks)}")
    for name, seconds in clocks.items():
        ticks = np.asarray([0.0, *seconds], dtype=np.float64)
        runs = len(seconds) == len(pieces) and np.isfinite(ticks).all() and (np.diff(ticks) >= 0)
        if not np.all(runs):
            raise InputError(
                f"expected {len(pieces)} seconds that rise from 0 for {name!r}, got {seconds}"
            )
    shown = sorted({round(n) for n in np.linspace(1, len(pieces), min(ROWS, len(pieces)))})
    lines = [[str(n), *(f"{seconds[n - 1]:.2f}" for seconds in clocks.values())] for n in shown]
    head = ["tokens", *(f"seconds {name}" for name in clocks)]
    title, to_do = "The same text, twice", "Start both clocks."
    if len(clocks) != 2:
        title, to_do = "The same text at its own pace", "Start the clocks."
    data = {
        "title": f"{title}. {to_do}",  # where there is something to press
        "pieces": list(pieces),
        "runs": [
            {"name": name, "at": [round(float(second), 3) for second in seconds]}
            for name, seconds in clocks.items()
        ],
    }
    fallback = table(
        f"<tr>{''.join(th(escape(name), align='right') for name in head)}</tr>",
        (f"<tr>{''.join(td(cell, align='right') for cell in line)}</tr>" for line in lines),
        caption=title,
    )
    text = f"{title}\n{aligned([head, *lines], right=set(head))}"
    return interactive("race", title, data, fallback, text)
