"""What a request may say: however much of it is wrong, a few faults are told."""

import pytest
from pydantic import ValidationError

from llama_edu.engine.sampling import Sampling
from llama_edu.serve.http.requests import (
    MAX_MESSAGES,
    ChatRequest,
    CompletionRequest,
    MessageIn,
    Rule,
    TokenizeRequest,
)

SAID = {"role": "user", "content": "x"}
MANY = {str(number): 1 for number in range(10_000)}


@pytest.mark.parametrize(
    ("kind", "fields"),
    [
        (ChatRequest, {"messages": [{}] * 10_000}),
        (ChatRequest, {"messages": [{"role": "user", "content": [{}] * 10_000}]}),
        (ChatRequest, {"messages": [SAID | MANY]}),
        (ChatRequest, {"messages": [SAID] * (MAX_MESSAGES + 1)}),
        (ChatRequest, {"messages": [SAID], "tools": [1] * 10_000}),
        (CompletionRequest, {"prompt": [-1] * 10_000}),
        (CompletionRequest, {"prompt": [[-1] * 10_000] * 2}),
        (CompletionRequest, {"prompt": [1] * 10_000 + ["x"]}),
        (CompletionRequest, {"prompt": "x", "stop": [1] * 10_000}),
        (CompletionRequest, {"prompt": "x", "logit_bias": MANY}),
        (CompletionRequest, {"prompt": "x"} | MANY),
    ],
)
def test_a_few_faults_are_told(kind, fields):
    with pytest.raises(ValidationError) as seen:
        kind.model_validate({"model": "tiny"} | fields)
    assert 1 <= seen.value.error_count() <= 6


def test_the_first_unknown_field_is_the_one_that_is_named():
    with pytest.raises(ValidationError) as seen:
        CompletionRequest.model_validate({"model": "tiny", "prompt": "x", "b": 1, "a": 2})
    assert [error["ctx"]["field"] for error in seen.value.errors()] == ["b"]


def test_a_long_conversation_is_none_of_them():
    assert ChatRequest.model_validate({"model": "tiny", "messages": [SAID] * MAX_MESSAGES})


# What it means


def completion(**fields):
    return CompletionRequest.model_validate({"prompt": "x"} | fields)


def chat(**fields):
    return ChatRequest.model_validate({"messages": [SAID]} | fields)


@pytest.mark.parametrize(
    ("fields", "changes"),
    [
        # OpenAI's defaults: temperature 1, top_p 1, no penalty; vLLM's: no top_k, no min_p.
        ({}, {}),
        ({"temperature": 0}, {"temperature": 0.0}),
        ({"temperature": 2}, {"temperature": 2.0}),
        ({"top_p": 0, "temperature": 1.5}, {"temperature": 0.0}),
        ({"top_p": 0.25}, {"top_p": 0.25}),
        ({"top_p": 1}, {}),
        ({"top_k": -1}, {}),
        ({"top_k": 0}, {}),
        ({"top_k": 1}, {"top_k": 1}),
        ({"min_p": 1}, {"min_p": 1.0}),
        ({"min_p": 0}, {}),
        ({"repetition_penalty": 10}, {"repetition_penalty": 10.0}),
        ({"repeat_penalty": 0.5}, {"repetition_penalty": 0.5}),
        ({"presence_penalty": -2}, {"presence_penalty": -2.0}),
        ({"presence_penalty": 0}, {}),
        ({"frequency_penalty": 2}, {"frequency_penalty": 2.0}),
        ({"logit_bias": {"5": -100, "7": 0.5}}, {"logit_bias": ((5, -100.0), (7, 0.5))}),
        ({"logit_bias": {}}, {}),
    ],
)
def test_how_to_choose(fields, changes):
    plain = {"temperature": 1.0, "top_k": 0, "top_p": 1.0, "min_p": 0.0, "repetition_penalty": 1.0}
    for asked in (completion(**fields), chat(**fields)):
        assert asked.sampling() == Sampling(**plain | changes)


OPEN = {"type": "object"}
SCHEMA = {"type": "integer"}


