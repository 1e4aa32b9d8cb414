"""A learner's progress: one small file, never in the way, and a list that says what is next."""

import json
import re
from collections import Counter
from html import escape

import pytest

from llama_edu.errors import InputError
from llama_edu.exercises import check
from llama_edu.exercises.framework import progress
from llama_edu.exercises.framework.guide import STARS
from llama_edu.exercises.framework.report import page, report

EXERCISES = [item.exercise for item in check]


pytestmark = pytest.mark.usefixtures("own_progress")


def test_nothing_is_solved_at_first():
    lines = list(report())
    assert lines[0] == f"0 of {len(EXERCISES)} exercises solved"
    assert lines[-2] == f"next: check.{EXERCISES[0].name}, Chapter 1, Your turn"
    assert lines[-1] == f"kept in {progress.path()}"
    per_chapter = Counter(exercise.chapter for exercise in EXERCISES)
    for chapter, count in per_chapter.items():
        assert f"Chapter {chapter}: 0 of {count}" in lines
    assert not any("✓" in line for line in lines)


def test_what_is_solved_is_marked_and_the_first_left_is_next():
    done = [EXERCISES[0], EXERCISES[1], EXERCISES[-1]]
    for exercise in done:
        progress.record(exercise.name)
    progress.record("an exercise of another day")
    lines = list(report())
    assert lines[0] == f"3 of {len(EXERCISES)} exercises solved"
    assert lines[-2] == f"next: check.{EXERCISES[2].name}, Chapter 1, Your turn"
    for exercise in EXERCISES:
        mark = "✓" if exercise in done else "·"
        assert f"  {mark} {STARS[exercise.stars]:3}  {exercise.name}" in lines
    in_first = [exercise for exercise in EXERCISES if exercise.chapter == 1]
    assert f"Chapter 1: 2 of {len(in_first)}" in lines
    order = [line.split()[-1] for line in lines if line.startswith("  ")]
    assert order == [exercise.name for exercise in sorted(EXERCISES, key=lambda e: e.chapter)]


def test_when_all_is_solved_nothing_is_next():
    for exercise in EXERCISES:
        progress.record(exercise.name)
    lines = list(report())
    assert lines[0] == f"{len(EXERCISES)} of {len(EXERCISES)} exercises solved"
    assert lines[-2] == "All solved. Well done!"
    assert not any("·" in line for line in lines)


def test_stars_are_stars():
    assert STARS == {1: "★", 2: "★★", 3: "★★★"}


def test_the_list_is_kept_sorted_and_each_name_once():
    for name in ("b", "a", "b"):
        progress.record(name)
    assert json.loads(progress.path().read_text("utf-8")) == ["a", "b"]
    assert progress.solved() == {"a", "b"}
    assert [path.name for path in progress.path().parent.iterdir()] == ["progress.json"]
    before = progress.path().stat().st_mtime_ns
    progress.record("a")  # known: nothing is written
    assert progress.path().stat().st_mtime_ns == before


@pytest.mark.parametrize("content", ["", "{", "3", '{"a": 1}', "[1, [], null]"])
def test_a_damaged_list_is_an_empty_one(content):
    progress.path().parent.mkdir(parents=True)
    progress.path().write_text(content, "utf-8")
    assert progress.solved() == set()
    progress.record("a")
    assert progress.solved() == {"a"}


def test_names_among_other_things_are_kept():
    progress.path().parent.mkdir(parents=True)
    progress.path().write_text('["a", 1]', "utf-8")
    assert progress.solved() == {"a"}


def test_it_can_be_turned_off_and_moved(tmp_path, monkeypatch):
    monkeypatch.setenv("LLAMA_EDU_PROGRESS", "off")
    progress.record("a")
    assert not progress.path().exists()
    monkeypatch.setenv("LLAMA_EDU_PROGRESS", "on")
    monkeypatch.setenv("LLAMA_EDU_HOME", "~/elsewhere")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert progress.path() == tmp_path / "elsewhere" / "progress.json"
    monkeypatch.delenv("LLAMA_EDU_HOME")
    assert progress.path().name == "progress.json"
    assert progress.path().parent.name == "llama_edu"
    assert not progress.path().is_relative_to(tmp_path / "elsewhere")


