"""Run notebooks from top to bottom in a fresh kernel and store their outputs in place.

    python -m tools.notebooks.execute                        every notebook under book/
    python -m tools.notebooks.execute book/01_read_raw_bytes.ipynb

What is written depends on the cells alone: no timings, no machine's metadata, and ids for cells
that have none. Running twice gives the same bytes, so a diff in a notebook is a diff in meaning.
A notebook that fails is left as it was.

A chapter that opens the real model is run a second time as if that had never been fetched. The
cells that fail then are tagged, so that "Run all" on a machine without it goes on to the end.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
import tomllib
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

ROOT = Path(__file__).resolve().parents[2]
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
# @title On Colab, run this first
import sys

if "google.colab" in sys.modules:
    !git clone -q --depth 1 {url}
    %pip install -q "./llama_edu[{extras}]" safetensors
    %cd llama_edu/book\
"""
COLAB_FETCH = "\n    !python -m llama_edu fetch smollm2-135m-instruct"
PRETRAINED = "PRETRAINED_MODEL"  # how a cell names the real model
NEEDS_IT = "pretrained"  # the tag of cells that fail without it
MAY_FAIL = "raises-exception"  # the tag by which Jupyter goes on after an error

HIDDEN_SOURCE = ("hide-input", "hide-cell", "remove-input", "remove-cell")
HIDDEN_OUTPUTS = ("hide-output", "hide-cell")

EXTRAS = {  # of the package, where a notebook needs more than figures
    "14_serve": "viz,serve,json",
    "17_split_by_kv_groups": "viz,parallel",
}


def colab_source(path: Path) -> str:
    """The source of a notebook's set-up cell, with the project's address from pyproject.toml."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = EXTRAS.get(path.stem, "viz")
    source = COLAB_CELL.format(url=project["urls"]["Repository"], extras=extras)
    return source + COLAB_FETCH if PRETRAINED in path.read_text(encoding="utf-8") else source


def load(path: Path) -> Any:
    """Read a notebook, with an id on every cell and the set-up cell after its title."""
    raw = json.loads(path.read_text(encoding="utf-8"))
    raw["nbformat"], raw["nbformat_minor"] = 4, 5
    raw["cells"] = [cell for cell in raw["cells"] if cell.get("id") != COLAB_ID]
    for number, cell in enumerate(raw["cells"]):
        cell.setdefault("id", f"cell-{number:03d}")
    setup: dict[str, Any] = {
        "cell_type": "code",
        "id": COLAB_ID,
        "metadata": {"tags": ["remove-cell"]},
        "execution_count": None,
        "outputs": [],
        "source": colab_source(path),
    }
    raw["cells"].insert(1, setup)
    for cell in raw["cells"]:
        if cell["cell_type"] == "code":
            fold(cell["metadata"])
    return nbformat.reads(json.dumps(raw), as_version=4)


def fold(metadata: dict[str, Any]) -> None:
    """Fold in an editor what the pages fold or leave out, by a cell's tags.

    JupyterLab reads `jupyter`, Colab `cellView`; neither looks at the tags of Jupyter Book.
    """
    tags = set(metadata.get("tags", []))
    hidden = {
        "source_hidden": not tags.isdisjoint(HIDDEN_SOURCE),
        "outputs_hidden": not tags.isdisjoint(HIDDEN_OUTPUTS),
    }
    for key in ("jupyter", "cellView"):
        metadata.pop(key, None)
    if any(hidden.values()):
        metadata["jupyter"] = {key: True for key, is_hidden in hidden.items() if is_hidden}
    if hidden["source_hidden"]:
        metadata["cellView"] = "form"


def execute(notebook: Any, folder: Path, *, to_the_end: bool = False) -> None:
    """Run every cell in place; `CellExecutionError` names the first one that fails.

    With `to_the_end` no error stops it.
    """
    client = NotebookClient(
        notebook,
        timeout=TIMEOUT_S,
        kernel_name="python3",
        record_timing=False,
        coalesce_streams=True,
        allow_errors=to_the_end,
        extra_arguments=["--log-level=ERROR"],  # it would warn of talking to itself over TCP
        resources={"metadata": {"path": str(folder)}},
    )
    client.execute()
    notebook.metadata = nbformat.from_dict(METADATA)
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)


def set_tags(cell: Any, wanted: bool, *names: str) -> None:
    """Put tags on a cell, or take them off."""
    tags = [tag for tag in cell.metadata.get("tags", []) if tag not in names]
    tags += names if wanted else ()
    cell.metadata.pop("tags", None)
    if tags:
        cell.metadata["tags"] = tags


def failing_without_pretrained(notebook: Any, folder: Path) -> list[str]:
    """The ids of cells that fail where the real model was never fetched, and only there."""
    copy = nbformat.reads(nbformat.writes(notebook), as_version=4)
    before = os.environ.get("LLAMA_EDU_HOME")
    with tempfile.TemporaryDirectory() as nothing:
        os.environ["LLAMA_EDU_HOME"] = nothing
        try:
            execute(copy, folder, to_the_end=True)
        finally:
            del os.environ["LLAMA_EDU_HOME"]
            if before is not None:
                os.environ["LLAMA_EDU_HOME"] = before
    return [
        cell.id
        for was, cell in zip(notebook.cells, copy.cells, strict=True)
        if _has_error(cell) and not _has_error(was)
    ]


def _has_error(cell: Any) -> bool:
    return any(output.output_type == "error" for output in cell.get("outputs", []))


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
    os.environ["LLAMA_EDU_PROGRESS"] = "off"  # the book's own notebooks are no reader's answers
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
        for cell in notebook.cells:
            if NEEDS_IT in cell.metadata.get("tags", []):
                set_tags(cell, False, NEEDS_IT, MAY_FAIL)  # here an error would be one
        try:
            execute(notebook, path.parent)
            if PRETRAINED in path.read_text(encoding="utf-8"):
                needy = failing_without_pretrained(notebook, path.parent)
                for cell in notebook.cells:
                    if cell.id in needy:
                        set_tags(cell, True, NEEDS_IT, MAY_FAIL)
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
