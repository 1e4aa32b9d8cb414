"""Running the book's own notebooks credits nobody, and neither do the book's own functions."""

import json
import linecache
import math
import types
from pathlib import Path

import numpy as np
import pytest

from llama_edu.exercises import check
from llama_edu.exercises.framework import progress
from llama_edu.exercises.framework.printed import (
    LIST,
    MARK,
    fingerprint,
    is_one_statement,
    is_printed,
    is_the_books,
)
from llama_edu.formats.precision import DTYPES
from llama_edu.hub import locate
from tools.notebooks.printed_solutions import printed_solutions

ROOT = Path(__file__).resolve().parents[2]


pytestmark = pytest.mark.usefixtures("own_progress")


def test_the_list_is_that_of_the_notebooks():
    assert LIST.read_text("utf-8") == printed_solutions(), "run `make notebooks`"
    assert set(json.loads(LIST.read_text("utf-8"))) == {item.exercise.name for item in check}


def merge_pair_copied(pieces, pair):
    merged, i = [], 0
    while i < len(pieces):
        is_pair = tuple(pieces[i : i + 2]) == pair
        merged.append(b"".join(pieces[i : i + 1 + is_pair]))
        i += 1 + is_pair
    return merged


def test_a_solution_that_is_printed_is_right_and_not_credited(monkeypatch, tmp_path):
    listed = tmp_path / "printed.json"
    monkeypatch.setattr("llama_edu.exercises.framework.printed.LIST", listed)
    source = (
        "def merge_pair_copied"
        + Path(__file__).read_text("utf-8").split("def merge_pair_copied", 1)[1].split("\n\n\n")[0]
    )
    listed.write_text(json.dumps({"merge_pair": source}), "utf-8")
    assert check.merge_pair(merge_pair_copied).ok
    assert progress.solved() == set()
    listed.write_text(json.dumps({"merge_pair": source.replace("1", "2")}), "utf-8")
    assert check.merge_pair(merge_pair_copied).ok
    assert progress.solved() == {"merge_pair"}


def test_the_printed_check_of_a_file_trusts_the_books_own_models():
    chapter = json.loads((ROOT / "book" / "01_read_raw_bytes.ipynb").read_text("utf-8"))
    (source,) = [
        "".join(cell["source"])
        for cell in chapter["cells"]
        if "".join(cell["source"]).startswith("def check_file_mine")
    ]
    space = {"json": json, "math": math, "DTYPES": DTYPES}
    exec(source, space)
    printed = space["check_file_mine"]
    assert check.check_file(printed)
    files = [path for name in ("story", "chat") for path in locate(name).glob("*.safetensors")]
    assert len(files) >= 2
    for path in files:
        data = path.read_bytes()
        for judge in (printed, *check.check_file.exercise.correct):
            judge(data)
            with pytest.raises(ValueError, match=r"\w"):
                judge(data[:-1])


def test_blanks_make_no_other_solution():
    assert fingerprint("def f(x):\n    return x\n") == fingerprint("def f( x ):\n\treturn x")
    assert fingerprint("def f(x):\n    return x\n") == fingerprint("def f(x):\n  # x\n  return x\n")
    assert fingerprint("def f(x):\n    return x\n") != fingerprint("def f(x):\n    return y\n")
    assert fingerprint("half(lambda x: x,") != fingerprint("half(lambda x: y,")


def typed(source, name):
    """A function as a notebook's cell defines it: its source is kept by the cell."""
    linecache.cache[name] = (len(source), None, source.splitlines(keepends=True), name)
    space = {"np": np}
    exec(compile(source, name, "exec"), space)
    return next(value for key, value in space.items() if key.endswith("_mine"))


ONE_WAY = [
    name for name, source in json.loads(LIST.read_text("utf-8")).items() if is_one_statement(source)
]


