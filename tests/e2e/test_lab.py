"""A chapter in JupyterLab, where `make lab` leads: it reads there as it does in the book."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from pages import PATIENCE_MS, ROOT
from playwright.sync_api import Browser, expect

CHAPTER = "05_mask_and_softmax.ipynb"


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[str]:
    """Address of a JupyterLab of our own, with one chapter in it."""
    folder, runtime = tmp_path / "book", tmp_path / "runtime"
    folder.mkdir()
    shutil.copy(ROOT / "book" / CHAPTER, folder)
    # The module, not the script `jupyter-lab`: that names its interpreter by a path, and an
    # environment that was moved has it no longer.
    command = [sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root"]
    command += ["--ServerApp.port=0", f"--ServerApp.root_dir={folder}"]
    command += ["--IdentityProvider.token=", "--LabApp.news_url=None"]
    env = os.environ | {
        "JUPYTER_RUNTIME_DIR": str(runtime),
        "JUPYTER_CONFIG_DIR": str(tmp_path / "config"),
        "JUPYTERLAB_WORKSPACES_DIR": str(tmp_path / "workspaces"),
    }
    with (
        (tmp_path / "log").open("w", encoding="utf-8") as log,
        subprocess.Popen(command, env=env, stdout=log, stderr=subprocess.STDOUT) as server,
    ):
        try:
            yield _address(runtime, server, tmp_path / "log")
        finally:
            server.terminate()
            server.wait(PATIENCE_MS / 1000)


def _address(runtime: Path, server: subprocess.Popen[bytes], log: Path) -> str:
    end = time.monotonic() + PATIENCE_MS / 1000
    while time.monotonic() < end and server.poll() is None:
        for path in runtime.glob("jpserver-*.json"):
            text = path.read_text("utf-8")
            if text.endswith("}"):  # it may still be written
                return str(json.loads(text)["url"]).replace("localhost", "127.0.0.1")
        time.sleep(0.1)
    pytest.fail(f"JupyterLab did not start (status {server.poll()}): {log.read_text('utf-8')}")


def test_a_chapter_reads_in_jupyterlab_as_in_the_book(lab: str, browser: Browser) -> None:
    source = json.loads((ROOT / "book" / CHAPTER).read_text("utf-8"))
    text = "".join("".join(c["source"]) for c in source["cells"] if c["cell_type"] == "markdown")
    assert '<summary class="admonition-title">Answer' in text
    page = browser.new_page(viewport={"width": 1200, "height": 3000})
    page.set_default_timeout(PATIENCE_MS)
    try:
        page.goto(f"{lab}lab/tree/{CHAPTER}?reset")
        notebook = page.locator(".jp-Notebook")
        expect(notebook.get_by_role("heading", name="Guess first")).to_be_visible(
            timeout=PATIENCE_MS
        )
        answers = notebook.locator("details", has_text="Answer")
        expect(answers.first).to_be_visible(timeout=PATIENCE_MS)
        assert not answers.first.evaluate("element => element.open")
        # What a viewer without the form shows instead: its marks, and the answers with them.
        assert ":::" not in notebook.inner_text()
    finally:
        page.close()
