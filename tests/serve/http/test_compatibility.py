"""What clients of llama.cpp, vLLM and Ollama rely on: one row for each kind of their own tests.

Written anew after the kinds of cases in llama.cpp's tools/server/tests, vLLM's
tests/entrypoints/openai and Ollama's openai/ and integration/ tests. A row is a request, the status
it must get, and what must be true of the answer. What is left out, and why, is in
docs/server.md.
"""

import json

import pytest
from tiny_served import CONTEXT, tiny

MODEL, TOKENIZER = tiny()
HI = [{"role": "user", "content": "Where is the cat?"}]
TEXT = {"model": "tiny", "prompt": "The cat", "max_tokens": 6, "temperature": 0}
CHAT = {"model": "tiny", "messages": HI, "max_tokens": 6, "temperature": 0}
IDS = TOKENIZER.encode("The cat")
SCHEMA = {
    "type": "object",
    "properties": {"pet": {"enum": ["cat", "dog"]}, "is_big": {"type": "boolean"}},
    "required": ["pet", "is_big"],
    "additionalProperties": False,
}
WEATHER = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "The weather of a day",
        "parameters": {
            "type": "object",
            "properties": {"day": {"enum": ["today", "tomorrow"]}},
            "required": ["day"],
            "additionalProperties": False,
        },
    },
}
CLOCK = {"type": "function", "function": {"name": "clock"}}
LONG_TALK = [
    {"role": role, "content": f"{number}: {'word ' * 8}"}
    for number in range(12)
    for role in ("user", "assistant")
] + HI


def text(answer):
    return answer["choices"][0]["text"]


def said(answer):
    return answer["choices"][0]["message"]["content"]


def reason(answer):
    return answer["choices"][0]["finish_reason"]


def calls(answer):
    return answer["choices"][0]["message"]["tool_calls"]


def frames(body):
    *chunks, last = [line.removeprefix("data: ") for line in body.splitlines() if line]
    assert last == "[DONE]"
    return [json.loads(chunk) for chunk in chunks]


def is_json(schema_fits=lambda value: True, get=said):
    """It is whole, whatever `max_tokens` leaves room for: it is brought to its end in time."""
    return lambda answer: schema_fits(json.loads(get(answer)))


def is_pet(value):
    return set(value) == {"pet", "is_big"} and value["pet"] in ("cat", "dog")


def entries(answer):
    return answer["choices"][0]["logprobs"]


def tells(*words):
    """The error names each of these."""
    return lambda answer: all(word in answer["error"]["message"] for word in words)


def shows(length):
    """The error ends with what was sent, cut to so many characters."""

    def holds(answer):
        got = answer["error"]["message"].partition("got ")[2]
        return got.endswith("…") and len(got) == length

    return holds


def always(_):
    return True


def get(path, status=200, holds=always):
    return ("GET", path, None, status, holds)


def head(path, status=200):
    return ("HEAD", path, None, status, always)


def complete(changes, status=200, holds=always):
    return ("POST", "/v1/completions", TEXT | changes, status, holds)


def chat(changes, status=200, holds=always):
    return ("POST", "/v1/chat/completions", CHAT | changes, status, holds)


def post(path, body, status=200, holds=always):
    return ("POST", path, body, status, holds)


def messages(*pairs):
    return {"messages": [{"role": role, "content": content} for role, content in pairs]}


def without(body, *names):
    return {name: value for name, value in body.items() if name not in names}


