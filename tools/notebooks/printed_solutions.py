"""List the solutions that the book prints, so that running a chapter credits nobody with them.

Run it with `python -m tools.notebooks.printed_solutions` after a solution has changed;
`make notebooks` does.
"""

import ast
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from llama_edu.exercises.framework.printed import LIST

BOOK = Path(__file__).resolve().parents[2] / "book"
SOLUTION = "solution"  # the tag of a cell


def printed_solutions() -> str:
    """The list as it is stored: the source of each exercise's solution, by its name."""
    found = dict(entry for path in BOOK.glob("*.ipynb") for entry in _in(path))
    return json.dumps(dict(sorted(found.items())), indent=1, ensure_ascii=False) + "\n"


def _in(path: Path) -> Iterator[tuple[str, str]]:
    """The exercises of a notebook, each with the source of the function that is checked last."""
    cells: list[dict[str, Any]] = json.loads(path.read_text("utf-8"))["cells"]
    sources = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
    solved = [
        "".join(cell["source"]) for cell in cells if SOLUTION in cell["metadata"].get("tags", [])
    ]
    functions = {
        node.name: ast.get_source_segment(source, node)
        for source in solved
        for node in ast.parse(source).body
        if isinstance(node, ast.FunctionDef)
    }
    for source in sources:
        for name, answer in re.findall(r"\bcheck\.(\w+)\((\w+)\)", source):
            segment = functions.get(answer)
            if segment is not None:
                yield name, segment


if __name__ == "__main__":
    LIST.write_text(printed_solutions(), "utf-8")
