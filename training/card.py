"""Tables in a model card, printed by the evaluations and put between two marks in the card."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

Row = tuple[str, str, str]  # what was measured, the target, what was reached


def table(rows: Sequence[Row]) -> str:
    """A Markdown table."""
    lines = ["| measured | target | reached |", "|---|---|---|"]
    return "\n".join(
        lines + [f"| {what} | {target} | {reached} |" for what, target, reached in rows]
    )


def insert(path: Path, name: str, text: str) -> None:
    """Replace what stands between `<!-- name -->` and `<!-- /name -->` in a file.

    Raises ValueError if the file has no such marks.
    """
    before, begin, rest = path.read_text(encoding="utf-8").partition(f"<!-- {name} -->")
    _, end, after = rest.partition(f"<!-- /{name} -->")
    if not begin or not end:
        raise ValueError(f"expected the marks <!-- {name} --> and <!-- /{name} --> in {path}")
    path.write_text(f"{before}{begin}\n{text}\n{end}{after}", encoding="utf-8")