ADDRESSES = {
    "health": get("/health", holds=lambda a: a["status"] == "ok"),
    "health under v1": get("/v1/health"),
    "ping": get("/ping"),
    "healthz": get("/healthz"),
    "readyz": get("/readyz"),
    "version": get("/version", holds=lambda a: a["version"].count(".") >= 1),
    "props": get("/props", holds=lambda a: a["default_generation_settings"]["n_ctx"] == CONTEXT),
    "props has the template": get("/props", holds=lambda a: "im_start" in a["chat_template"]),
    "props counts slots": get("/props", holds=lambda a: a["total_slots"] == 8),
    "models": get("/v1/models", holds=lambda a: a["object"] == "list" and len(a["data"]) == 2),
    "models without v1": get("/models", holds=lambda a: a["data"][0]["id"] == "tiny"),
    "models have max_model_len": get(
        "/v1/models", holds=lambda a: a["data"][0]["max_model_len"] == CONTEXT
    ),
    "one model": get("/v1/models/tiny", holds=lambda a: a["id"] == "tiny"),
    "one model without v1": get("/models/tiny"),
    "a model that is none": get("/v1/models/none", 404, tells("tiny", "none")),
    "metrics": ("GET", "/metrics", None, 200, None),
    "openapi": get("/openapi.json", holds=lambda a: "/v1/completions" in a["paths"]),
    "an address that is none": get("/nowhere", 404, tells("/openapi.json")),
    "completions without v1": post("/completions", TEXT, holds=text),
    "chat without v1": post("/chat/completions", CHAT, holds=said),
    "head of the page": head("/"),
    "head of health": head("/health"),
    "head of models": head("/v1/models"),
    "embeddings": post("/v1/embeddings", {"input": "x"}, 400, tells("not supported here")),
    "embeddings without v1": post("/embeddings", {"input": "x"}, 400, tells("no embeddings")),
    "responses": post("/v1/responses", {"input": "x"}, 400, tells("/v1/chat/completions")),
    "anthropic's messages": post("/v1/messages", {}, 400, tells("not supported here")),
    "rerank": post("/v1/rerank", {}, 400, tells("not supported here")),
    "score": post("/score", {}, 400, tells("not supported here")),
    "infill": post("/infill", {}, 400, tells("not supported here")),
    "transcriptions": post("/v1/audio/transcriptions", {}, 400, tells("not supported here")),
    "files": get("/v1/files", 400, tells("not supported here")),
    "llama.cpp's completion": post("/completion", {}, 400, tells("/v1/completions")),
    "Ollama's chat": post("/api/chat", {}, 400, tells("/v1/chat/completions")),
    "Ollama's models": get("/api/tags", 400, tells("/v1/models")),
    "v1 twice": post("/v1/v1/chat/completions", CHAT, 404, tells("mean /v1/chat/completions?")),
    "a slash at the end": post("/v1/completions/", TEXT, 404, tells("mean /v1/completions?")),
    "a word of it wrong": post("/v1/chat/completion", CHAT, 404, tells("/v1/chat/completions?")),
    "v1 alone": get("/v1", 404, tells("/v1/models")),
    "post where one gets": post("/v1/models", {}, 405, tells("expected GET", "POST")),
    "get where one posts": get("/v1/completions", 405, tells("expected POST", "GET")),
}
TOKENS = {
    "tokenize": post(
        "/tokenize", {"content": "The cat", "model": "tiny"}, 200, lambda a: a["tokens"] == IDS
    ),
    "tokenize as vLLM": post(
        "/tokenize", {"prompt": "The cat", "model": "tiny"}, 200, lambda a: a["count"] == len(IDS)
    ),
    "tokenize has max_model_len": post(
        "/tokenize", {"prompt": "", "model": "tiny"}, 200, lambda a: a["max_model_len"] == CONTEXT
    ),
    "tokenize with specials": post(
        "/tokenize",
        {"content": "x", "add_special": True, "model": "tiny"},
        200,
        lambda a: a["tokens"] == TOKENIZER.encode("x"),
    ),
    "tokenize an empty text": post(
        "/tokenize", {"content": "", "model": "tiny"}, 200, lambda a: a["tokens"] == []
    ),
    "tokenize pieces": post(
        "/tokenize",
        {"content": "The cat", "with_pieces": True, "model": "tiny"},
        200,
        lambda a: "".join(t["piece"] for t in a["tokens"]) == "The cat",
    ),
    "tokenize parses specials": post(
        "/tokenize",
        {"content": "<|im_end|>", "parse_special": True, "model": "tiny"},
        200,
        lambda a: a["tokens"] == [2],
    ),
    "tokenize does not by itself": post(
        "/tokenize", {"content": "<|im_end|>", "model": "tiny"}, 200, lambda a: 2 not in a["tokens"]
    ),
    "tokenize as vLLM, without specials": post(
        "/tokenize",
        {"prompt": "The cat", "add_special_tokens": False, "model": "tiny"},
        200,
        lambda a: a["tokens"] == TOKENIZER.encode("The cat", add_special=False),
    ),
    "tokenize messages": post(
        "/tokenize", {"messages": HI, "model": "tiny"}, 200, lambda a: a["tokens"].count(2) == 1
    ),
    "tokenize messages without asking": post(
        "/tokenize",
        {"messages": HI, "add_generation_prompt": False, "model": "tiny"},
        200,
        lambda a: 2 in a["tokens"][-2:],  # the end of what was said, and a line break
    ),
    "tokenize messages that go on": post(
        "/tokenize",
        {
            "messages": [*HI, {"role": "assistant", "content": "In the"}],
            "continue_final_message": True,
            "model": "tiny",
        },
        200,
        lambda a: a["tokens"][-1] != 2,
    ),
    "tokenize two texts": post(
        "/tokenize", {"content": "a", "prompt": "b", "model": "tiny"}, 400, tells("prompt")
    ),
    "tokenize without a text": post("/tokenize", {"model": "tiny"}, 400, tells("content")),
    "detokenize": post(
        "/detokenize", {"tokens": IDS, "model": "tiny"}, 200, lambda a: a["content"] == "The cat"
    ),
    "detokenize as vLLM": post(
        "/detokenize", {"tokens": IDS, "model": "tiny"}, 200, lambda a: a["prompt"] == "The cat"
    ),
    "detokenize what is none": post(
        "/detokenize", {"tokens": [399999], "model": "tiny"}, 400, tells("399999")
    ),
    "detokenize a special": post(
        "/detokenize", {"tokens": [2], "model": "tiny"}, 200, lambda a: a["content"] == "<|im_end|>"
    ),
    "apply-template": post(
        "/apply-template",
        {"messages": HI, "model": "tiny"},
        200,
        lambda a: a["prompt"].endswith("<|im_start|>assistant\n"),
    ),
    "apply-template without asking": post(
        "/apply-template",
        {"messages": HI, "add_generation_prompt": False, "model": "tiny"},
        200,
        lambda a: a["prompt"].endswith("<|im_end|>\n"),
    ),
    "apply-template of a prefill": post(
        "/apply-template",
        {"messages": [*HI, {"role": "assistant", "content": "In the"}], "model": "tiny"},
        200,
        lambda a: a["prompt"].endswith("In the"),
    ),
    "apply-template without a template": post(
        "/apply-template", {"messages": HI, "model": "plain"}, 400, tells("chat template")
    ),
}
COMPLETIONS = {
    "a completion": complete({}, holds=lambda a: a["object"] == "text_completion" and text(a)),
    "usage": complete({}, holds=lambda a: a["usage"]["prompt_tokens"] == len(IDS)),
    "usage adds up": complete(
        {}, holds=lambda a: a["usage"]["total_tokens"] == len(IDS) + a["usage"]["completion_tokens"]
    ),
    "an id and a time": complete(
        {}, holds=lambda a: a["id"].startswith("cmpl-") and a["created"] > 1e9
    ),
    "the model is named": complete({}, holds=lambda a: a["model"] == "tiny"),
    "prompt as ids": complete(
        {"prompt": IDS}, holds=lambda a: a["usage"]["prompt_tokens"] == len(IDS)
    ),
    "prompts": complete({"prompt": ["The cat", "A dog"]}, holds=lambda a: len(a["choices"]) == 2),
    "prompts as ids": complete({"prompt": [IDS, IDS[:1]]}, holds=lambda a: len(a["choices"]) == 2),
    "too many prompts": complete({"prompt": ["x"] * 65}, 400, tells("prompt", "at most 64 items")),
    "mixed prompts": complete(
        {"prompt": ["The cat", IDS]},
        holds=lambda a: a["choices"][0]["text"] == a["choices"][1]["text"],
    ),
    "more texts than grow at a time": complete(
        {"prompt": ["x"] * 7, "n": 4, "max_tokens": 2},
        holds=lambda a: [c["index"] for c in a["choices"]] == list(range(28)),
    ),
    "an empty prompt": complete({"prompt": ""}, 400, tells("at least one token")),
    "no prompt": post("/v1/completions", without(TEXT, "prompt"), 400, tells("prompt")),
    "n": complete({"n": 3, "temperature": 1, "seed": 1}, holds=lambda a: len(a["choices"]) == 3),
    "best_of 1": complete({"best_of": 1}),
    "best_of as many as n": complete(
        {"best_of": 2, "n": 2}, holds=lambda a: len(a["choices"]) == 2
    ),
    "best_of 3": complete({"best_of": 3}, 400, tells("not supported here")),
    "suffix": complete({"suffix": "end"}, 400, tells("not supported here")),
    "max_tokens 1": complete(
        {"max_tokens": 1}, holds=lambda a: a["usage"]["completion_tokens"] == 1
    ),
    "max_tokens 0": complete(
        {"max_tokens": 0}, holds=lambda a: text(a) == "" and a["usage"]["completion_tokens"] == 0
    ),
    "max_tokens beyond the context": complete(
        {"max_tokens": 100_000}, holds=lambda a: a["usage"]["total_tokens"] <= CONTEXT
    ),
    "max_tokens -1": complete(
        {"max_tokens": -1},
        holds=lambda a: a["usage"]["completion_tokens"] > 16 or reason(a) == "stop",
    ),
    "n_predict": post(
        "/v1/completions",
        without(TEXT, "max_tokens") | {"n_predict": 2},
        200,
        lambda a: a["usage"]["completion_tokens"] == 2,
    ),
    "no max_tokens is 16": post(
        "/v1/completions",
        without(TEXT, "max_tokens"),
        200,
        lambda a: a["usage"]["completion_tokens"] == 16,
    ),
    "a prompt too long": complete(
        {"prompt": "x" * 400}, 400, tells(str(CONTEXT), "truncate_prompt_tokens")
    ),
    "a prompt too long, cut": complete(
        {"prompt": "x" * 400, "truncate_prompt_tokens": -1},
        holds=lambda a: a["usage"]["total_tokens"] <= CONTEXT,
    ),
    "a prompt cut to a number": complete(
        {"truncate_prompt_tokens": 2}, holds=lambda a: a["usage"]["prompt_tokens"] == 2
    ),
    "stop": complete({"stop": "\0"}),
    "stops": complete({"stop": ["\0", "\1", "\2", "\3", "\4"]}),
    "an empty stop": complete({"stop": ""}, 400),
    "seed": complete({"seed": 7, "temperature": 1}),
    "a negative seed": complete({"seed": -7, "temperature": 1}),
    "ignore_eos": complete(
        {"ignore_eos": True, "max_tokens": 30},
        holds=lambda a: a["usage"]["completion_tokens"] == 30,
    ),
    "no model, of two": post(
        "/v1/completions", without(TEXT, "model"), 400, tells("tiny", "plain")
    ),
    "a model that is none, asked": complete({"model": "none"}, 404, tells("tiny", "none")),
    "no JSON": ("POST", "/v1/completions", b"{", 400, tells("JSON")),
    "usage of a cached prompt": complete(
        {}, holds=lambda a: a["usage"]["prompt_tokens_details"]["cached_tokens"] >= 0
    ),
}
ECHO = {
    "echo": complete(
        {"echo": True}, holds=lambda a: text(a).startswith("The cat") and len(text(a)) > 7
    ),
    "echo alone": complete({"echo": True, "max_tokens": 0}, holds=lambda a: text(a) == "The cat"),
    "echo of ids": complete(
        {"prompt": IDS, "echo": True, "max_tokens": 0}, holds=lambda a: text(a) == "The cat"
    ),
    "echo of several": complete(
        {"prompt": ["x", "y"], "echo": True, "n": 2},
        holds=lambda a: [c["text"][0] for c in a["choices"]] == ["x", "x", "y", "y"],
    ),
    "echo with logprobs": complete(
        {"echo": True, "logprobs": 1, "max_tokens": 1},
        holds=lambda a: len(entries(a)["tokens"]) >= len(IDS),
    ),
    "the first has no logprob": complete(
        {"echo": True, "logprobs": 1, "max_tokens": 1},
        holds=lambda a: (
            entries(a)["token_logprobs"][0] is None and entries(a)["top_logprobs"][0] is None
        ),
    ),
    "the others have one": complete(
        {"echo": True, "logprobs": 1, "max_tokens": 1},
        holds=lambda a: all(one <= 0 for one in entries(a)["token_logprobs"][1:]),
    ),
    "echoed offsets": complete(
        {"echo": True, "logprobs": 0, "max_tokens": 1},
        holds=lambda a: (
            entries(a)["text_offset"][0] == 0
            and entries(a)["text_offset"] == sorted(entries(a)["text_offset"])
        ),
    ),
    "prompt_logprobs": complete(
        {"prompt_logprobs": 2}, holds=lambda a: len(a["choices"][0]["prompt_logprobs"]) == len(IDS)
    ),
    "prompt_logprobs of a chat": chat(
        {"prompt_logprobs": 0}, holds=lambda a: a["choices"][0]["prompt_logprobs"][0] is None
    ),
    "prompt_logprobs of a stream": complete(
        {"prompt_logprobs": 1, "stream": True}, 400, tells("stream")
    ),
}
LOGPROBS = {
    "logprobs": complete(
        {"logprobs": 3}, holds=lambda a: 1 <= len(entries(a)["top_logprobs"][0]) <= 3
    ),
    "logprobs 0": complete({"logprobs": 0}, holds=lambda a: entries(a)["top_logprobs"][0] == {}),
    "no logprobs": complete({}, holds=lambda a: entries(a) is None),
    "logprobs of a chat": chat(
        {"logprobs": True}, holds=lambda a: entries(a)["content"][0]["top_logprobs"] == []
    ),
    "top_logprobs": chat(
        {"logprobs": True, "top_logprobs": 5},
        holds=lambda a: len(entries(a)["content"][0]["top_logprobs"]) == 5,
    ),
    "top_logprobs alone": chat({"top_logprobs": 5}, 400, tells("logprobs")),
    "too many": chat({"logprobs": True, "top_logprobs": 21}, 400, tells("at most 20")),
    "bytes": chat(
        {"logprobs": True}, holds=lambda a: bytes(entries(a)["content"][0]["bytes"]) is not None
    ),
}
SAMPLING = {
    "temperature 0": complete({"temperature": 0}),
    "temperature 2": complete({"temperature": 2, "seed": 1}),
    "temperature beyond": complete({"temperature": 2.5}, 400, tells("at most 2", "2.5")),
    "temperature below 0": complete({"temperature": -0.5}, 400, tells("at least 0", "-0.5")),
    "top_p": complete({"top_p": 0.5, "temperature": 1, "seed": 1}),
    "top_p 0 is greedy": complete({"top_p": 0, "temperature": 1}),
    "top_k": complete({"top_k": 1, "temperature": 1}),
    "top_k -1": complete({"top_k": -1, "temperature": 1, "seed": 1}),
    "min_p": complete({"min_p": 1.0, "temperature": 1}),
    "min_p 0": complete({"min_p": 0}),
    "presence_penalty": complete({"presence_penalty": 1.5}),
    "frequency_penalty": complete({"frequency_penalty": -1.5}),
    "a penalty beyond": complete({"frequency_penalty": 3}, 400, tells("at most 2")),
    "a long word for a number": complete({"max_tokens": "9" * 200}, 400, shows(80)),
    "a penalty below": complete({"presence_penalty": -2.5}, 400, tells("at least -2")),
    "repetition_penalty": complete({"repetition_penalty": 1.3}),
    "repetition_penalty 1": complete({"repetition_penalty": 1.0}),
    "repeat_penalty": complete({"repeat_penalty": 1.1}),
    "logit_bias forces": complete(
        {"logit_bias": {"70": 100}, "max_tokens": 3},
        holds=lambda a: text(a) == TOKENIZER.decode([70] * 3, continues=True),
    ),
    "logit_bias forbids": complete({"logit_bias": {str(IDS[0]): -100}}),
    "logit_bias of no token": complete({"logit_bias": {"x": 1}}, 400, tells("token ids")),
    "logit_bias of an id there is not": complete(
        {"logit_bias": {"399999": 1}}, 400, tells(f"from 0 to {MODEL.config.vocab_size - 1},")
    ),
    "logit_bias beyond": complete({"logit_bias": {"5": 101}}, 400, tells("at most 100")),
    "mirostat off": complete({"mirostat": 0}),
    "mirostat on": complete({"mirostat": 2}, 400, tells("not supported here")),
    "typical_p 1": complete({"typical_p": 1.0}),
    "beam search": complete({"use_beam_search": True}, 400, tells("not supported here")),
}
CHATS = {
    "a chat": chat({}, holds=lambda a: a["object"] == "chat.completion" and said(a)),
    "a role": chat({}, holds=lambda a: a["choices"][0]["message"]["role"] == "assistant"),
    "system": chat(messages(("system", "Be brief."), ("user", "Hi"))),
    "developer": chat(messages(("developer", "Be brief."), ("user", "Hi"))),
    "a late system": chat(
        messages(("user", "Hi"), ("assistant", "Yo"), ("system", "BLUE"), ("user", "Sky?"))
    ),
    "two systems": chat(messages(("system", "a"), ("system", "b"), ("user", "Hi"))),
    "the assistant first": chat(messages(("assistant", "Hello, I am Pip."), ("user", "Hi"))),
    "two users in a row": chat(messages(("user", "a"), ("user", "b"))),
    "two assistants in a row": chat(
        messages(("user", "a"), ("assistant", "b"), ("assistant", "c"), ("user", "d"))
    ),
    "a tool's answer": chat(
        {
            "messages": [
                *HI,
                {
                    "role": "assistant",
                    "content": None,
                    "tool_calls": [
                        {
                            "id": "1",
                            "type": "function",
                            "function": {"name": "clock", "arguments": "{}"},
                        }
                    ],
                },
                {"role": "tool", "tool_call_id": "1", "content": "noon"},
            ]
        }
    ),
    "a name": chat({"messages": [{"role": "user", "content": "Hi", "name": "bob"}]}),
    "content null": chat({"messages": [*HI, {"role": "assistant", "content": None}, *HI]}),
    "content in parts": chat(
        {"messages": [{"role": "user", "content": [{"type": "text", "text": "Hi"}]}]}
    ),
    "an image": chat(
        {
            "messages": [
                {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}
            ]
        },
        400,
        tells("image_url", "not supported here"),
    ),
    "audio": chat(
        {"messages": [{"role": "user", "content": [{"type": "input_audio", "input_audio": {}}]}]},
        400,
        tells("input_audio", "not supported here"),
    ),
    "no messages": chat({"messages": []}, 400, tells("at least 1")),
    "a role that is none": chat(messages(("critic", "x")), 400, tells("critic")),
    "a prefill": chat(
        messages(("user", "Hi"), ("assistant", "The answer")),
        holds=lambda a: not said(a).startswith("The answer"),
    ),
    "a prefill by vLLM's fields": chat(
        messages(("user", "Hi"), ("assistant", "The"))
        | {"add_generation_prompt": False, "continue_final_message": True}
    ),
    "no prefill by vLLM's fields": chat(
        messages(("user", "Hi"), ("assistant", "The")) | {"add_generation_prompt": True}
    ),
    "both of them": chat(
        {"add_generation_prompt": True, "continue_final_message": True},
        400,
        tells("continue_final_message"),
    ),
    "template variables": chat({"chat_template_kwargs": {"enable_thinking": False}}),
    "max_completion_tokens": post(
        "/v1/chat/completions",
        without(CHAT, "max_tokens") | {"max_completion_tokens": 2},
        200,
        lambda a: a["usage"]["completion_tokens"] <= 2,
    ),
    "no max_tokens": post(
        "/v1/chat/completions",
        without(CHAT, "max_tokens"),
        200,
        lambda a: a["usage"]["total_tokens"] <= CONTEXT,
    ),
    "a stop of nothing": complete({"stop": [""]}, 400, tells("stop: expected a text of 1 to 256")),
    "a prompt of no kind": complete({"prompt": None}, 400, tells("a text, token ids, or a list")),
    "content of no kind": chat(
        messages(("user", ["a"])), 400, tells("content: expected a text or a list of parts")
    ),
    "no likeliest asked for": chat({"top_logprobs": 0}),
    "messages too long": chat({"messages": LONG_TALK}, 400, tells("drop_oldest")),
    "the oldest left out": chat(
        {"messages": LONG_TALK, "context_overflow": "drop_oldest"},
        holds=lambda a: a["omitted_messages"] > 0 and a["omitted_messages"] % 2 == 0,
    ),
    "nothing more to leave out": chat(
        {"messages": [{"role": "user", "content": "x" * 400}], "context_overflow": "drop_oldest"},
        400,
        tells(str(CONTEXT), "last turn", "shorter"),
    ),
    "none left out": chat(
        {"context_overflow": "drop_oldest"}, holds=lambda a: "omitted_messages" not in a
    ),
    "a model without a template": chat({"model": "plain"}, 400, tells("/v1/completions")),
    "unicode": chat(messages(("user", "naïve 🐈 你好"))),
}
FIELDS = {
    name: chat(changes)
    for name, changes in {
        "user": {"user": "x"},
        "metadata": {"metadata": {"a": "b"}},
        "store": {"store": True},
        "service_tier": {"service_tier": "auto"},
        "reasoning_effort null": {"reasoning_effort": None},
        "verbosity null": {"verbosity": None},
        "audio null": {"audio": None},
        "prediction null": {"prediction": None},
        "moderation null": {"moderation": None},
        "prompt_cache_retention null": {"prompt_cache_retention": None},
        "modalities": {"modalities": ["text"]},
        "parallel_tool_calls": {"parallel_tool_calls": True},
        "tool_choice none": {"tool_choice": "none"},
        "tools empty": {"tools": []},
        "response_format text": {"response_format": {"type": "text"}},
        "keep_alive": {"keep_alive": "5m"},
        "cache_prompt": {"cache_prompt": True},
        "skip_special_tokens": {"skip_special_tokens": True},
        "continuous_usage_stats": {"stream": False, "ignore_eos": False},
        "chat_template_kwargs empty": {"chat_template_kwargs": {}},
        "reasoning empty": {"reasoning": {}},
        "thinking disabled": {"thinking": {"type": "disabled"}},
        "enable_thinking null": {"enable_thinking": None},
    }.items()
} | {
    "a typo": chat({"temprature": 1}, 400, tells("temprature", "did you mean 'temperature'")),
    "a prompt where messages are": chat({"prompt": "x"}, 400, tells("/v1/completions")),
    "messages where a prompt is": complete({"messages": HI}, 400, tells("/v1/chat/completions")),
    "an object where a list is": chat(
        {"messages": {"role": "user"}}, 400, tells("expected a list")
    ),
    "a seed beyond": chat({"seed": 2**63}, 400, tells("at most 9223372036854775807")),
    "a field nobody knows": chat({"qqqqqq": 1}, 400, tells("qqqqqq")),
    "a typo in a message": chat(
        {"messages": [{"role": "user", "contents": "x", "content": "y"}]},
        400,
        tells("contents", "did you mean 'content'"),
    ),
}
FORCED = {"type": "function", "function": {"name": "weather"}}
STRUCTURED = {
    "json_object": chat(
        {"response_format": {"type": "json_object"}, "max_tokens": 40},
        holds=is_json(lambda v: isinstance(v, dict)),
    ),
    "json_schema": chat(
        {
            "response_format": {
                "type": "json_schema",
                "json_schema": {"name": "pet", "schema": SCHEMA, "strict": True},
            },
            "max_tokens": 60,
        },
        holds=is_json(is_pet),
    ),
    "llama.cpp's schema": chat(
        {"response_format": {"type": "json_object", "schema": SCHEMA}, "max_tokens": 60},
        holds=is_json(is_pet),
    ),
    "of a completion": complete(
        {
            "response_format": {"type": "json_schema", "json_schema": {"schema": SCHEMA}},
            "max_tokens": 60,
        },
        holds=is_json(is_pet, text),
    ),
    "a number alone": chat(
        {
            "response_format": {
                "type": "json_schema",
                "json_schema": {"schema": {"type": "integer"}},
            },
            "max_tokens": 60,
        },
        holds=is_json(lambda v: isinstance(v, int)),
    ),
    "a pattern": chat(
        {
            "response_format": {
                "type": "json_schema",
                "json_schema": {"schema": {"type": "string", "pattern": "^[ab]{3}$"}},
            },
            "max_tokens": 60,
        },
        holds=is_json(lambda v: set(v) <= set("ab") and len(v) == 3),
    ),
    "a schema that is none": chat(
        {"response_format": {"type": "json_schema", "json_schema": {"schema": {"type": "fish"}}}},
        400,
        tells("response_format"),
    ),
    "llama.cpp's schema by its own name": chat(
        {"json_schema": SCHEMA, "max_tokens": 60}, holds=is_json(is_pet)
    ),
    "vLLM's schema, as a text": complete(
        {"guided_json": json.dumps(SCHEMA), "max_tokens": 60}, holds=is_json(is_pet, text)
    ),
    "vLLM's newer name": chat(
        {"structured_outputs": {"json": SCHEMA}, "max_tokens": 60}, holds=is_json(is_pet)
    ),
    "a schema that takes anything": chat(
        {
            "response_format": {"type": "json_schema", "json_schema": {"schema": True}},
            "max_tokens": 30,
        },
        holds=is_json(),
    ),
    "a regular expression": complete(
        {"guided_regex": "[ab]{3}", "max_tokens": 9}, holds=lambda a: set(text(a)) <= set("ab")
    ),
    "a choice": complete(
        {"guided_choice": ["a cat", "a dog"], "max_tokens": 20},
        holds=lambda a: text(a) in ("a cat", "a dog"),
    ),
    "a choice by the newer name": chat(
        {"structured_outputs": {"choice": ["yes", "no"]}, "max_tokens": 20},
        holds=lambda a: said(a) in ("yes", "no"),
    ),
    "llama.cpp's grammar": chat(
        {"grammar": 'root ::= ("yes" | "no") "!"', "max_tokens": 20},
        holds=lambda a: said(a) in ("yes!", "no!"),
    ),
    "vLLM's grammar": complete(
        {"guided_grammar": 'root ::= "x" [0-9]', "max_tokens": 9},
        holds=lambda a: text(a)[0] == "x" and text(a)[1].isdecimal(),
    ),
    "a grammar that is none": chat({"grammar": 'root ::= "x" ('}, 400, tells("grammar")),
    "an expression that is none": chat({"guided_regex": "("}, 400, tells("guided_regex")),
    "a choice of nothing": chat({"guided_choice": []}, holds=said),
    "two rules": chat(
        {"guided_regex": "a", "grammar": 'root ::= "a"'}, 400, tells("guided_regex", "grammar")
    ),
    "a rule and a forced call": chat(
        {"tools": [WEATHER], "tool_choice": FORCED, "guided_choice": ["a"]},
        400,
        tells("guided_choice"),
    ),
    "no schema": chat({"response_format": {"type": "json_schema"}}, 400, tells("schema")),
    "a format that is none": chat({"response_format": {"type": "xml"}}, 400, tells("xml")),
    "a named tool": chat(
        {"tools": [WEATHER, CLOCK], "tool_choice": FORCED, "max_tokens": 80},
        holds=lambda a: (
            json.loads(calls(a)[0]["function"]["arguments"])["day"] in ("today", "tomorrow")
        ),
    ),
    "a required tool": chat(
        {"tools": [WEATHER], "tool_choice": "required", "max_tokens": 80},
        holds=lambda a: calls(a)[0]["function"]["name"] == "weather" and reason(a) == "tool_calls",
    ),
    "one of two required": chat(
        {
            "tools": [WEATHER, WEATHER | {"function": WEATHER["function"] | {"name": "rain"}}],
            "tool_choice": "required",
            "max_tokens": 80,
        },
        holds=lambda a: calls(a)[0]["function"]["name"] in ("weather", "rain"),
    ),
    "a tool that is none": chat(
        {"tools": [CLOCK], "tool_choice": FORCED}, 400, tells("weather", "clock")
    ),
    "tools that are not to be used": chat({"tools": [WEATHER], "tool_choice": "none"}, holds=said),
    "tools without a template for them": chat(
        {"tools": [WEATHER]}, 400, tells("not supported here", "tool_choice")
    ),
    "a tool that is no function": chat(
        {"tools": [{"type": "web_search"}]}, 400, tells("'web_search' is not supported here")
    ),
    "a choice among tools": chat(
        {"tools": [CLOCK], "tool_choice": {"type": "allowed_tools", "allowed_tools": {}}},
        400,
        tells("'allowed_tools' is not supported here"),
    ),
    "a tool without a name": chat(
        {"tools": [{"type": "function", "function": {}}]}, 400, tells("tools.0.function.name")
    ),
}
STREAMS = {
    "a stream": complete(
        {"stream": True}, holds=lambda a: "".join(c["choices"][0]["text"] for c in a)
    ),
    "a stream of a chat": chat(
        {"stream": True}, holds=lambda a: a[0]["choices"][0]["delta"]["role"] == "assistant"
    ),
    "a last reason": chat(
        {"stream": True}, holds=lambda a: a[-1]["choices"][0]["finish_reason"] in ("stop", "length")
    ),
    "usage at the end": chat(
        {"stream": True, "stream_options": {"include_usage": True}},
        holds=lambda a: a[-1]["choices"] == [] and a[-1]["usage"]["prompt_tokens"] > 0,
    ),
    "no usage unasked": chat({"stream": True}, holds=lambda a: all("usage" not in c for c in a)),
    "continuous_usage_stats off": chat(
        {"stream": True, "stream_options": {"include_usage": True, "continuous_usage_stats": False}}
    ),
    "usage in every chunk": chat(
        {
            "stream": True,
            "stream_options": {"include_usage": True, "continuous_usage_stats": True},
        },
        holds=lambda a: (
            [c["usage"]["completion_tokens"] for c in a]
            == sorted(c["usage"]["completion_tokens"] for c in a)
        ),
    ),
    "stream_options that ask for nothing": chat({"stream_options": {"include_usage": False}}),
    "stream_options without a stream": chat(
        {"stream_options": {"include_usage": True}}, 400, tells("stream")
    ),
    "one id": chat({"stream": True}, holds=lambda a: len({c["id"] for c in a}) == 1),
    "logprobs in a stream": chat(
        {"stream": True, "logprobs": True},
        holds=lambda a: any(c["choices"][0]["logprobs"] for c in a),
    ),
    "echo in a stream": complete(
        {"stream": True, "echo": True}, holds=lambda a: a[0]["choices"][0]["text"] == "The cat"
    ),
    "a forced call in a stream": chat(
        {"stream": True, "tools": [WEATHER], "tool_choice": FORCED, "max_tokens": 80},
        holds=lambda a: (
            a[-1]["choices"][0]["delta"]["tool_calls"][0]["function"]["name"] == "weather"
        ),
    ),
    "JSON in a stream": chat(
        {
            "stream": True,
            "response_format": {"type": "json_schema", "json_schema": {"schema": SCHEMA}},
            "max_tokens": 60,
        },
        holds=lambda a: is_pet(
            json.loads("".join(c["choices"][0]["delta"].get("content") or "" for c in a))
        ),
    ),
}
GROUPS = {
    "addresses": ADDRESSES,
    "tokens": TOKENS,
    "completions": COMPLETIONS,
    "echo": ECHO,
    "logprobs": LOGPROBS,
    "sampling": SAMPLING,
    "chats": CHATS,
    "fields": FIELDS,
    "structured": STRUCTURED,
    "streams": STREAMS,
}
ROWS = [
    pytest.param(*row, id=f"{group}: {name}")
    for group, rows in GROUPS.items()
    for name, row in rows.items()
]


@pytest.mark.parametrize(("method", "path", "body", "status", "holds"), ROWS)
def test_what_other_servers_clients_rely_on(site, method, path, body, status, holds):
    given = {"content": body} if isinstance(body, bytes) else {"json": body} if body else {}
    if method == "POST":
        given["headers"] = {"Content-Type": "application/json"}
        given = {"content": b"{}"} | given if not body else given
    answer = site.http.request(method, path, **given)
    assert answer.status_code == status, answer.text
    if method == "HEAD":
        assert answer.content == b""
        assert int(answer.headers["content-length"]) > 0
    elif holds is not None:
        is_stream = isinstance(body, dict) and body.get("stream") and status == 200
        content = frames(answer.text) if is_stream else answer.json()
        assert holds(content), content


def test_the_table_is_long_enough():
    assert len(ROWS) >= 140
