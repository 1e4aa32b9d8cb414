"""Calls of tools in what a model writes: found in both formats, and nothing else taken for one."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llama_edu.serve.http.tool_calls import OPENING, ToolCallReader
from llama_edu.serve.output import open_end

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
    ("texts", "shown"),
    [
        # What may be a call is waited for to its end; what cannot is shown at once.
        (["<", "tool", "_x"], ["", "", "<tool_x"]),
        ([" \n", "<|python", "_tag|>", "x"], ["", "", "", ""]),
        (["{", "}"], ["", ""]),
        (["\n", "x", "{"], ["", "\nx", "{"]),
        (["a <tool_call", ">", "b"], ["a ", "", ""]),
        (["a <tool_call", "x"], ["a ", "<tool_callx"]),
        (["a<", "<", "b"], ["a", "<", "<b"]),
    ],
)
def test_what_is_shown_when(texts, shown):
    reader = ToolCallReader(NAMES)
    assert [reader.push(text) for text in texts] == shown


@pytest.mark.parametrize(
    ("arguments", "written"),
    [
        ('{"day": "heute, 20 Uhr"}', '{"day": "heute, 20 Uhr"}'),
        ("[]", "[]"),
        ('"as it is"', "as it is"),
        ("null", "null"),
    ],
)
def test_arguments_are_json_as_they_were_meant(arguments, written):
    for key in ("arguments", "parameters"):
        reader = ToolCallReader(NAMES)
        reader.push(f'{{"name": "clock", "{key}": {arguments}}}')
        rest, (call,) = reader.finish()
        assert (rest, call.arguments) == ("", written)
        body = call.body()
        assert (body["type"], body["function"]) == (
            "function",
            {"name": "clock", "arguments": written},
        )
        kind, _, number = body["id"].partition("_")
        assert (kind, len(bytes.fromhex(number))) == ("call", 12)


@pytest.mark.parametrize(
    ("text", "before"),
    [
        (f"<tool_call>{CALL}</tool_call>", ""),
        (f"\n <tool_call>{CALL}</tool_call>", ""),
        (f"a <tool_call>{CALL}</tool_call>", "a "),
        (f"{LLAMA};{LLAMA};", ""),
        (f"{LLAMA} ;\n {LLAMA} ", ""),
        (f"<|python_tag|> {LLAMA}", ""),
        (f"<tool_call>{CALL}<tool_call>{CALL}", ""),
        (f"<tool_call>{CALL} </tool_call> <tool_call> {CALL}", ""),
    ],
)
def test_what_stands_around_calls(text, before):
    assert read(text)[0] == before
    assert read(text)[1] == [TODAY] * text.count("weather")


@pytest.mark.parametrize(
    "text",
    [
        "",
        f"{CALL};{CALL} or so",
        f"{CALL};;{CALL}",
        f"<tool_call>{CALL};{CALL}</tool_call>",
        f"{CALL}</tool_call>",
        '[{"name": "weather"}]',
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
        '{"a":' * 50_000,
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


@given(st.text("<tol_ca>x", max_size=24))
def test_nothing_is_held_back_but_what_may_open_a_call(text):
    reader = ToolCallReader(NAMES)
    shown = reader.push("x")
    for number, letter in enumerate(text, 1):
        shown += reader.push(letter)
        so_far = "x" + text[:number]
        at = so_far.find(OPENING)
        at = at if at >= 0 else len(so_far) - open_end(so_far, (OPENING,))
        assert shown == so_far[:at]


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
