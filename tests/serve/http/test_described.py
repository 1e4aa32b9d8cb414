"""What the documentation and /openapi.json promise, held against what is answered."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError
from starlette.testclient import TestClient

from llama_edu.errors import (
    CheckpointError,
    ContextError,
    InputError,
    LlamaEduError,
    NumericsError,
    ServeError,
    TokenizerError,
)
from llama_edu.serve import threads
from llama_edu.serve.http import middleware, served
from llama_edu.serve.http.api_errors import CODES, ApiError, as_api_error
from llama_edu.serve.http.app import create_app
from llama_edu.serve.http.policy import Policy
from llama_edu.serve.http.requests import ChatRequest, CompletionRequest
from llama_edu.serve.job import Limits

DOCS = (Path(__file__).resolve().parents[3] / "docs" / "server.md").read_text("utf-8")


def table(heading: str) -> list[list[str]]:
    """The rows of the table below a heading of docs/server.md."""
    section = DOCS.partition(f"## {heading}\n")[2].partition("\n## ")[0]
    rows = [line.strip("| ").split(" | ") for line in section.splitlines() if line[:1] == "|"]
    return rows[2:]


def test_every_error_is_documented_with_its_status_and_type() -> None:
    documented = {
        code: (int(status), kind.strip("`"))
        for status, kind, codes in table("Errors")
        for code in re.findall(r"`(\w+)`", codes)
    }
    assert documented == {code: (status, kind) for code, (status, kind, _) in CODES.items()}


@pytest.mark.parametrize(
    ("problem", "status", "code"),
    [
        (ServeError("queue_full", "expected a, got b"), 429, "queue_full"),
        (ServeError("out_of_memory", "expected a, got b"), 503, "out_of_memory"),
        (ServeError("shutting_down", "expected a, got b"), 503, "shutting_down"),
        (ServeError("time_limit", "expected a, got b"), 504, "time_limit"),
        (ServeError("a code nobody knows", "expected a, got b"), 500, "internal"),
        (ContextError("expected a, got b"), 400, "context_length_exceeded"),
        (InputError("expected a, got b"), 400, "invalid_value"),
        (TokenizerError("expected a, got b"), 400, "invalid_value"),
        (NumericsError("expected a, got b"), 500, "numerics"),
        (CheckpointError("expected a, got b"), 500, "internal"),
    ],
)
def test_what_an_error_of_the_engine_becomes(
    problem: LlamaEduError, status: int, code: str
) -> None:
    for given, seconds in (((), "1"), ((7,), "7")):
        error = as_api_error(problem, *given)
        answer = error.response()
        assert (answer.status_code, error.message) == (status, "expected a, got b")
        assert error.body()["error"] == {
            "message": "expected a, got b",
            "type": CODES[code][1],
            "param": None,
            "code": code,
        }
        assert answer.headers.get("Retry-After") == (seconds if status in (429, 503) else None)


def test_an_error_has_the_headers_it_was_given() -> None:
    error = ApiError("not_found", "expected a, got b", "model", {"X-Why": "so"})
    assert (error.param, error.response().headers["X-Why"]) == ("model", "so")


# Limits


def fits(kind: Any, **fields: Any) -> bool:
    try:
        kind.model_validate(fields)
    except ValidationError:
        return False
    return True


def most(kind: Any, made: Any) -> int:
    """The largest of the documented limits at which what is `made` of it still fits."""
    limits = sorted({int(row[1].replace(",", "")) for row in table("Limits")})
    fitting = [limit for limit in limits if fits(kind, **made(limit))]
    return next(n for n in fitting if not fits(kind, **made(n + 1)))


SAID = {"role": "user", "content": "x"}
TOOL = {"type": "function", "function": {"name": "a"}}


def test_every_limit_is_documented() -> None:
    limits, policy = Limits(), Policy()
    mib = 2**20
    text: dict[str, Any] = {"prompt": "x"}
    assert {what: int(number.replace(",", "")) for what, number, *_ in table("Limits")} == {
        "sequences that grow at a time": limits.max_num_seqs,
        "sequences in the queue": limits.max_queue,
        "seconds from a request to its last token": limits.max_seconds,
        "MiB of keys and values kept for prompts that begin alike": limits.prefix_nbytes / mib,
        "MiB of keys and values of all that grows": limits.kv_nbytes / mib,
        "tokens of prompts in a step": limits.prefill_tokens,
        "tokens of a prompt": limits.max_prompt_tokens,
        "new tokens of a choice": limits.max_new_tokens,
        "KiB of a body": policy.max_body_nbytes / 1024,
        "seconds for a body to come": policy.body_seconds,
        "seconds for the head of a request to come": policy.head_seconds,
        "seconds for a reader to take what was sent at once": policy.unread_seconds,
        "connections": policy.max_connections,
        "connections from one address; of IPv6, from one /64": policy.max_connections_per_address,
        "prompts in a request": most(CompletionRequest, lambda n: {"prompt": ["x"] * n}),
        "choices of a prompt": most(CompletionRequest, lambda n: text | {"n": n}),
        "stops": most(CompletionRequest, lambda n: text | {"stop": ["x"] * n}),
        "characters of a stop": most(CompletionRequest, lambda n: text | {"stop": "x" * n}),
        "messages in a chat": most(ChatRequest, lambda n: {"messages": [SAID] * n}),
        "tools": most(ChatRequest, lambda n: {"messages": [SAID], "tools": [TOOL] * n}),
        "tokens in `logit_bias`": most(
            CompletionRequest, lambda n: text | {"logit_bias": {str(i): 1 for i in range(n)}}
        ),
        "characters of a regular expression or a grammar": most(
            CompletionRequest, lambda n: text | {"guided_regex": "x" * n}
        ),
        "texts in `guided_choice`": most(
            CompletionRequest, lambda n: text | {"guided_choice": ["x"] * n}
        ),
        "characters of one of them": most(
            CompletionRequest, lambda n: text | {"guided_choice": ["x" * n]}
        ),
    }
    assert limits.most_guesses == 0, "guesses are an option"


def test_what_the_documentation_says_in_numbers() -> None:
    said = " ".join(DOCS.split())
    for words in (
        f"one for those of more than {served.LARGE_CHARS:,} characters",
        f"bodies of more than {middleware.LARGE_NBYTES // 1024} KiB are parsed in turn",
        f"whose weights fit the cache ({threads.SMALL_NBYTES >> 20} MB) has one",
    ):
        assert words in said
    assert middleware.LARGE_NBYTES % 1024 == threads.SMALL_NBYTES % 2**20 == 0
    assert "looked at twice a second" in said
    assert threads.LOOK_SECONDS == 1 / 2


# Addresses

KEY = {"Authorization": "Bearer sesame"}
SMALL = Policy(api_key="sesame", max_body_nbytes=1000)
BODIES: dict[str, dict[str, Any]] = {
    "/v1/chat/completions": {"messages": [SAID]},
    "/v1/completions": {"prompt": "x"},
    "/tokenize": {"content": "x"},
    "/detokenize": {"tokens": [5]},
    "/apply-template": {"messages": [SAID]},
}
# What no request of ours brings about here: a body that does not come, and what a text may meet.
BESIDES = {path: {408} for path in BODIES} | {
    path: {200, 408, 429, 500, 503, 504} for path in ("/v1/chat/completions", "/v1/completions")
}
ANSWERS = {
    "/v1/models": ("get", "models", "ModelList"),
    "/v1/models/{model}": ("get", "models", "ModelCard"),
    "/v1/chat/completions": ("post", "texts", "ChatAnswer"),
    "/v1/completions": ("post", "texts", "TextAnswer"),
    "/tokenize": ("post", "texts", "Tokens"),
    "/detokenize": ("post", "texts", "TokenText"),
    "/apply-template": ("post", "texts", "Prompt"),
    "/healthz": ("get", "operation", "Health"),
    "/readyz": ("get", "operation", "Health"),
    "/version": ("get", "operation", "Version"),
    "/props": ("get", "operation", "Props"),
    "/metrics": ("get", "operation", None),
}


@pytest.fixture
def guarded(site: Any) -> TestClient:
    """The same models behind a key. It has no loop of its own that lives on: no texts."""
    return TestClient(create_app(site.serving, SMALL), base_url="http://localhost")


def statuses(client: TestClient, method: str, path: str) -> Iterator[int]:
    """What an address answers to whoever is in order, and to whoever is not."""

    def ask(headers: dict[str, str], body: dict[str, Any] | None, at: str = "tiny") -> int:
        given = {"json": body} if method == "post" and body is not None else {}
        return client.request(method, path.format(model=at), headers=headers, **given).status_code

    body = BODIES.get(path, {})
    if path not in ("/v1/chat/completions", "/v1/completions"):
        yield ask(KEY, body | {"model": "tiny"})
    yield ask(KEY, body | {"model": "none"}, "none")
    yield ask({}, body)
    yield ask(KEY | {"Host": "evil.example"}, body)
    yield ask(KEY | {"Origin": "https://evil.example"}, body)
    if method == "post":
        yield ask(KEY, None)
        yield ask(KEY, {"model": "x" * 1000})
        yield ask(KEY, {"nothing": 1})


@pytest.mark.parametrize("path", ANSWERS)
def test_an_address_answers_with_what_is_described(
    site: Any, guarded: TestClient, path: str
) -> None:
    method, tag, name = ANSWERS[path]
    described = site.http.get("/openapi.json").json()["paths"][path]
    assert list(described) == [method]
    assert described[method]["tags"] == [tag]
    answers = described[method]["responses"]
    seen = set(statuses(guarded, method, path)) | BESIDES.get(path, set())
    if tag == "operation" and name == "Health":
        seen.add(503)
    assert {int(status) for status in answers} == seen
    for status, answer in answers.items():
        kind = "ErrorAnswer"
        if status == "200" or (name == "Health" and status == "503"):
            kind = name
        else:
            assert answer["description"] == "\n".join(
                f"`{code}`: {text}" for code, (own, _, text) in CODES.items() if own == int(status)
            )
        shapes = answer["content"].get("application/json", {"schema": {}})["schema"]
        assert shapes.get("$ref", "").rpartition("/")[2] == (kind or "")


def test_nothing_else_is_described(site: Any) -> None:
    described = site.http.get("/openapi.json").json()
    assert set(described["paths"]) == set(ANSWERS)
    assert described["info"]["title"] == "llama_edu"
    assert "error" in described["info"]["description"]
    assert described["info"]["version"] == site.http.get("/version").json()["version"]
    shapes = described["components"]["schemas"]
    for name in ("ChatRequest", "CompletionRequest", "MessageIn", "ToolIn", "TokenizeRequest"):
        assert shapes[name]["additionalProperties"] is False
    metrics = described["paths"]["/metrics"]["get"]["responses"]["200"]["content"]
    assert metrics["text/plain"] == {"schema": {"type": "string"}}


def test_every_address_of_the_table_is_there(site: Any) -> None:
    named = [path for row in table("Addresses")[:-1] for path in re.findall(r"`(/[^`]*)`", row[0])]
    assert len(named) > 12
    everywhere = {"/tokenize", "/detokenize", "/apply-template"}
    for path in named:
        other = path.removeprefix("/v1") if path in ANSWERS else path
        other = f"/v1{path}" if path in everywhere else other
        statuses = {site.http.get(one.format(model="tiny")).status_code for one in (path, other)}
        assert statuses == ({405} if path in BODIES else {200}), path


def test_what_others_have_and_we_do_not_is_refused_by_name(site: Any) -> None:
    refused = (
        "embeddings embedding pooling responses messages completion rerank reranking score "
        "classify moderations audio/speech audio/transcriptions audio/translations "
        "images/generations images/edits infill api/chat api/generate api/tags api/ps api/show "
        "api/version api/embed api/embeddings slots load lora-adapters load_lora_adapter files "
        "batches assistants threads fine_tuning/jobs"
    ).split()
    for name in refused:
        for prefix in ("/", "/v1/"):
            for method in ("GET", "POST"):
                given = {"json": {}} if method == "POST" else {}
                answer = site.http.request(method, prefix + name, **given)
                error = answer.json()["error"]
                assert (answer.status_code, error["code"]) == (400, "not_supported"), name
                assert error["message"].startswith(f"/{name} is not supported here: ")