@pytest.mark.parametrize(
    ("fields", "rule"),
    [
        ({}, None),
        ({"response_format": {"type": "text"}}, None),
        ({"response_format": {"type": "text", "schema": SCHEMA}}, None),
        ({"response_format": {"type": "json_object"}}, ("json", OPEN, "response_format")),
        (
            {"response_format": {"type": "json_object", "schema": SCHEMA}},
            ("json", SCHEMA, "response_format"),
        ),
        (
            {"response_format": {"type": "json_schema", "json_schema": {"schema": SCHEMA}}},
            ("json", SCHEMA, "response_format"),
        ),
        (
            {"response_format": {"type": "json_schema", "json_schema": {"schema": True}}},
            ("json", True, "response_format"),
        ),
        (
            {"response_format": {"type": "json_object", "json_schema": {"name": "a"}}},
            ("json", OPEN, "response_format"),
        ),
        ({"json_schema": SCHEMA}, ("json", SCHEMA, "json_schema")),
        ({"guided_json": SCHEMA}, ("json", SCHEMA, "json_schema")),
        ({"format": SCHEMA}, ("json", SCHEMA, "json_schema")),
        ({"format": "json"}, ("json", OPEN, "json_schema")),
        ({"format": ""}, None),
        ({"json_schema": {}}, None),
        ({"guided_json": '{"type": "integer"}'}, ("json", SCHEMA, "json_schema")),
        ({"structured_outputs": {"json": SCHEMA}}, ("json", SCHEMA, "structured_outputs")),
        (
            {"structured_outputs": {"json": '{"type": "integer"}'}},
            ("json", SCHEMA, "structured_outputs"),
        ),
        ({"structured_outputs": {"json_object": True}}, ("json", OPEN, "structured_outputs")),
        ({"structured_outputs": {"json_object": False}}, None),
        ({"structured_outputs": {}}, None),
        ({"guided_regex": "a"}, ("regex", "a", "guided_regex")),
        ({"guided_regex": ""}, None),
        ({"structured_outputs": {"regex": "a"}}, ("regex", "a", "structured_outputs")),
        ({"guided_choice": ["a"]}, ("choice", ["a"], "guided_choice")),
        ({"structured_outputs": {"choice": ["a"]}}, ("choice", ["a"], "structured_outputs")),
        ({"grammar": "a"}, ("gbnf", "a", "grammar")),
        ({"guided_grammar": "a"}, ("gbnf", "a", "grammar")),
        ({"structured_outputs": {"grammar": "a"}}, ("gbnf", "a", "structured_outputs")),
    ],
)
def test_what_a_text_must_follow(fields, rule):
    for asked in (completion(**fields), chat(**fields)):
        assert asked.rule == (None if rule is None else Rule(*rule))


@pytest.mark.parametrize(
    ("fields", "counts"),
    [
        # Of no room, one token, and a hundred. OpenAI: completions have 16 by default.
        ({}, {completion: [0, 1, 16], chat: [0, 1, 100]}),
        ({"max_tokens": 0}, {completion: [0, 0, 0], chat: [0, 0, 0]}),
        ({"max_tokens": 1}, {completion: [0, 1, 1], chat: [0, 1, 1]}),
        ({"max_tokens": 99}, {completion: [0, 1, 99], chat: [0, 1, 99]}),
        ({"max_tokens": 101}, {completion: [0, 1, 100], chat: [0, 1, 100]}),
        ({"max_tokens": -1}, {completion: [0, 1, 100], chat: [0, 1, 100]}),
        ({"n_predict": 3}, {completion: [0, 1, 3], chat: [0, 1, 3]}),
        ({"num_predict": 3}, {completion: [0, 1, 3], chat: [0, 1, 3]}),
        ({"max_completion_tokens": 3}, {chat: [0, 1, 3]}),
        ({"max_completion_tokens": 0}, {chat: [0, 0, 0]}),
        ({"max_completion_tokens": -1}, {chat: [0, 1, 100]}),
        ({"max_completion_tokens": 4, "max_tokens": 4}, {chat: [0, 1, 4]}),
    ],
)
def test_how_much_to_write(fields, counts):
    for kind, wanted in counts.items():
        assert [kind(**fields).new_tokens(room) for room in (0, 1, 100)] == wanted
        assert kind(**fields).new_tokens(-5) == 0, "less than no room"


