"""Servers that give log-probabilities in any form, and servers that give something else."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from llama_edu import Llama, Tokenizer
from llama_edu.errors import InputError
from llama_edu.verify.checkpoints import TINY, write_tiny
from llama_edu.verify.evidence import Declared
from llama_edu.verify.http import LENGTHS, NEW, verify_url
from llama_edu.verify.protocol import ProgramError
from llama_edu.verify.report import Report

Reply = Callable[[dict[str, Any]], Any]


class Server(HTTPServer):
    """A server whose answers are what `reply` makes of a request, and whose models are `models`."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.models: Any = {"data": [{"id": "whatever"}]}
        self.reply: Reply = lambda request: {}
        self.asked: list[dict[str, Any]] = []

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/v1"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        self.send(self.server.models)

    def do_POST(self) -> None:
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.asked.append(request)
        self.send(self.server.reply(request))

    def send(self, content: Any) -> None:
        """Bytes as they are, an integer as a status, everything else as JSON."""
        self.send_response(content if isinstance(content, int) else 200)
        self.end_headers()
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture(scope="module")
def started() -> Iterator[Server]:
    with Server() as running:
        threading.Thread(target=running.serve_forever, args=(0.01,), daemon=True).start()
        yield running
        running.shutdown()


@pytest.fixture
def server(started: Server) -> Server:
    started.models, started.asked = {"data": [{"id": "whatever"}]}, []
    return started


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("tiny")
    write_tiny(TINY[0], directory)
    return directory


Entry = Callable[["Answers", int], dict[str, Any]]
Change = Callable[[float], Any]


def by_id(answers: Answers, token_id: int) -> dict[str, Any]:
    return {"id": token_id}


class Answers:
    """What the book's engine answers, each token told as `entry` does."""

    def __init__(self, directory: Path) -> None:
        self.model, self.tokenizer = Llama.from_pretrained(directory), Tokenizer(directory)

    def scores(self, request: dict[str, Any]) -> Iterator[tuple[int, dict[int, float]]]:
        """For each new token its id, and ids with log-probabilities."""
        ids, cache = list(request["prompt"]), self.model.new_cache()
        for _ in range(request["max_tokens"]):
            logits = self.model.forward(ids, cache, last_only=True)[0].astype(np.float64)
            logprobs = logits - logits.max()
            logprobs -= np.log(np.exp(logprobs).sum())
            best = np.argsort(-logprobs)[: request["logprobs"]].tolist()
            yield best[0], {i: float(logprobs[i]) for i in best}
            ids = [best[0]]

    def text(self, token_id: int) -> str:
        return self.tokenizer.token_bytes(token_id).decode("utf-8", "replace")

    def chat(self, request: dict[str, Any], entry: Entry = by_id, change: Change = float) -> Any:
        """In the form of chat: a list of entries, each with the likeliest beside it."""
        content = [
            entry(self, chosen)
            | {"top_logprobs": [entry(self, i) | {"logprob": change(p)} for i, p in some.items()]}
            for chosen, some in self.scores(request)
        ]
        return {"choices": [{"logprobs": {"content": content}}]}


@pytest.fixture(scope="module")
def answers(tiny: Path) -> Answers:
    return Answers(tiny)


def verified(server: Server, directory: Path) -> Report:
    return verify_url(server.address, [str(directory)], naming_seconds=0.01)


ENTRIES: dict[str, Entry] = {
    "ids": by_id,
    "bytes": lambda answers, i: {"bytes": list(answers.tokenizer.token_bytes(i))},
    "texts": lambda answers, i: {"token": answers.text(i)},
}


@pytest.mark.parametrize("form", ENTRIES)
def test_tokens_may_be_told_in_any_form(
    form: str, server: Server, tiny: Path, answers: Answers
) -> None:
    server.reply = lambda request: answers.chat(request, ENTRIES[form])
    report = verified(server, tiny)
    assert report.ok, "\n".join(report.text())
    assert [len(request["prompt"]) for request in server.asked] == list(LENGTHS)
    assert len(LENGTHS) < report.counts["right"] <= len(LENGTHS) * NEW
    if form == "ids":  # texts may stand for two tokens, and then nobody knows what follows
        assert report.counts["right"] == len(LENGTHS) * NEW


def test_an_id_the_model_does_not_have_is_no_token_of_it(server: Server, tiny: Path) -> None:
    entry = {"id": 288, "logprob": -0.5}
    content = [entry | {"top_logprobs": [entry]}]
    server.reply = lambda request: {"choices": [{"logprobs": {"content": content}}]}
    report = verified(server, tiny)
    assert report.counts == {"wrong": len(LENGTHS)}
    told = "expected log-probabilities of known tokens, got none, NaN or ∞"
    assert {result.detail for result in report.results} == {told}


@pytest.mark.parametrize("number", [None, float("nan")])
def test_scores_that_are_no_numbers_are_wrong(
    number: float | None, server: Server, tiny: Path, answers: Answers
) -> None:
    """One of many is enough."""
    server.reply = lambda request: answers.chat(request, change=lambda p: number if p > -4.8 else p)
    report = verified(server, tiny)
    assert "right" not in report.counts
    assert "got none, NaN or ∞" in report.results[0].detail


def test_scores_that_are_off_are_told_and_where(
    server: Server, tiny: Path, answers: Answers
) -> None:
    server.reply = lambda request: answers.chat(request, change=lambda p: 1.5 * p)
    report = verified(server, tiny)
    assert report.results[0].detail.startswith("log-probabilities are off by up to")
    assert report.results[0].detail.endswith(f"differ by at most {report.results[0].tolerance:.1g}")
    (verdict,) = report.verdicts
    assert "One token alone is off" in " ".join(verdict.advice)


