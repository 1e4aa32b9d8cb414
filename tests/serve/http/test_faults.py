"""What is wrong with a request, in words: one fault, by its field, and what was expected."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from llama_edu.serve.http.api_errors import from_validation
from llama_edu.serve.http.requests import (
    ChatRequest,
    CompletionRequest,
    DetokenizeRequest,
    TemplateRequest,
    TokenizeRequest,
)

SAID = {"role": "user", "content": "x"}
STOPS = "a text of 1 to 256 characters, or up to 16 of them"
PROMPTS = "a text, token ids, or a list of either"
ROLES = "'system', 'developer', 'user', 'assistant', 'tool' or 'function'"
CALL = {"function": {"name": "a", "arguments": "{}"}}
LONG = "y" * 77


def fault(kind: Any, fields: dict[str, Any]) -> tuple[str, str | None, str]:
    """Code, param and message of the answer to a body."""
    with pytest.raises(ValidationError) as seen:
        kind.model_validate(fields)
    errors: list[Any] = seen.value.errors()
    answer = from_validation([one | {"loc": ("body", *one["loc"])} for one in errors])
    return answer.code, answer.param, answer.message


def tool(**fields: Any) -> dict[str, Any]:
    return {"tools": [{"type": "function", "function": {"name": "a"} | fields}]}


def part(**fields: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": [fields]}]}


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"echo": 1}, "echo: expected true or false, got 1"),
        ({"logit_bias": []}, "logit_bias: expected an object, got []"),
        ({"logit_bias": {"5": 101}}, "logit_bias.5: expected at most 100, got 101"),
        ({"logit_bias": {"5": "a"}}, "logit_bias.5: expected a number, got 'a'"),
        ({"logit_bias": {"x": 1}}, "logit_bias: expected token ids, got 'x'"),
        ({"logit_bias": {"--5": 1}}, "logit_bias: expected token ids, got '--5'"),
        ({"logit_bias": {"12345678901": 1}}, "logit_bias: expected token ids, got '12345678901'"),
        ({"temperature": "a"}, "temperature: expected a number, got 'a'"),
        ({"temperature": 2.5}, "temperature: expected at most 2, got 2.5"),
        ({"temperature": float("nan")}, "temperature: expected a finite number, got nan"),
        ({"frequency_penalty": -2.5}, "frequency_penalty: expected at least -2, got -2.5"),
        ({"frequency_penalty": 2.5}, "frequency_penalty: expected at most 2, got 2.5"),
        (
            {"presence_penalty": float("inf")},
            "presence_penalty: expected a finite number, got inf",
        ),
        ({"repetition_penalty": 0}, "repetition_penalty: expected more than 0, got 0"),
        ({"max_tokens": 1.5}, "max_tokens: expected a whole number, got 1.5"),
        ({"max_tokens": "5"}, "max_tokens: expected a whole number, got '5'"),
        ({"seed": 2**63}, f"seed: expected at most {2**63 - 1}, got {2**63}"),
        ({"seed": -(2**63) - 1}, f"seed: expected at least {-(2**63)}, got {-(2**63) - 1}"),
        ({"stop": [""]}, f"stop: expected {STOPS}, got ['']"),
        ({"stop": 5}, f"stop: expected {STOPS}, got 5"),
        ({"prompt": None}, f"prompt: expected {PROMPTS}, got None"),
        ({"prompt": []}, f"prompt: expected {PROMPTS}, got []"),
        ({"prompt": [[-1]]}, f"prompt: expected {PROMPTS}, got [[-1]]"),
        ({"prompt": ["x", []]}, f"prompt: expected {PROMPTS}, got ['x', []]"),
        ({"guided_choice": "a"}, "guided_choice: expected a list, got 'a'"),
        ({"guided_choice": [""]}, "guided_choice.0: expected at least 1 character, got ''"),
        ({"guided_choice": [1]}, "guided_choice.0: expected a text, got 1"),
        ({"guided_regex": 5}, "guided_regex: expected a text, got 5"),
        ({"response_format": 5}, "response_format: expected an object, got 5"),
        ({"response_format": {}}, "expected response_format.type, got none"),
        (
            {"response_format": {"type": "xml"}},
            "response_format.type: expected 'text', 'json_object' or 'json_schema', got 'xml'",
        ),
        (
            {"response_format": {"type": "json_schema"}},
            "response_format: expected json_schema with a schema, got none",
        ),
        (
            {"stream_options": {"include_usage": 1}},
            "stream_options.include_usage: expected true or false, got 1",
        ),
        (
            {"stream_options": {"include_usage": True}},
            "stream_options: expected stream to be true beside it, got false",
        ),
        (
            {"prompt_logprobs": 0, "stream": True},
            "prompt_logprobs: expected stream to be false beside it, got true",
        ),
        ({"json_schema": "no schema"}, "json_schema: expected a schema, got 'no schema'"),
        (
            {"guided_json": "[" * 9000},
            f"json_schema: expected a schema, got {'[' * 80!r}",
        ),
        (
            {"guided_regex": "a", "grammar": "b"},
            "grammar: expected one rule for the text, got another by guided_regex",
        ),
        (
            {"n_predict": 2, "max_tokens": 3},
            "max_tokens: expected the value of n_predict, another name of it, got 3 and 2",
        ),
        (
            {"n_predict": 2, "max_tokens": 2.0},
            "max_tokens: expected the value of n_predict, another name of it, got 2.0 and 2",
        ),
        (
            {"grammar": "a" * 50, "guided_grammar": "b" * 50},
            "grammar: expected the value of guided_grammar, another name of it, "
            f"got '{'a' * 39} and '{'b' * 39}",
        ),
        # Of what is long, the beginning.
        ({"temperature": f"{LONG}y"}, f"temperature: expected a number, got '{LONG}y'"),
        ({"temperature": f"{LONG}yy"}, f"temperature: expected a number, got '{LONG}y…"),
        (
            {"logit_bias": {"x" * 500: 101}},
            ("logit_bias." + "x" * 500)[:400],
        ),
    ],
)
def test_what_a_completion_cannot_have(fields: dict[str, Any], message: str) -> None:
    param = message.removeprefix("expected ").partition(":")[0].partition(".")[0]
    assert fault(CompletionRequest, {"prompt": "x"} | fields) == ("invalid_value", param, message)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"messages": []}, "messages: expected at least 1 item, got []"),
        ({"messages": {}}, "messages: expected a list, got {}"),
        ({"messages": [5]}, "messages.0: expected an object, got 5"),
        ({"messages": [{"content": "x"}]}, "expected messages.0.role, got none"),
        ({"messages": [SAID, {"role": "user"}]}, "expected messages.1.content, got none"),
        (
            {"messages": [{"role": "user", "content": None}]},
            "messages: expected content, got none",
        ),
        (
            {"messages": [{"role": "user", "content": 5}]},
            "messages.0.content: expected a text or a list of parts, got 5",
        ),
        (
            {"messages": [SAID, SAID | {"role": "x"}]},
            f"messages.1.role: expected {ROLES}, got 'x'",
        ),
        ({"messages": [SAID | {"audio": 1}]}, "messages.0.audio: expected null, got 1"),
        (
            {"messages": [SAID | {"annotations": [1]}]},
            "messages.0.annotations: expected at most 0 items, got [1]",
        ),
        (
            {"messages": [SAID | {"tool_calls": [{"function": {"name": "a"}}]}]},
            "expected messages.0.tool_calls.0.function.arguments, got none",
        ),
        (
            {"messages": [SAID | {"tool_calls": [CALL | {"type": "x"}]}]},
            "messages.0.tool_calls.0.type: expected 'function', got 'x'",
        ),
        (part(type="text"), "messages: expected text in a part of type 'text', got none"),
        (
            part(type="text", text=5),
            "messages.0.content: expected a text or a list of parts, got "
            "[{'type': 'text', 'text': 5}]",
        ),
        (tool(name=""), "tools.0.function.name: expected at least 1 character, got ''"),
        (
            tool(name="a b"),
            "tools.0.function.name: expected a text that matches ^[a-zA-Z0-9_.-]+$, got 'a b'",
        ),
        (
            tool(name="a" * 65),
            f"tools.0.function.name: expected at most 64 characters, got '{'a' * 65}'",
        ),
        ({"tools": [{"type": "function"}]}, "expected tools.0.function, got none"),
        ({"tool_choice": "any"}, "tool_choice: expected 'none', 'auto' or 'required', got 'any'"),
        (
            {"tool_choice": "required"},
            "tool_choice: expected tools beside 'required', got none",
        ),
        (
            tool() | {"tool_choice": {"type": "function", "function": {"name": "b" * 99}}},
            f"tool_choice: expected one of the tools ['a'], got {'b' * 80!r}",
        ),
        (
            tool() | {"tool_choice": "required", "guided_choice": ["a"]},
            "guided_choice: expected text where a tool must be called, got choice",
        ),
        (
            tool() | {"tool_choice": "required", "json_schema": {"type": "object"}},
            "json_schema: expected text where a tool must be called, got JSON",
        ),
        ({"top_logprobs": 21}, "top_logprobs: expected at most 20, got 21"),
        (
            {"top_logprobs": 1},
            "top_logprobs: expected logprobs to be true beside it, got false",
        ),
        (
            {"max_tokens": 1, "max_completion_tokens": 2},
            "max_tokens: expected the value of max_completion_tokens, its newer name, got 1 and 2",
        ),
        (
            {"add_generation_prompt": True, "continue_final_message": True},
            "continue_final_message: expected one of it and add_generation_prompt, got both",
        ),
    ],
)
def test_what_a_chat_cannot_have(fields: dict[str, Any], message: str) -> None:
    param = message.removeprefix("expected ").partition(":")[0].partition(".")[0]
    asked = {"messages": [SAID]} | fields
    assert fault(ChatRequest, asked) == ("invalid_value", param, message)


@pytest.mark.parametrize(
    ("kind", "fields", "told"),
    [
        (
            CompletionRequest,
            {"prompt": "x", "nothing": 1},
            ("unknown_parameter", "nothing", "expected a known field, got 'nothing'"),
        ),
        (
            CompletionRequest,
            {"prompt": "x", "n" * 90: 1},
            ("unknown_parameter", "n" * 80, f"expected a known field, got {'n' * 80!r}"),
        ),
        (
            CompletionRequest,
            {"prompt": "x", "stream_options": {"include_usages": True}},
            (
                "unknown_parameter",
                "stream_options",
                "stream_options: expected a known field, got 'include_usages'; "
                "did you mean 'include_usage'?",
            ),
        ),
        (
            ChatRequest,
            part(type="text", text="x", texts="y"),
            (
                "unknown_parameter",
                "messages",
                "messages.0.content.0: expected a known field, got 'texts'; did you mean 'text'?",
            ),
        ),
        (
            CompletionRequest,
            {"prompt": "x", "best_of": 3, "n": 2},
            (
                "not_supported",
                "best_of",
                "best_of is not supported here: expected n, which is 2, got 3",
            ),
        ),
        (
            CompletionRequest,
            {"prompt": "x", "best_of": 2},
            (
                "not_supported",
                "best_of",
                "best_of is not supported here: expected n, which is 1, got 2",
            ),
        ),
        (
            CompletionRequest,
            {"prompt": "x", "mirostat": 2},
            (
                "not_supported",
                "mirostat",
                "mirostat is not supported here: expected nothing or 0, got 2",
            ),
        ),
        (
            CompletionRequest,
            {"prompt": "x", "template": f"{LONG}y"},
            (
                "not_supported",
                "template",
                f"template is not supported here: expected nothing or '', got '{LONG}y'",
            ),
        ),
        (
            CompletionRequest,
            {"prompt": "x", "template": f"{LONG}yy"},
            (
                "not_supported",
                "template",
                f"template is not supported here: expected nothing or '', got '{LONG}y…",
            ),
        ),
        (
            ChatRequest,
            part(type="i" * 90),
            (
                "not_supported",
                "messages",
                f"messages: a part of type {'i' * 80!r} is not supported here: "
                f"expected 'text', got {'i' * 80!r}",
            ),
        ),
        (
            ChatRequest,
            {"messages": [SAID], "tools": [{"type": "w" * 90}]},
            (
                "not_supported",
                "tools",
                f"tools: a tool of type {'w' * 80!r} is not supported here: "
                f"expected 'function', got {'w' * 80!r}",
            ),
        ),
        (CompletionRequest, {}, ("invalid_value", "prompt", "expected prompt, got none")),
        (
            DetokenizeRequest,
            {"tokens": [-1]},
            ("invalid_value", "tokens", "tokens.0: expected at least 0, got -1"),
        ),
        (
            TokenizeRequest,
            {},
            (
                "invalid_value",
                "content",
                "content: expected it, or prompt, or messages, got none",
            ),
        ),
        (
            TokenizeRequest,
            {"content": "a", "messages": [SAID]},
            (
                "invalid_value",
                "content",
                "content: expected it, or prompt, or messages, got content and messages",
            ),
        ),
        (
            TemplateRequest,
            {"messages": [SAID], "mirostat": 1},
            (
                "not_supported",
                "mirostat",
                "mirostat is not supported here: expected nothing or 0, got 1",
            ),
        ),
    ],
)
def test_what_is_told_besides(kind: Any, fields: dict[str, Any], told: tuple[str, ...]) -> None:
    assert fault(kind, fields) == told


def test_a_body_that_is_no_object_has_no_field() -> None:
    """As FastAPI reports it, whose errors begin with where a value was looked for."""
    for error, told in (
        (
            {"type": "model_attributes_type", "loc": ("body",), "msg": "-", "input": [1]},
            ("invalid_value", None, "body: expected an object, got [1]"),
        ),
        (
            {"type": "missing", "loc": ("body",), "msg": "-", "input": None},
            ("invalid_value", None, "expected a body, got none"),
        ),
        (
            {"type": "json_invalid", "loc": ("body", 0), "msg": "-", "ctx": {"error": "less"}},
            ("invalid_json", None, "expected JSON, got less"),
        ),
    ):
        answer = from_validation([error])
        assert (answer.code, answer.param, answer.message) == told