@pytest.mark.parametrize("name", ONE_WAY)
def test_one_statement_is_the_readers_own_unless_it_stands_in_the_books_cell(name, monkeypatch):
    source = json.loads(LIST.read_text("utf-8"))[name]
    assert getattr(check, name)(typed(source, "<a cell of the reader's>")).ok
    assert progress.solved() == {name}
    progress.path().unlink()
    (cell,) = [
        "".join(cell["source"])
        for path in (ROOT / "book").glob("[0-9]*.ipynb")
        for cell in json.loads(path.read_text("utf-8"))["cells"]
        if "solution" in cell["metadata"].get("tags", []) and source in "".join(cell["source"])
    ]
    assert cell == f"{MARK}\n{source}"
    assert getattr(check, name)(typed(cell, "<a cell of the book's>")).ok
    assert progress.solved() == set()


def test_more_than_one_statement_is_the_books_wherever_it_stands():
    assert set(ONE_WAY) == {"clean", "gated", "group_scores", "header_length", "last_logits"}
    assert not is_one_statement('def f(x):\n    """Two."""\n    y = x\n    return y')
    assert is_one_statement('def f(x):\n    """One."""\n    return x')
    assert not is_one_statement("def f(x):\n    x\n    return x")
    assert is_one_statement('def f(x):\n    """One."""\n    x = "text"')
    assert not is_one_statement("f = 3")
    source = json.loads(LIST.read_text("utf-8"))["angles"]
    assert check.angles(typed(source, "<another cell>")).ok
    assert progress.solved() == set()


def test_what_a_function_could_call_is_the_books_only_if_it_can():
    def other(x):
        return x

    def without_value(x):
        return later(x)

    assert not is_the_books(without_value, (other,))  # a variable that has no value yet
    nothing = None
    assert not is_the_books(lambda x: nothing, (other,))

    def later(x):
        return x

    assert is_the_books(without_value, (later,))
    assert not is_the_books(without_value, (other,))
    assert not is_the_books(without_value)
    assert is_the_books(lambda x, one=other: one(x), (other,))
    assert is_the_books(lambda x, *, one=other: one(x), (later, other))
    assert not is_the_books(lambda x, one=3: one, (other,))
    assert is_the_books(lambda x: x.exercise.correct)
    assert not is_the_books(lambda x: x.correct)
    assert not is_the_books(lambda x: x.exercise)


@pytest.mark.parametrize("module", ["llama_edu_mine", "my.llama_edu", None])
def test_a_module_of_another_name_is_not_the_books(module):
    def answer(x):
        return x

    answer.__module__ = module
    assert not is_the_books(answer)
    answer.__module__ = "llama_edu.ops"
    assert is_the_books(answer)


def test_what_has_no_source_is_not_printed():
    space = {}
    exec("def mine(x):\n    return x\n", space)
    assert not is_printed("merge_pair", space["mine"])
    assert not is_printed("merge_pair", len)


@pytest.mark.parametrize("name", ["merge_pair", "check_file"])
def test_the_books_own_function_is_no_answer(name):
    item = getattr(check, name)
    for answer in item.exercise.correct:
        assert is_the_books(answer)
        verdict = item(answer)
        assert not verdict
        assert verdict.message == f"{name}: that is the book's own function. Now write yours."
    assert progress.solved() == set()
    assert "this is what you get" in item(item.broken).message
    assert not is_the_books(merge_pair_copied)
    assert not is_the_books(len)


def test_an_attribute_of_the_same_name_is_not_the_books():
    kept = check.merge_pair.exercise.correct[0]
    source = "def merge_pair_mine(*args):\n    return mine.kept(*args)\n"
    space = {"kept": kept, "mine": types.SimpleNamespace(kept=merge_pair_copied)}
    exec(source, space)
    assert check.merge_pair(space["merge_pair_mine"]).ok
    exec(source.replace("mine.kept", "kept"), space)
    assert not check.merge_pair(space["merge_pair_mine"])


@pytest.mark.parametrize("name", ["merge_pair", "angles"])
def test_who_only_calls_the_books_answer_has_not_written_one(name):
    item = getattr(check, name)
    kept = item.exercise.correct[0]
    answers = (
        lambda *args: kept(*args),
        lambda *args, kept=kept: kept(*args),
        lambda *args: getattr(check, name).exercise.correct[0](*args),
    )
    for answer in answers:
        assert "that is the book's own function" in item(answer).message
    assert progress.solved() == set()
