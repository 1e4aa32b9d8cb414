"""Open a chapter as the launch buttons of its page do, in a fresh environment on this machine.

    python -m tools.notebooks.launch colab  02_text_to_ids --python python3.12
    python -m tools.notebooks.launch binder 02_text_to_ids --python python3.12

On Colab there is a Python with IPython, and the notebook alone: its first cell brings the rest. On
Binder, repo2docker makes an environment of what `.binder/` says, and the notebook lies in its
place. Both get the last commit of this checkout instead of the one on GitHub; packages and the
model come from the package index that `pip` uses here. Every cell runs, and none may fail, also of
those that need the real model.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

import nbformat

from tools.notebooks.execute import NEEDS_IT

ROOT = Path(__file__).resolve().parents[2]
BINDER = ROOT / ".binder"
ON_COLAB = 'import sys, types\nsys.modules["google.colab"] = types.ModuleType("google.colab")'
# The program runs in the fresh environment, which knows nothing of this package.
RUN = """
import sys, nbformat
from nbclient import NotebookClient
notebook = nbformat.read(sys.argv[1], as_version=4)
NotebookClient(notebook, timeout=900, kernel_name="python3").execute(cwd=sys.argv[2])
nbformat.write(notebook, sys.argv[1])
"""


def run(*command: str | Path, cwd: Path, env: dict[str, str]) -> None:
    """Run a command in the open; `SystemExit` if it fails."""
    print("$", *(str(part).split("\n")[0] or "…" for part in command), flush=True)
    status = subprocess.run(list(map(str, command)), cwd=cwd, env=env).returncode
    if status != 0:
        sys.exit(f"expected status 0, got {status}")


def fresh(folder: Path, python: str) -> tuple[Path, dict[str, str]]:
    """A new environment, and the variables under which `python` and `git clone` are those of it."""
    env = {name: text for name, text in os.environ.items() if not name.startswith("PYTHON")}
    subprocess.run([python, "-m", "venv", str(folder / "env")], check=True, env=env)
    programs = folder / "env" / ("Scripts" if os.name == "nt" else "bin")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    env |= {
        "PATH": f"{programs}{os.pathsep}{env['PATH']}",
        "HOME": str(folder),  # no kernel, configuration or model of whoever sits here
        "LLAMA_EDU_PROGRESS": "off",
        # `git clone` of the address on GitHub gets this checkout.
        "GIT_CONFIG_COUNT": "1",
        "GIT_CONFIG_KEY_0": f"url.{ROOT.as_uri()}.insteadOf",
        "GIT_CONFIG_VALUE_0": project["urls"]["Repository"],
    }
    return programs / "python", env


def strict(path: Path) -> nbformat.NotebookNode:
    """A notebook that stops at the first error, also where the model might not be there."""
    notebook = nbformat.read(path, as_version=4)
    for cell in notebook.cells:
        if NEEDS_IT in cell.metadata.get("tags", []):
            cell.metadata["tags"] = []
    return notebook


def colab(chapter: str, python: str, folder: Path) -> None:
    """The notebook alone in an empty folder; its first cell brings the project."""
    program, env = fresh(folder, python)
    run(program, "-m", "pip", "install", "-q", "ipykernel", "nbclient", cwd=folder, env=env)
    content = folder / "content"
    content.mkdir()
    notebook = strict(ROOT / "book" / f"{chapter}.ipynb")
    notebook.cells.insert(0, nbformat.v4.new_code_cell(ON_COLAB))
    nbformat.write(notebook, folder / "opened.ipynb")
    run(program, "-c", RUN, folder / "opened.ipynb", content, cwd=folder, env=env)
    if not (content / "llama_edu" / "book").is_dir():
        sys.exit(f"expected the first cell to clone the project into {content}, got nothing")


def binder(chapter: str, python: str, folder: Path) -> None:
    """What repo2docker does with `.binder/`: requirements, then `postBuild` in the repository."""
    program, env = fresh(folder, python)
    said = subprocess.run([program, "-V"], capture_output=True, text=True, check=True).stdout
    wanted = (BINDER / "runtime.txt").read_text("utf-8").strip().removeprefix("python-")
    if not said.startswith(f"Python {wanted}."):
        sys.exit(f"expected Python {wanted}, as .binder/runtime.txt says, got {said.strip()}")
    home = folder / "home"
    run("git", "clone", "-q", "--depth", "1", ROOT.as_uri(), home, cwd=folder, env=env)
    pins = ".binder/requirements.txt"
    run(program, "-m", "pip", "install", "-q", "-r", pins, cwd=home, env=env)
    run("bash", ".binder/postBuild", cwd=home, env=env)
    run(program, "-m", "jupyterlab", "--version", cwd=home, env=env)  # the button asks for it
    opened = home / "book" / f"{chapter}.ipynb"
    nbformat.write(strict(opened), opened)
    run(program, "-c", RUN, opened, home / "book", cwd=home, env=env)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description="Open a chapter as a launch button does.")
    parser.add_argument("where", choices=("colab", "binder"))
    parser.add_argument("chapter", help="the name of its file, 02_text_to_ids for one")
    parser.add_argument("--python", default=sys.executable, help="of the version used there")
    chosen = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix=f"{chosen.where}-"))
    try:
        {"colab": colab, "binder": binder}[chosen.where](chosen.chapter, chosen.python, folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    print(f"✓ {chosen.chapter} ran from top to bottom as on {chosen.where.title()}")


if __name__ == "__main__":
    main()
