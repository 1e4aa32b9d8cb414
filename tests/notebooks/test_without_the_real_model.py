"""Every chapter can be run where nothing was ever fetched: only cells that say so fail."""

from __future__ import annotations

import os
from pathlib import Path

import nbformat
import pytest

from tools.notebooks import execute as tool

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOKS = sorted((ROOT / "book").glob("*.ipynb"))
OPENS_IT = [path for path in NOTEBOOKS if tool.PRETRAINED in path.read_text("utf-8")]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_the_real_model_has_one_name(path: Path) -> None:
    for cell in nbformat.read(path, as_version=4).cells:
        if cell.cell_type == "code" and cell.id != tool.COLAB_ID:
            assert "smollm2" not in cell.source, "write PRETRAINED_MODEL"


@pytest.mark.parametrize("path", OPENS_IT, ids=lambda path: path.stem)
def test_run_all_goes_on_without_the_real_model(path: Path, monkeypatch) -> None:
    paths = [str(ROOT), os.environ.get("PYTHONPATH", "")]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, paths)))
    monkeypatch.setenv("JUPYTER_PREFER_ENV_PATH", "1")
    notebook = nbformat.read(path, as_version=4)
    tagged = [
        cell.id
        for cell in notebook.cells
        if {tool.NEEDS_IT, tool.MAY_FAIL} <= set(cell.metadata.get("tags", []))
    ]
    assert tagged
    assert tool.failing_without_pretrained(notebook, path.parent) == tagged
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert len(tagged) < len(code)
