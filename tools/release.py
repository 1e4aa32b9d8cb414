"""Build what a release consists of, and try it as a user would.

    python -m tools.release build          dist/: the wheel and the sdist
    python -m tools.release smoke          install each alone in a fresh environment, and use it
    python -m tools.release tag v0.1.0     refuse a tag that is not the version in dist/

Uses the standard library alone; `pip` brings the rest.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
DIST = ROOT / "dist"

# Reads both models, answers through the command line and through the package, as its README says.
TRY = """
import llama_edu, sys
from importlib.metadata import version
from llama_edu import ChatSession, Llama, Tokenizer, generate
assert "site-packages" in llama_edu.__file__, llama_edu.__file__
assert llama_edu.__version__ == version("llama_edu")
model, tokenizer = Llama.from_pretrained("story"), Tokenizer.from_pretrained("story")
ids = list(generate(model, tokenizer.encode("Once upon a time"), max_new_tokens=8))
assert len(ids) == 8, ids
chat = ChatSession(Llama.from_pretrained("chat"), Tokenizer.from_pretrained("chat"))
assert "".join(chat.send("Hello!")).strip()
assert not {"matplotlib", "fastapi", "numba"} & set(sys.modules)
print(llama_edu.__version__)
"""


def new_environment(folder: Path) -> str:
    """The Python of a fresh environment with pip in it."""
    venv.create(folder, with_pip=True)
    return str(folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python"))


def run(*command: str, cwd: Path = ROOT) -> str:
    """Run a command, show its errors, and return what it wrote; an exit status ends the program."""
    print("$", " ".join(command)[:100], flush=True)
    done = subprocess.run(command, cwd=cwd, stdout=subprocess.PIPE, text=True)
    if done.returncode != 0:
        sys.exit(f"{done.stdout}\nThis ended with status {done.returncode}.")
    return done.stdout


def build() -> None:
    """The sdist, and the wheel made from it."""
    shutil.rmtree(DIST, ignore_errors=True)
    with tempfile.TemporaryDirectory() as folder:
        python = new_environment(Path(folder))
        run(python, "-m", "pip", "install", "--quiet", "build")
        run(python, "-m", "build", "--outdir", str(DIST), str(ROOT))
    for path in built():
        print(f"{path.name}: {path.stat().st_size / 1e6:.1f} MB")


def built() -> list[Path]:
    """The wheel and the sdist, which must both be there."""
    found = sorted([*DIST.glob("*.whl"), *DIST.glob("*.tar.gz")])
    if len(found) != 2:
        sys.exit(f"expected a wheel and an sdist in {DIST}, got {[path.name for path in found]}")
    return found


def smoke() -> None:
    """Each file installed alone, far from the checkout, does what the README says."""
    for path in built():
        with tempfile.TemporaryDirectory() as folder:
            away = Path(folder)
            python = new_environment(away / "venv")
            run(python, "-m", "pip", "install", "--quiet", str(path))
            version = run(python, "-W", "error", "-c", TRY, cwd=away).strip()
            story = ("generate", "story", "Once upon a time", "--max-new-tokens", "8")
            assert run(python, "-m", "llama_edu", *story, cwd=away).strip()
        print(f"✓ {path.name}: {version}")


def check_tag(tag: str) -> None:
    """A tag v1.2.3 must name the version of both files."""
    wrong = [path.name for path in built() if f"llama_edu-{tag.removeprefix('v')}" not in path.name]
    if wrong or not tag.startswith("v"):
        sys.exit(f"expected the tag of the version that was built, got {tag} for {wrong}")


def main(arguments: list[str]) -> None:
    """The command line."""
    match arguments:
        case ["build"]:
            build()
        case ["smoke"]:
            smoke()
        case ["tag", tag]:
            check_tag(tag)
        case _:
            sys.exit(__doc__)


if __name__ == "__main__":
    main(sys.argv[1:])
