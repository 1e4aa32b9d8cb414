"""Calls of tools in what a model writes: found in both formats, and nothing else taken for one."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llama_edu.serve.http.tool_calls import ToolCallReader

NAMES = ["weather", "clock"]
CALL = '{"name": "weather", "arguments": {"day": "today"}}'
LLAMA = '{"name": "weather", "parameters": {"day": "today"}}'
TODAY = ("weather", {"day": "today"})


def read(text, cuts=()):
    """What a reader makes of the text, cut at these places: shown text, and calls."""
    reader, shown, start = ToolCallReader(NAMES), "", 0
    for cut in [*sorted(cuts), len(text)]:
        shown += reader.push(text[start:cut])
        start = max(start, cut)
    rest, calls = reader.finish()
    return shown + rest, [(call.name, json.loads(call.arguments)) for call in calls]


@pytest.mark.parametrize(
    ("text", "shown", "calls"),
    [
        (f"<tool_call>\n{CALL}\n</tool_call>", "", [TODAY]),
        (f"<tool_call>{CALL}</tool_call>\n<tool_call>{CALL}</tool_call>", "", [TODAY, TODAY]),
        (f"Let me look.\n<tool_call>\n{CALL}\n</tool_call>", "Let me look.\n", [TODAY]),
        (f"<tool_call>\n{CALL}", "", [TODAY]),
        (LLAMA, "", [TODAY]),
        (f"<|python_tag|>{LLAMA}", "", [TODAY]),
        (f"{LLAMA}; {LLAMA}", "", [TODAY, TODAY]),
        (CALL, "", [TODAY]),
        ('{"name": "clock"}', "", [("clock", {})]),
        # What stands between calls may stand in them, too.
        ('{"name": "clock", "parameters": {"x": "a; b"}}', "", [("clock", {"x": "a; b"})]),
        (
            f'{LLAMA};{{"name": "clock", "parameters": {{"x": ";"}}}}',
            "",
            [TODAY, ("clock", {"x": ";"})],
        ),
        (
            '<tool_call>{"name": "clock", "arguments": {"x": "</tool_call>, <tool_call>"}}',
            "",
            [("clock", {"x": "</tool_call>, <tool_call>"})],
        ),
        (f"<tool_call>{CALL}</tool_call> and <tool_call>{CALL}</tool_call> so", "", [TODAY, TODAY]),
        ('  {"name": "clock", "arguments": {}}\n', "", [("clock", {})]),
    ],
)
def test_calls(text, shown, calls):
    assert read(text) == (shown, calls)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "It is sunny.",
        "{",
        '{"name": "nobody", "arguments": {}}',
        '{"title": "weather"}',
        "[1, 2]",
        "<tool_call>",
        "<tool_call>no JSON</tool_call>",
        f"<tool_call>{CALL}</tool_call><tool_call>no JSON</tool_call>",
        "<tool",
        f"As {CALL} shows",
        f"{CALL} {CALL} or so",
        f"<tool_call>{CALL} or so",
        "{" * 5000,
    ],
)
def test_what_is_no_call_is_text(text):
    assert read(text) == (text, [])


TEXTS = st.sampled_from(
    [
        CALL,
        LLAMA,
        f"<tool_call>\n{CALL}\n</tool_call>",
        f"Well. <tool_call>{CALL}</tool_call>",
        "a < b <tool <tool_call",
        "no call at all",
    ]
)


@given(TEXTS, st.lists(st.integers(0, 60), max_size=8))
def test_however_it_comes_it_is_read_alike(text, cuts):
    assert read(text, [min(cut, len(text)) for cut in cuts]) == read(text)


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=40))
def test_no_text_is_lost(text):
    assert read(text, range(len(text))) == (text, [])


def test_text_that_is_no_call_is_shown_as_it_comes():
    reader = ToolCallReader(NAMES)
    assert reader.push("It is ") == "It is "
    assert reader.push("sunny <to") == "sunny "
    assert reader.push("day>") == "<today>"
    assert reader.finish() == ("", [])


def test_arguments_that_are_a_text_are_taken_as_they_are():
    reader = ToolCallReader(NAMES)
    reader.push('{"name": "clock", "arguments": "{}"}')
    _, (call,) = reader.finish()
    assert call.body()["function"] == {"name": "clock", "arguments": "{}"}
    assert call.body()["id"].startswith("call_")