def test_a_folder_that_cannot_be_written_never_stands_in_the_way(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("", "utf-8")
    monkeypatch.setenv("LLAMA_EDU_HOME", str(tmp_path / "file"))
    progress.record("a")
    assert progress.solved() == set()
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_what_is_solved_moves_to_another_machine(tmp_path, monkeypatch):
    known = {exercise.name for exercise in EXERCISES}
    for name in (EXERCISES[0].name, EXERCISES[3].name, "an exercise of another day"):
        progress.record(name)
    carried = progress.exported()
    monkeypatch.setenv("LLAMA_EDU_HOME", str(tmp_path / "another" / "machine"))
    progress.record(EXERCISES[1].name)
    new, unknown = progress.imported(carried, known)
    assert new == sorted([EXERCISES[0].name, EXERCISES[3].name])
    assert unknown == ["an exercise of another day"]
    assert progress.solved() == {EXERCISES[i].name for i in (0, 1, 3)}
    assert progress.imported(carried, known) == ([], unknown)  # a second time adds nothing
    assert [entry.name for entry in progress.path().parent.iterdir()] == ["progress.json"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "got no JSON"),
        ("{", "got no JSON"),
        ("[]", "got 'list'"),
        ("{}", "got None"),
        ('{"format": "llama_edu progress 2", "solved": []}', "got 'llama_edu progress 2'"),
        ('{"format": "llama_edu progress 1"}', "expected a list of names"),
        ('{"format": "llama_edu progress 1", "solved": [1]}', "expected a list of names"),
    ],
)
def test_what_is_no_export_is_refused_and_changes_nothing(text, said):
    progress.record("a")
    with pytest.raises(InputError, match=re.escape(said)):
        progress.imported(text, {"a", "b"})
    assert progress.solved() == {"a"}


def test_an_import_that_cannot_be_kept_says_so(tmp_path, monkeypatch):
    progress.record("a")
    carried = progress.exported()
    (tmp_path / "file").write_text("", "utf-8")
    monkeypatch.setenv("LLAMA_EDU_HOME", str(tmp_path / "file"))
    with pytest.raises(OSError, match="file"):
        progress.imported(carried, {"a"})


def test_the_page_says_what_the_terminal_says():
    for exercise in (EXERCISES[0], EXERCISES[-1]):
        progress.record(exercise.name)
    html = page()
    lines = list(report())
    assert lines[0] in html
    assert lines[-2] in html
    for line in lines:
        if line.startswith("Chapter "):
            assert f"<h2>{line}<progress" in html
    done = {EXERCISES[0], EXERCISES[-1]}
    for chapter in {exercise.chapter for exercise in EXERCISES}:
        of_it = [exercise for exercise in EXERCISES if exercise.chapter == chapter]
        count = sum(exercise in done for exercise in of_it)
        said = f"{count} of {len(of_it)}"
        bar = f"<progress value='{count}' max='{len(of_it)}' aria-label='chapter {chapter}'>"
        assert f"<h2>Chapter {chapter}: {said}{bar}{said}</progress></h2><ul><li>" in html
    for exercise in EXERCISES:
        mark, word = ("✓", "solved") if exercise in done else ("·", "open")
        assert (
            f"<li><span role='img' aria-label='{word}'>{mark}</span> {STARS[exercise.stars]} "
            f"<code>{exercise.name}</code>: {escape(exercise.task)}</li>"
        ) in html
    assert any("&" in escape(exercise.task) for exercise in EXERCISES)
    assert html.count("aria-label='solved'") == 2
    assert html.count("aria-label='open'") == len(EXERCISES) - 2
    assert "src=" not in html
    assert "http" not in html
