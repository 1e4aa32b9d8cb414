"""docs/architecture.md is true: its tree is real, its order the contract's, its files exist."""

from __future__ import annotations

import re
import subprocess
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "architecture.md").read_text("utf-8")
PACKAGE = ROOT / "llama_edu"


def drawn() -> dict[str, str]:
    """{path: what is said of it} of the tree, paths from the project's root."""
    found: dict[str, str] = {}
    above: list[str] = []
    for line in PAGE.split("```text\n")[1].split("```")[0].splitlines():
        match = re.fullmatch(r"( *)([\w.]+/?)(?: {2,}(.+))?", line)
        assert match, line
        indent, name, words = match.groups()
        above = [*above[: len(indent) // 2], name.rstrip("/")]
        found["/".join(above)] = words or ""
    return found


def folders(parent: Path, depth: int) -> set[str]:
    """The folders under one that hold something, down to a depth, as paths from the root."""
    found = set()
    for path in parent.iterdir() if depth else ():
        if path.is_dir() and not path.name.startswith((".", "__", "static")):
            found |= {path.relative_to(ROOT).as_posix()} | folders(path, depth - 1)
    return found


def test_the_tree_names_every_folder_and_no_other() -> None:
    below = {"llama_edu": 3, "tools": 1}
    made = {"_build", "student", "dist", "node_modules"}
    real = {path.name for path in ROOT.iterdir() if path.is_dir() and path.name[0] != "."} - made
    for folder, depth in below.items():
        real |= folders(ROOT / folder, depth)
    told = {  # of viz and models the line of the folder speaks
        path for path in real if not path.startswith(("llama_edu/viz/", "llama_edu/models/"))
    }
    tree = drawn()
    assert {path for path in tree if "." not in path} == told
    assert (ROOT / "llama_edu" / "errors.py").is_file()
    assert [path for path, words in tree.items() if not words] == ["llama_edu"]


def test_it_names_the_other_pages_of_its_folder() -> None:
    pages = {path.stem.replace("_", " ") for path in (ROOT / "docs").glob("*.md")}
    words = drawn()["docs"]
    assert {page for page in pages - {"architecture"} if page not in words} == set()


def test_the_order_is_the_contract() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    layers, *_ = settings["tool"]["importlinter"]["contracts"]
    contract = [set(re.findall(r"\w+", row)) for row in reversed(layers["layers"])]
    present = [
        {name for name in row if (PACKAGE / name).exists() or name == "errors"} for row in contract
    ]
    (order,) = re.findall(r"^errors → .*$", PAGE, re.MULTILINE)
    assert [set(step.split(", ")) for step in order.split(" → ")] == [row for row in present if row]


@pytest.mark.parametrize(
    "name", sorted({*re.findall(r"`((?:[a-z_]+/)+[a-z_.]+)`", PAGE), "_toc.yml"})
)
def test_every_file_it_names_is_there(name: str) -> None:
    assert (ROOT / name).exists() or (PACKAGE / name).exists()


@pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md"])
def test_it_is_found_from(name: str) -> None:
    assert "(docs/architecture.md)" in (ROOT / name).read_text("utf-8")


@pytest.mark.parametrize(
    "name", ["README.md", "CONTRIBUTING.md", "SECURITY.md", "docs/architecture.md"]
)
def test_what_a_page_names_exists(name: str) -> None:
    page = ROOT / name
    text = page.read_text("utf-8")
    for target in re.findall(r"\]\((?!https?:)([^)#]+)[^)]*\)", text):
        assert (page.parent / target).exists(), target
    for module in re.findall(r"python -m ((?:tools|llama_edu|benchmarks|training)[\w.]*)", text):
        path = ROOT / module.replace(".", "/")
        assert path.is_dir() or path.with_suffix(".py").is_file(), module
    for target in re.findall(r"[`$] ?make ([a-z]+)", text):
        assert f"\n{target}:" in (ROOT / "Makefile").read_text("utf-8"), target


PROSE = {".py", ".md", ".toml", ".yml", ".ipynb", ".sh", ".css", ".js", ".cff"}
A_PATH = re.compile(
    r"(?<![\w/.])(?:tests|tools|llama_edu|benchmarks|training|book|requirements|docs)/"
    r"[\w/.-]+\.(?:py|md|sh|toml|txt|json|npz|ipynb|css)\b"
)


def test_no_file_names_one_that_moved_away() -> None:
    listed = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True
    )
    if listed.returncode != 0:
        pytest.skip("not a checkout of git")
    gone = {
        f"{name}: {path}"
        for name in listed.stdout.splitlines()
        if Path(name).suffix in PROSE and (ROOT / name).is_file()
        for path in A_PATH.findall((ROOT / name).read_text("utf-8"))
        if not (ROOT / path).exists() and "NN_name" not in path
    }
    assert gone == set()
