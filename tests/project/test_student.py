"""A learner's copies: stubs where solutions were, nothing given away, nothing overwritten."""

from __future__ import annotations

import ast
import contextlib
import gc
import io
import re
from pathlib import Path

import nbformat
import pytest

from llama_edu.chapters import CHAPTER_FILES
from llama_edu.exercises import check
from tools.notebooks import student
from tools.notebooks.execute import COLAB_ID

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOKS = sorted((ROOT / "book").glob("[0-9]*.ipynb"))


def code(notebook: nbformat.NotebookNode) -> list[nbformat.NotebookNode]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_copy_gives_no_answer_away(path: Path) -> None:
    original = nbformat.read(path, as_version=4)
    copy = student.student_copy(original)
    assert len(copy.cells) == len(original.cells)
    for before, after in zip(code(original), code(copy), strict=True):
        assert after.outputs == []
        if re.search(r"^check\.", after.source, re.MULTILINE):
            assert not after.metadata.get("jupyter", {}).get("outputs_hidden"), "what a check says"
        assert after.execution_count is None
        if "solution" not in before.metadata.get("tags", []):
            assert after.source == before.source
            continue
        assert "hide-cell" not in after.metadata.tags
        assert not {"jupyter", "cellView"} & set(after.metadata), "a stub must not be folded away"
        was, now = (ast.parse(cell.source).body for cell in (before, after))
        functions = [node for node in was if isinstance(node, ast.FunctionDef)]
        assert [ast.unparse(f.args) for f in functions] == [ast.unparse(f.args) for f in now]
        assert [f.name for f in functions] == [f.name for f in now]
        assert all(ast.unparse(f.body) == student.REFUSAL.replace('"', "'") for f in now)


def test_every_exercise_of_the_book_has_a_stub() -> None:
    stubs = "\n".join(
        cell.source
        for path in NOTEBOOKS
        for cell in code(student.student_copy(nbformat.read(path, as_version=4)))
        if student.REFUSAL in cell.source
    )
    missing = [c.exercise.name for c in check if f"def {c.exercise.name}_mine(" not in stubs]
    assert missing == []


def cell(source: str, *tags: str) -> nbformat.NotebookNode:
    return nbformat.v4.new_code_cell(source, metadata={"tags": list(tags)})


def test_what_needs_a_solution_may_fail_and_nothing_else() -> None:
    notebook = nbformat.v4.new_notebook()
    notebook.cells = [
        cell("%pip install x\nstart = 1"),
        cell("def double_mine(x):\n    return 2 * x", "solution"),
        cell("check.double(double_mine)"),
        cell("twice = double_mine(start)", "hide-output"),
        cell("print(twice)"),
        cell("def show():\n    return twice"),
        cell("show()"),
        cell("print(start)"),
        cell("other = start\nprint(other)", "raises-exception"),
    ]
    tags = [c.metadata.get("tags", []) for c in student.student_copy(notebook).cells]
    may = "raises-exception"
    assert tags == [[], [], [], ["hide-output", may], [may], [may], [may], [], [may]]


def test_run_all_goes_on_behind_every_stub() -> None:
    """The chapters on products and on serving use a solution outside its check."""
    found = {
        path.stem[:2]
        for path in NOTEBOOKS
        for before, after in zip(
            code(nbformat.read(path, as_version=4)),
            code(student.student_copy(nbformat.read(path, as_version=4))),
            strict=True,
        )
        if student.MAY_FAIL
        in set(after.metadata.get("tags", [])) - set(before.metadata.get("tags", []))
    }
    assert {CHAPTER_FILES[topic][:2] for topic in ("linear", "serve")} <= found


def run_all(notebook: nbformat.NotebookNode) -> list[str]:
    """Run the cells as "Run All" does; the errors of cells that may not fail."""
    space: dict[str, object] = {"__name__": "__main__"}
    errors = []
    for number, one in enumerate(code(notebook)):
        if one.id == COLAB_ID:
            continue
        try:
            with contextlib.redirect_stdout(io.StringIO()):
                exec(compile(one.source, f"cell {number}", "exec"), space)
        except Exception as error:
            if student.MAY_FAIL not in one.metadata.get("tags", []):
                errors.append(f"{one.source}\n{type(error).__name__}: {error}")
    return errors


@pytest.mark.filterwarnings("ignore")  # a kernel prints them, and goes on
@pytest.mark.parametrize("topic", ["bytes", "score_v"])
def test_a_copy_runs_from_top_to_bottom(topic: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two chapters run, the quick ones; the others are looked at below."""
    pytest.importorskip("matplotlib").use("agg")
    path = ROOT / "book" / f"{CHAPTER_FILES[topic]}.ipynb"
    monkeypatch.chdir(path.parent)
    copy = student.student_copy(nbformat.read(path, as_version=4))
    assert [one for one in code(copy) if student.REFUSAL in one.source]
    assert run_all(copy) == []
    gc.collect()  # what a chapter left open is closed here, and not in another test


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_no_cell_stops_at_a_stub(path: Path) -> None:
    """A stub is named in a check, which judges it, or in a cell that may fail; so is what needs it.

    The cells are read here as text, name by name, and not as `made_and_used` reads them.
    """
    lost: set[str] = set()
    for one in code(student.student_copy(nbformat.read(path, as_version=4))):
        tags = one.metadata.get("tags", [])
        if student.REFUSAL in one.source:
            lost |= set(re.findall(r"^def (\w+)\(", one.source, re.MULTILINE))
            continue
        rest = re.sub(r"\bcheck\.\w+\(\w+\)", "", one.source)
        needs = lost & set(re.findall(r"\w+", rest))
        if needs:
            assert student.MAY_FAIL in tags, f"{sorted(needs)} in a cell that may not fail: {rest}"
            lost |= set(re.findall(r"^(?:def )?(\w+)(?:\(.*\):$| = )", one.source, re.MULTILINE))


def test_a_stub_is_told_so_by_the_check() -> None:
    exercise = next(iter(check))
    space: dict[str, object] = {}
    exec(student.stub(f"def {exercise.exercise.name}_mine(*args):\n    return 1\n"), space)
    verdict = exercise(space[f"{exercise.exercise.name}_mine"])
    assert "got NotImplementedError: your turn" in verdict.message


def test_a_solution_without_a_function_is_refused() -> None:
    with pytest.raises(ValueError, match="expected a solution that defines a function"):
        student.stub("answer = 42")


def test_a_one_line_solution_keeps_its_arguments() -> None:
    assert student.stub("def f(a, b): return a") == f"def f(a, b):\n    {student.REFUSAL}"


def test_work_is_never_overwritten(tmp_path: Path) -> None:
    original = nbformat.read(NOTEBOOKS[1], as_version=4)
    path = tmp_path / "copy.ipynb"
    assert student.write(original, path)
    assert student.write(original, path)  # untouched, so made anew
    worked = nbformat.read(path, as_version=4)
    worked.cells[-1].source += "\nmine"
    nbformat.write(worked, path)
    before = path.read_bytes()
    assert not student.write(original, path)
    assert path.read_bytes() == before
