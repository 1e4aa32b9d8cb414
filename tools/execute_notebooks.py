"""Run notebooks from top to bottom in a fresh kernel and store their outputs in place.

    python tools/execute_notebooks.py                        every notebook under book/
    python tools/execute_notebooks.py book/01_read_raw_bytes.ipynb

What is written depends on the cells alone: no timings, no machine's metadata, and ids for cells
that have none. Running twice gives the same bytes, so a diff in a notebook is a diff in meaning.
A notebook that fails is left as it was.
"""

from __future__ import annotations

import json
import os
import sys
import time
import tomllib
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

ROOT = Path(__file__).resolve().parent.parent
BOOK = ROOT / "book"
TIMEOUT_S = 300
METADATA = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}
# The launch button opens a notebook on Colab, where everything it reads has to be brought first:
# the package, the stored results beside it, and the real model.
COLAB_ID = "colab-setup"
COLAB_CELL = """\
import sys

if "google.colab" in sys.modules:
    !git clone -q --depth 1 {url}
    %pip install -q "./llama_edu[{extras}]" safetensors
    %cd llama_edu/book
    !python -m llama_edu fetch smollm2-135m-instruct\
"""

EXTRAS = {"14_serve": "viz,serve"}  # of the package, where a notebook needs more than figures


def colab_source(path: Path) -> str:
    """The source of a notebook's set-up cell, with the project's address from pyproject.toml."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = EXTRAS.get(path.stem, "viz")
    return COLAB_CELL.format(url=project["urls"]["Repository"], extras=extras)


def load(path: Path) -> Any:
    """Read a notebook, with an id on every cell and the set-up cell after its title."""
    raw = json.loads(path.read_text(encoding="utf-8"))
    raw["nbformat"], raw["nbformat_minor"] = 4, 5
    raw["cells"] = [cell for cell in raw["cells"] if cell.get("id") != COLAB_ID]
    for number, cell in enumerate(raw["cells"]):
        cell.setdefault("id", f"cell-{number:03d}")
    setup = {
        "cell_type": "code",
        "id": COLAB_ID,
        "metadata": {"tags": ["remove-cell"]},
        "execution_count": None,
        "outputs": [],
        "source": colab_source(path),
    }
    raw["cells"].insert(1, setup)
    return nbformat.reads(json.dumps(raw), as_version=4)


def execute(notebook: Any, folder: Path) -> None:
    """Run every cell in place; `CellExecutionError` names the first one that fails."""
    client = NotebookClient(
        notebook,
        timeout=TIMEOUT_S,
        kernel_name="python3",
        record_timing=False,
        coalesce_streams=True,
        extra_arguments=["--log-level=ERROR"],  # it would warn of talking to itself over TCP
        resources={"metadata": {"path": str(folder)}},
    )
    client.execute()
    notebook.metadata = nbformat.from_dict(METADATA)
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)


def store(notebook: Any, path: Path) -> bool:
    """Write the notebook in one step; tell whether anything changed."""
    text = nbformat.writes(notebook, version=nbformat.NO_CONVERT) + "\n"
    if text == path.read_text(encoding="utf-8"):
        return False
    fresh = path.with_suffix(".ipynb.new")
    fresh.write_text(text, encoding="utf-8")
    fresh.replace(path)
    return True


def main(names: list[str]) -> int:
    """Execute the named notebooks, or all; the exit status tells whether every one ran."""
    os.environ["JUPYTER_PREFER_ENV_PATH"] = "1"  # the kernel of this environment, not of the user's
    for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "VECLIB_MAXIMUM_THREADS"):
        os.environ[variable] = "1"  # as in tools/check.py, so that the last digits agree
    # Kernels start in the notebook's folder; let them find this checkout, installed or not.
    paths = [str(ROOT), os.environ.get("PYTHONPATH", "")]
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, paths))
    failed = 0
    for path in [Path(name).resolve() for name in names] or sorted(BOOK.glob("*.ipynb")):
        start = time.perf_counter()
        notebook = load(path)
        try:
            execute(notebook, path.parent)
        except CellExecutionError as error:
            print(f"✗ {path.name}\n{error}", file=sys.stderr)
            failed += 1
            continue
        outcome = "stored" if store(notebook, path) else "unchanged"
        print(f"✓ {path.name}: {outcome} ({time.perf_counter() - start:.1f} s)", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:
        sys.exit(130)
