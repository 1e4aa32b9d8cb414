"""What a chat template gets of a request, by a template that writes down all it was given."""

from __future__ import annotations

import json
from typing import Any

import pytest
from starlette.testclient import TestClient
from tiny_served import write_tiny

from llama_edu.serve.grammar import Grammars
from llama_edu.serve.http.app import create_app
from llama_edu.serve.http.served import LARGE_CHARS, Serving, load
from llama_edu.serve.threads import BlasThreads

WRITES_ALL = (
    '{"messages": {{ messages | tojson }}, "tools": {{ tools | default(none) | tojson }}, '
    '"mood": {{ mood | default(none) | tojson }}, '
    '"asks": {{ add_generation_prompt | tojson }}}'
)
CALL = {"id": "1", "type": "function", "function": {"name": "clock", "arguments": '{"of": 2}'}}
CLOCK = {"type": "function", "function": {"name": "clock", "description": "The time"}}
HI = {"role": "user", "content": "Hi"}


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Any:
    directory = write_tiny(
        tmp_path_factory.mktemp("templates") / "tiny", chat_template=WRITES_ALL, context=1000
    )
    serving = Serving(load([str(directory)]), BlasThreads(1))
    with TestClient(create_app(serving), base_url="http://localhost") as opened:
        opened.serving = serving  # type: ignore[attr-defined]
        yield opened


def given(client: TestClient, *messages: Any, **fields: Any) -> dict[str, Any]:
    answer = client.post("/apply-template", json={"messages": list(messages)} | fields)
    assert answer.status_code == 200, answer.text
    content: dict[str, Any] = json.loads(answer.json()["prompt"])
    return content


@pytest.mark.parametrize(
    ("message", "seen"),
    [
        (HI, HI),
        ({"role": "developer", "content": "Be kind."}, {"role": "system", "content": "Be kind."}),
        (
            {"role": "function", "name": "clock", "content": "noon"},
            {"role": "tool", "name": "clock", "content": "noon"},
        ),
        (
            {"role": "tool", "tool_call_id": "1", "content": "noon"},
            {"role": "tool", "tool_call_id": "1", "content": "noon"},
        ),
        (
            {"role": "user", "content": [{"type": "text", "text": t} for t in ("a", "b")]},
            {"role": "user", "content": "ab"},
        ),
        (
            {"role": "assistant", "content": [{"type": "refusal", "refusal": "No."}]},
            {"role": "assistant", "content": "No."},
        ),
        (
            {"role": "assistant", "content": None, "tool_calls": [CALL]},
            {
                "role": "assistant",
                "content": "",
                "tool_calls": [
                    {
                        "id": "1",
                        "type": "function",
                        "function": {"name": "clock", "arguments": {"of": 2}},
                    }
                ],
            },
        ),
        (
            {
                "role": "assistant",
                "tool_calls": [{"function": {"name": "a", "arguments": {"b": 1}}}],
            },
            {
                "role": "assistant",
                "content": "",
                "tool_calls": [
                    {
                        "id": None,
                        "type": "function",
                        "function": {"name": "a", "arguments": {"b": 1}},
                    }
                ],
            },
        ),
        (
            {
                "role": "assistant",
                "content": "x",
                "tool_calls": [CALL | {"function": {"name": "a", "arguments": "no JSON"}}],
            },
            {
                "role": "assistant",
                "content": "x",
                "tool_calls": [
                    {
                        "id": "1",
                        "type": "function",
                        "function": {"name": "a", "arguments": "no JSON"},
                    }
                ],
            },
        ),
        (
            {"role": "assistant", "content": "x", "reasoning": "so", "tool_calls": []},
            {
                "role": "assistant",
                "content": "x",
                "reasoning_content": "so",
                "thinking": "so",  # some templates' name for it
            },
        ),
        (
            {"role": "assistant", "content": "x", "refusal": None, "annotations": []},
            {"role": "assistant", "content": "x"},
        ),
    ],
)
def test_a_message_as_a_template_sees_it(
    client: TestClient, message: dict[str, Any], seen: dict[str, Any]
) -> None:
    assert given(client, message, HI)["messages"] == [seen, HI]


def test_arguments_too_deep_to_read_are_a_text(client: TestClient) -> None:
    deep = "[" * 100_000
    call = {"function": {"name": "a", "arguments": deep}}
    (said, _) = given(client, {"role": "assistant", "tool_calls": [call]}, HI)["messages"]
    assert said["tool_calls"][0]["function"]["arguments"] == deep


