"""Keys and a query as arrows on a plane: what a dot product sees."""

from collections.abc import Mapping

import numpy as np

from llama_edu.errors import InputError
from llama_edu.viz.parts.axes import axis
from llama_edu.viz.parts.figure import FAINT, MUTED, Picture, board, panel, picture, write

__all__ = ["query_and_keys"]

KEY, QUERY = axis("n_kv_heads").color, axis("seq").color
SIZE, PAGE = 3.1, 3.9  # inches; words of 10 points stay legible where a phone shows all of it


@picture
def query_and_keys(query: tuple[float, float], keys: Mapping[str, tuple[float, float]]) -> Picture:
    """Arrows of two numbers: one query, the keys by name, and the dot product with each.

    Raises `InputError` without keys.
    """
    if not keys:
        raise InputError("expected at least one key, got none")
    products = {name: float(np.dot(query, key)) for name, key in keys.items()}
    reach = 1.25 * max(float(np.abs([query, *keys.values()]).max()), 1.0)
    figure, ax = board(SIZE + 0.55 + 0.28 * len(products), PAGE)
    plane = panel(figure, 0.1, 0.1, SIZE, SIZE)
    plane.set_xlim(-reach / 3, reach)
    plane.set_ylim(-reach / 3, reach)
    plane.axhline(0, color=FAINT, lw=0.8)
    plane.axvline(0, color=FAINT, lw=0.8)
    plane.axis("off")
    for name, (x, y), color in (
        *((name, key, KEY) for name, key in keys.items()),
        ("the question", query, QUERY),
    ):
        plane.annotate(
            "", (x, y), (0, 0), arrowprops={"arrowstyle": "-|>", "color": color, "lw": 2.0}
        )
        plane.text(x + 0.06 * reach, y + 0.03 * reach, name, color=color, fontsize=10)
    top = SIZE + 0.28
    write(ax, 0.15, top, "question · note", 10, weight="bold")
    best = max(products, key=lambda name: products[name])
    for row, (name, product) in enumerate(products.items()):
        (a, b), (x, y) = query, keys[name]
        words = f"{name}:  {a:g}·{x:g} + {b:g}·{y:g} = {product:g}"
        weight = "bold" if name == best else "normal"
        write(ax, 1.65, top + 0.28 * row, words, 10, weight=weight)
    write(ax, 0.15, top + 0.28, f"best: {best}", 10, color=MUTED)
    said = ", ".join(f"with {name} {product:g}" for name, product in products.items())
    alt = (
        f"Arrows from one point. The question points to ({query[0]:g}, {query[1]:g}). "
        f"Its dot product is {said}. The largest is with {best}."
    )
    return Picture(figure, alt=alt, caption=f"The question fits {best} best.")