@pytest.mark.parametrize(
    ("kind", "fields", "scores", "prompt_scores"),
    [
        (completion, {}, None, None),
        (completion, {"logprobs": 0}, 0, None),
        (completion, {"logprobs": 20, "echo": True}, 20, 20),
        (completion, {"logprobs": 0, "echo": True, "prompt_logprobs": 5}, 0, 0),
        (completion, {"prompt_logprobs": 5, "echo": True}, None, 5),
        (completion, {"prompt_logprobs": 0, "logprobs": 3}, 3, 0),
        (completion, {"logprobs": 3, "echo": False}, 3, None),
        (chat, {}, None, None),
        (chat, {"logprobs": False}, None, None),
        (chat, {"logprobs": True}, 0, None),
        (chat, {"logprobs": True, "top_logprobs": 20}, 20, None),
        (chat, {"logprobs": False, "top_logprobs": 0}, None, None),
        (chat, {"prompt_logprobs": 20}, None, 20),
    ],
)
def test_which_scores_are_wanted(kind, fields, scores, prompt_scores):
    asked = kind(**fields)
    assert asked.wanted_logprobs == scores
    assert getattr(asked, "wanted_prompt_logprobs", asked.prompt_logprobs) == prompt_scores


@pytest.mark.parametrize(
    ("prompt", "prompts"),
    [("x", ["x"]), ([1, 2], [[1, 2]]), (["x", "y"], ["x", "y"]), ([[1], "x"], [[1], "x"])],
)
def test_every_prompt_on_its_own(prompt, prompts):
    assert completion(prompt=prompt).prompts == prompts


def test_where_a_text_ends():
    assert completion().stops == completion(stop=[]).stops == ()
    assert completion(stop="ab").stops == ("ab",)
    assert completion(stop=["a", "b"]).stops == ("a", "b")


def tool(name):
    return {"type": "function", "function": {"name": name}}


@pytest.mark.parametrize(
    ("choice", "usable", "forced"),
    [
        (None, "ab", ""),
        ("auto", "ab", ""),
        ("none", "", ""),
        ("required", "ab", "ab"),
        (tool("b"), "ab", "b"),
    ],
)
def test_which_tools_there_are_and_which_must_be_called(choice, usable, forced):
    asked = chat(tools=[tool("a"), tool("b")], tool_choice=choice)
    assert "".join(one.function.name for one in asked.usable_tools) == usable
    assert "".join(one.function.name for one in asked.forced_tools) == forced
    assert chat().usable_tools == chat().forced_tools == chat(tool_choice="none").usable_tools == []
    longest = chat(tools=[tool("a" * 64)])
    assert len(longest.usable_tools[0].function.name) == 64


@pytest.mark.parametrize(
    ("fields", "text", "adds", "parses", "pieces"),
    [
        ({"content": "a"}, "a", False, False, False),
        ({"content": ""}, "", False, False, False),
        ({"prompt": "a"}, "a", True, False, False),
        ({"prompt": ""}, "", True, False, False),
        ({"content": "a", "add_special": True}, "a", True, False, False),
        ({"prompt": "a", "add_special_tokens": False}, "a", False, False, False),
        ({"prompt": "a", "parse_special": True}, "a", True, True, False),
        ({"prompt": "a", "with_pieces": True}, "a", True, False, True),
        ({"prompt": "a", "return_token_strs": True}, "a", True, False, True),
    ],
)
def test_what_is_tokenized(fields, text, adds, parses, pieces):
    asked = TokenizeRequest.model_validate(fields)
    assert (asked.text, asked.adds_special, asked.conversation) == (text, adds, None)
    assert (asked.parse_special, asked.with_pieces) == (parses, pieces)


def test_a_conversation_is_tokenized_as_it_would_be_asked():
    fields = {
        "model": "tiny",
        "messages": [SAID],
        "tools": [tool("a")],
        "chat_template_kwargs": {"a": 1},
        "add_generation_prompt": False,
        "continue_final_message": True,
    }
    asked = TokenizeRequest.model_validate(fields).conversation
    assert asked is not None
    assert asked.model_dump(exclude_none=True) == fields
    assert asked.continues is True


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (None, ""),
        ("a", "a"),
        ([], ""),
        ([{"type": "text", "text": "a"}, {"type": "text", "text": "b"}], "ab"),
        ([{"type": "refusal", "refusal": "no"}], "no"),
    ],
)
def test_what_a_message_says(content, text):
    assert MessageIn.model_validate({"role": "assistant", "content": content}).text == text
    assert MessageIn.model_validate({"role": "assistant"}).text == ""