def test_what_it_gets_besides(client: TestClient) -> None:
    plain = given(client, HI)
    assert (plain["tools"], plain["mood"], plain["asks"]) == (None, None, True)
    assert given(client, HI, tools=[])["tools"] is None
    assert given(client, HI, tools=[CLOCK])["tools"] == [CLOCK]
    more = {"chat_template_kwargs": {"mood": {"is": "good"}}}
    assert given(client, HI, **more)["mood"] == {"is": "good"}
    assert given(client, HI, add_generation_prompt=False)["asks"] is False


@pytest.mark.parametrize(
    ("fields", "goes_on"),
    [
        ({}, True),
        ({"add_generation_prompt": False}, True),
        ({"add_generation_prompt": True}, False),
        ({"continue_final_message": False}, False),
        ({"continue_final_message": True}, True),
    ],
)
def test_a_reply_that_has_begun_goes_on_unless_one_says_no(
    site: Any, fields: dict[str, Any], goes_on: bool
) -> None:
    talk = [HI, {"role": "assistant", "content": "Well"}]
    body = {"model": "tiny", "messages": talk} | fields
    prompt = site.http.post("/apply-template", json=body).json()["prompt"]
    assert prompt.endswith("Well") is goes_on
    assert prompt.endswith("<|im_start|>assistant\n") is not goes_on
    ids = site.http.post("/tokenize", json=body).json()["tokens"]
    back = site.http.post("/detokenize", json={"model": "tiny", "tokens": ids}).json()
    assert back["content"] == prompt


def test_a_chat_is_asked_by_what_the_template_writes_tools_included(client: TestClient) -> None:
    asked = {"messages": [HI], "max_tokens": 1, "temperature": 0}
    plain = client.post("/tokenize", json={"messages": [HI]}).json()["count"]
    said = {"tools": [CLOCK]}
    for more, count in (
        ({}, plain),
        (said, len(client.post("/tokenize", json={"content": "x"}).json()["tokens"])),
        (said | {"tool_choice": "none"}, plain),
    ):
        usage = client.post("/v1/chat/completions", json=asked | more).json()["usage"]
        if more == said:
            assert usage["prompt_tokens"] > plain + count
        else:
            assert usage["prompt_tokens"] == count


def test_which_schema_a_forced_call_follows(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Any] = []
    made = Grammars.json

    def watched(self: Grammars, schema: Any) -> Any:
        seen.append(schema)
        return made(self, schema)

    monkeypatch.setattr(Grammars, "json", watched)
    day = {
        "type": "object",
        "properties": {"day": {"$ref": "#/$defs/Day"}},
        "$defs": {"Day": {"enum": ["now"]}},
        "definitions": {"Old": {}},
    }
    weather = {"type": "function", "function": {"name": "weather", "parameters": day}}

    def call(name: str, arguments: Any) -> dict[str, Any]:
        return {
            "type": "object",
            "properties": {"name": {"const": name}, "arguments": arguments},
            "required": ["name", "arguments"],
            "additionalProperties": False,
        }

    tools = {"messages": [HI], "max_tokens": 1, "tools": [CLOCK, weather]}
    named = {"type": "function", "function": {"name": "weather"}}
    for choice in ("required", named, {"type": "function", "function": {"name": "clock"}}):
        client.post("/v1/chat/completions", json=tools | {"tool_choice": choice})
    definitions = {"$defs": day["$defs"], "definitions": day["definitions"]}
    assert seen == [
        {"anyOf": [call("clock", {"type": "object"}), call("weather", day)]} | definitions,
        call("weather", day) | definitions,
        call("clock", {"type": "object"}),
    ]


def test_large_texts_have_a_thread_of_their_own(
    client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    import threading

    served, seen = client.serving.models["tiny"], []

    def watched(*_: Any, **__: Any) -> list[int]:
        seen.append(threading.current_thread().name)
        return [5]

    monkeypatch.setattr(served.tokenizer, "encode", watched)
    for length in (LARGE_CHARS - 1, LARGE_CHARS):
        client.post("/tokenize", json={"content": "x" * length})
    monkeypatch.setattr(served.template, "encode", watched)
    for count in (100, 1000):  # short messages are work for the template, too
        client.post("/tokenize", json={"messages": [HI] * count})
    sizes = [name.removeprefix("llama_edu ").partition("_")[0] for name in seen]
    assert sizes == ["small", "large", "small", "large"]
