"""docs/instructors.md: what it counts is counted, and what it prints is Python."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from llama_edu.classroom.models import shared_copy
from llama_edu.errors import InputError
from llama_edu.exercises import check
from llama_edu.formats.safetensors import open_checkpoint
from llama_edu.hub import locate

ROOT = Path(__file__).resolve().parents[2]
GUIDE = (ROOT / "docs" / "instructors.md").read_text("utf-8")
COURSES = re.findall(r"^\| (\w+) \| ([\d, ]+) \| (\d+) \|$", GUIDE, re.MULTILINE)


@pytest.mark.parametrize(("name", "chapters", "minutes"), COURSES)
def test_courses_take_as_long_as_the_guides_say(name, chapters, minutes):
    numbers = [int(number) for number in chapters.split(",")]
    stars = {1} if name in ("morning", "afternoon") else {1, 2}
    counted = [
        item.guide.minutes
        for item in check
        if item.exercise.chapter in numbers and item.exercise.stars in stars
    ]
    assert sum(counted) == int(minutes)


def test_there_is_a_day_and_a_week():
    assert [name for name, *_ in COURSES][:2] == ["morning", "afternoon"]
    assert len(COURSES) == 7


def test_what_is_printed_is_python():
    blocks = re.findall(r"```python\n(.*?)```", GUIDE, re.DOTALL)
    assert len(blocks) == 3
    for block in blocks:
        compile(block, "instructors.md", "exec")


def test_the_shared_copy_is_the_model_in_float32(tmp_path):
    copy = shared_copy(tmp_path, "chat")  # bfloat16, as the real one is
    before, after = open_checkpoint(locate("chat")), open_checkpoint(copy)
    assert set(after) == set(before)
    assert {str(after[name].dtype) for name in after} == {"float32"}
    assert all((after[name] == before[name]).all() for name in after)
    assert {p.name for p in copy.iterdir()} == {p.name for p in locate("chat").iterdir()}
    with pytest.raises(InputError, match=r"expected no .*chat yet"):
        shared_copy(tmp_path, "chat")
    as_it_is = shared_copy(tmp_path / "narrow", "chat", widen=False)
    assert {str(one.dtype) for one in open_checkpoint(as_it_is).values()} >= {"bfloat16"}