def test_a_prompt_that_is_off_after_others_were_right_tells_of_what_they_left(
    server: Server, tiny: Path, answers: Answers
) -> None:
    """As a prefix cache does that takes too much of another prompt."""
    server.reply = lambda request: answers.chat(
        request, change=lambda p: p if len(request["prompt"]) < 20 else p - 1
    )
    (verdict,) = verified(server, tiny).verdicts
    assert "All is right until a text begins anew" in " ".join(verdict.advice)


def test_what_a_server_rounds_to_is_allowed_where_it_is_declared(
    server: Server, tiny: Path
) -> None:
    rounding = Answers(tiny)
    rounding.model = Llama.from_pretrained(tiny, "bf16-pure", cache_dtype="bf16")
    server.reply = rounding.chat
    assert not verified(server, tiny).ok
    declared = Declared("bf16", "bf16")
    assert verify_url(server.address, [str(tiny)], declared=declared).ok


def test_prompts_end_where_the_context_does(server: Server, tmp_path: Path) -> None:
    write_tiny(TINY[0], tmp_path)
    config = json.loads((tmp_path / "config.json").read_text("utf-8"))
    (tmp_path / "config.json").write_text(
        json.dumps(config | {"max_position_embeddings": 24}), "utf-8"
    )
    answers = Answers(tmp_path)
    server.reply = lambda request: answers.chat(request)
    assert verified(server, tmp_path).ok
    assert [len(request["prompt"]) for request in server.asked] == [1, 8, 11, 20]


LOGPROBS = {
    "no choices": {},
    "an empty list of them": {"choices": []},
    "choices that are a text": {"choices": "none"},
    "no logprobs": {"choices": [{"text": "Once"}]},
    "logprobs in a list": {"choices": [{"logprobs": [-0.5]}]},
    "texts without scores": {"choices": [{"logprobs": {"tokens": ["a"]}}]},
    "fewer scores than texts": {"choices": [{"logprobs": {"tokens": ["a"], "top_logprobs": []}}]},
    "entries without scores": {"choices": [{"logprobs": {"content": [{"token": "a"}]}}]},
    "scores in words": {
        "choices": [{"logprobs": {"tokens": ["a"], "top_logprobs": [{"a": "likely"}]}}]
    },
    "bytes beyond 255": {
        "choices": [{"logprobs": {"content": [{"bytes": [300], "top_logprobs": []}]}}]
    },
}


@pytest.mark.parametrize("what", LOGPROBS)
def test_a_reply_with(what: str, server: Server, tiny: Path) -> None:
    server.reply = lambda request: LOGPROBS[what]
    with pytest.raises(ProgramError, match=r"expected choices with logprobs, got \{") as raised:
        verified(server, tiny)
    assert json.dumps(LOGPROBS[what])[:100] in str(raised.value)


@pytest.mark.parametrize("logprobs", [None, {"content": []}, {"tokens": [], "top_logprobs": []}])
def test_no_scores_at_all(logprobs: Any, server: Server, tiny: Path) -> None:
    server.reply = lambda request: {"choices": [{"logprobs": logprobs}]}
    with pytest.raises(ProgramError, match="expected logprobs of at least one token, got none"):
        verified(server, tiny)


@pytest.mark.parametrize(
    ("reply", "told"),
    [
        (b"<html>", "expected JSON from http.*/completions"),
        (b"[" * 100_000, "expected JSON from http.*/completions"),
        (b"[1]", "expected a JSON object from http.*/completions"),
        (503, "expected an answer from http.*/completions, got 503: 503"),
    ],
)
def test_a_reply_that_is_something_else(reply: Any, told: str, server: Server, tiny: Path) -> None:
    server.reply = lambda request: reply
    with pytest.raises(ProgramError, match=told):
        verified(server, tiny)


@pytest.mark.parametrize(
    ("listed", "served"),
    [
        ({}, "ours"),
        ({"data": None}, "ours"),
        ({"data": 7}, "ours"),
        ({"data": ["theirs"]}, "ours"),
        ({"data": [{"id": "theirs"}]}, "theirs"),
        ({"data": [{"id": "theirs"}, {"id": "ours"}]}, "ours"),
    ],
)
def test_the_model_is_asked_for_by_the_server_s_name(
    listed: Any, served: str, server: Server, tiny: Path, answers: Answers
) -> None:
    server.models = json.loads(json.dumps(listed).replace("ours", str(tiny)))
    server.reply = lambda request: answers.chat(request)
    assert verified(server, tiny).ok
    assert {request["model"] for request in server.asked} == {served.replace("ours", str(tiny))}


def test_of_several_models_none_is_chosen(server: Server, tiny: Path) -> None:
    server.models = {"data": [{"id": "a"}, {"id": "b"}]}
    with pytest.raises(InputError, match=r"expected a served model called .*, got a, b"):
        verified(server, tiny)


@pytest.mark.parametrize(
    ("address", "error", "told"),
    [
        ("ftp://127.0.0.1/v1", InputError, "expected an http address, got 'ftp://"),
        ("http://127.0.0.1:port/v1", ProgramError, "expected a server at .*'port'"),
    ],
)
def test_an_address_that_is_none(
    address: str, error: type[Exception], told: str, tiny: Path
) -> None:
    with pytest.raises(error, match=told):
        verify_url(address, [str(tiny)])
