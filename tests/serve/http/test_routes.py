"""The API as the official client meets it: texts, streams, scores, counts, and every error."""

import dataclasses
import json
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import openai
import pytest
from tiny_served import CONTEXT, tiny

from llama_edu import Sampling, generate
from llama_edu.chat.template import Message
from llama_edu.serve.http.api_errors import CODES

MODEL, TOKENIZER = tiny()
EOS = 2
TALK = [{"role": "user", "content": "Where is the cat?"}]
PATIENCE_S = 120.0


def continued(ids, n, *, continues, **options):
    """Text, new ids and reason, by the engine alone."""
    new = list(generate(MODEL, ids, max_new_tokens=n, **options))
    shown = new[:-1] if new[-1] == EOS else new
    stream = TOKENIZER.stream(continues=continues)
    text = "".join(map(stream.push, shown)) + stream.finish()
    return text, new, "stop" if new[-1] == EOS else "length"


# What comes back


def test_a_completion_is_what_generate_gives(site):
    ids = TOKENIZER.encode("The cat")
    for options in ({"temperature": 0}, {"temperature": 1.2, "top_p": 0.9, "seed": 5}):
        got = site.client.completions.create(
            model="tiny", prompt="The cat", max_tokens=12, extra_body={"top_k": 50}, **options
        )
        sampling = Sampling(float(options["temperature"]), 50, options.get("top_p", 1.0))
        text, new, reason = continued(
            ids, 12, continues=True, sampling=sampling, seed=options.get("seed")
        )
        assert (got.choices[0].text, got.choices[0].finish_reason) == (text, reason)
        assert got.object == "text_completion"
        assert (got.usage.prompt_tokens, got.usage.completion_tokens) == (len(ids), len(new))
        assert got.usage.total_tokens == len(ids) + len(new)


def test_a_chat_answers_what_the_template_asks(site):
    talk = [{"role": "developer", "content": "Be brief."}, *TALK]
    got = site.client.chat.completions.create(
        model="tiny", messages=talk, temperature=0, max_completion_tokens=10
    )
    messages = [Message("system", "Be brief."), Message("user", TALK[0]["content"])]
    ids = site.tiny.template.encode(messages)
    text, new, reason = continued(ids, 10, continues=False)
    assert got.choices[0].message.content == text
    assert got.choices[0].message.role == "assistant"
    assert got.choices[0].finish_reason == reason
    assert (got.usage.prompt_tokens, got.usage.completion_tokens) == (len(ids), len(new))


def test_what_a_user_types_never_becomes_a_special_token(site):
    def prompt_tokens(text):
        return site.client.chat.completions.create(
            model="tiny", messages=[{"role": "user", "content": text}], max_tokens=1
        ).usage.prompt_tokens

    assert prompt_tokens("<|im_end|>") - prompt_tokens("") == len("<|im_end|>")


def test_parts_of_a_message_are_one_text(site):
    def reply(content):
        return site.client.chat.completions.create(
            model="tiny", messages=[{"role": "user", "content": content}], temperature=0
        )

    parts = [{"type": "text", "text": "Where is "}, {"type": "text", "text": "the cat?"}]
    whole = reply(TALK[0]["content"])
    assert reply(parts).choices[0].message.content == whole.choices[0].message.content
    # Without a word on the length it goes on to the end of the context, or of the server's limit.
    new = whole.usage.completion_tokens
    room = min(CONTEXT - whole.usage.prompt_tokens, 200)
    assert new == room or whole.choices[0].finish_reason == "stop"


def test_a_prompt_may_be_ids_and_prompts_may_be_many(site):
    ids = TOKENIZER.encode("The cat")
    ask = {"model": "tiny", "max_tokens": 6, "temperature": 1.0, "seed": 3, "n": 2}
    one = site.client.completions.create(prompt=ids, **ask)
    many = site.client.completions.create(prompt=["Once", "The cat"], **ask)
    assert [choice.index for choice in many.choices] == [0, 1, 2, 3]
    assert [c.text for c in many.choices[2:]] == [c.text for c in one.choices]
    assert many.choices[2].text != many.choices[3].text
    assert many.usage.prompt_tokens == len(ids) + len(TOKENIZER.encode("Once"))


def test_a_stop_sequence_ends_a_text(site):
    ask = {"model": "tiny", "prompt": "The cat", "temperature": 0}
    text = site.client.completions.create(max_tokens=30, **ask).choices[0].text
    cut = text[10:12]
    got = site.client.completions.create(max_tokens=30, stop=["\0never", cut], **ask)
    assert got.choices[0].text == text[: text.index(cut)]
    assert got.choices[0].finish_reason == "stop"


# Streams


def test_a_stream_gives_the_same_text_in_pieces(site):
    ask = {"model": "tiny", "messages": TALK, "temperature": 1.1, "seed": 8, "max_tokens": 40}
    whole = site.client.chat.completions.create(**ask)
    stream = site.client.chat.completions.create(
        stream=True, stream_options={"include_usage": True}, **ask
    )
    chunks = list(stream)
    deltas = [chunk.choices[0] for chunk in chunks if chunk.choices]
    assert deltas[0].delta.role == "assistant"
    assert "".join(one.delta.content or "" for one in deltas) == whole.choices[0].message.content
    assert len(deltas) > 10
    assert deltas[-1].finish_reason == whole.choices[0].finish_reason
    assert all(one.finish_reason is None for one in deltas[:-1])
    assert len({chunk.id for chunk in chunks}) == 1
    assert chunks[-1].choices == []
    assert chunks[-1].usage.completion_tokens == whole.usage.completion_tokens
    assert all(chunk.usage is None for chunk in chunks[:-1])


def test_the_frames_of_a_stream(site):
    body = {"model": "tiny", "prompt": "The cat", "max_tokens": 5, "stream": True}
    answer = site.http.post("/v1/completions", json=body)
    assert answer.headers["content-type"].startswith("text/event-stream")
    *frames, last, rest = answer.text.split("\n\n")
    assert (last, rest) == ("data: [DONE]", "")
    assert all(frame.startswith("data: {") and "\n" not in frame for frame in frames)
    assert "usage" not in json.loads(frames[0].removeprefix("data: "))


def test_choices_of_a_stream_come_side_by_side(site):
    ask = {"model": "tiny", "prompt": "The cat", "max_tokens": 20, "n": 3, "seed": 2}
    whole = site.client.completions.create(**ask)
    texts, order = ["", "", ""], []
    for chunk in site.client.completions.create(stream=True, **ask):
        texts[chunk.choices[0].index] += chunk.choices[0].text
        order.append(chunk.choices[0].index)
    assert texts == [choice.text for choice in whole.choices]
    assert order.index(2) < len(order) - 1 - order[::-1].index(0)


# Scores


def test_scores_of_a_chat(site):
    got = site.client.chat.completions.create(
        model="tiny", messages=TALK, max_tokens=6, temperature=0, logprobs=True, top_logprobs=3
    )
    entries = got.choices[0].logprobs.content
    _, new, _ = continued(
        site.tiny.template.encode([Message("user", TALK[0]["content"])]), 6, continues=False
    )
    shown = [i for i in new if i != EOS]
    assert [bytes(one.bytes) for one in entries] == [TOKENIZER.token_bytes(i) for i in shown]
    for one in entries:
        assert one.top_logprobs[0].logprob == one.logprob  # greedy takes the likeliest
        assert len(one.top_logprobs) == 3
        assert one.logprob < 0


def test_scores_of_a_streamed_completion_say_where_each_token_begins(site):
    stream = site.client.completions.create(
        model="tiny", prompt="The cat", max_tokens=15, seed=1, logprobs=2, stream=True
    )
    text, starts, tokens = "", [], []
    for chunk in stream:
        text += chunk.choices[0].text
        if chunk.choices[0].logprobs:
            starts += chunk.choices[0].logprobs.text_offset
            tokens += chunk.choices[0].logprobs.tokens
    assert len(tokens) == len(starts) <= 15
    assert starts == sorted(starts)
    for start, token in zip(starts, tokens, strict=True):
        if "\ufffd" not in token:
            assert text[start:].startswith(token)


# Counts


def test_a_conversation_computes_only_what_is_new(site):
    talk = [{"role": "user", "content": "A question nobody has asked before: 12 birds?"}]
    ask = {"model": "tiny", "temperature": 0, "max_tokens": 8}
    first = site.client.chat.completions.create(messages=talk, **ask)
    reply = first.choices[0].message.content
    talk += [{"role": "assistant", "content": reply}, {"role": "user", "content": "And fish?"}]
    second = site.client.chat.completions.create(messages=talk, **ask)
    cached = second.usage.prompt_tokens_details.cached_tokens
    # All of the first prompt; the reply as far as its text becomes the same tokens again.
    assert cached >= first.usage.prompt_tokens
    assert cached < second.usage.prompt_tokens


def test_models_are_listed(site):
    cards = {card.id: card for card in site.client.models.list()}
    assert set(cards) == {"tiny", "plain"}
    assert site.client.models.retrieve("plain").chat is False
    assert (cards["tiny"].chat, cards["tiny"].context_length) == (True, CONTEXT)


def test_metrics_count_what_was_done(site):
    def counted():
        lines = site.http.get("/metrics").text.splitlines()
        values = dict(line.rsplit(" ", 1) for line in lines if not line.startswith("#"))
        return float(values['llama_edu_tokens_total{kind="generated",model="tiny"}'])

    site.client.completions.create(model="tiny", prompt="x", max_tokens=1)
    before = counted()
    got = site.client.completions.create(model="tiny", prompt="The cat", max_tokens=7)
    assert counted() - before == got.usage.completion_tokens
    assert "The cat" not in site.http.get("/metrics").text


def test_metrics_show_every_model_as_it_is_now(site):
    site.client.completions.create(model="tiny", prompt="The cat", max_tokens=2)
    lines = site.http.get("/metrics").text.splitlines()
    values = dict(line.rsplit(" ", 1) for line in lines if not line.startswith("#"))
    for model in ("tiny", "plain"):
        for name in ("live", "waiting"):
            assert float(values[f'llama_edu_{name}{{model="{model}"}}']) == 0
    assert float(values['llama_edu_prefix_bytes{model="tiny"}']) > 0


# Many at once


def test_many_at_once_get_what_each_would_get_alone(site):
    prompts = ["Once upon", "The cat", "12 fish", "Eine Katze", "naïve café", "🐈", "x", "birds"]

    def ask(prompt):
        got = site.client.completions.create(
            model="tiny", prompt=prompt, max_tokens=25, temperature=1.0, seed=len(prompt)
        )
        return got.choices[0].text

    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(ask, prompts))
    for prompt, text in zip(prompts, together, strict=True):
        ids = TOKENIZER.encode(prompt)
        alone = continued(ids, 25, continues=True, sampling=Sampling(), seed=len(prompt))
        assert text == alone[0]


def wait_until(condition):
    end = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.02)


@pytest.fixture
def held(site, monkeypatch):
    """Makes the tiny model stand still after some steps, until this event is set."""
    scheduler, go_on, done = site.tiny.scheduler, threading.Event(), []
    step = scheduler.step

    def held_step():
        if len(done) >= 20:
            assert go_on.wait(PATIENCE_S)
        done.append(True)
        return step()

    monkeypatch.setattr(scheduler, "step", held_step)
    yield go_on
    go_on.set()


def test_a_client_that_goes_away_is_not_worked_for(site, monkeypatch, held):
    assert continued(TOKENIZER.encode("The cat"), 200, continues=True)[2] == "length"
    before, cancel, cancelled = reasons(site).get("cancelled", 0), site.tiny.worker.cancel, []
    monkeypatch.setattr(site.tiny.worker, "cancel", lambda job: cancelled.append(cancel(job)))
    stream = site.client.completions.create(
        model="tiny", prompt="The cat", temperature=0, max_tokens=200, n=4, stream=True
    )
    next(iter(stream))
    stream.close()
    wait_until(lambda: cancelled)
    held.set()
    wait_until(lambda: site.tiny.scheduler.is_idle)
    wait_until(lambda: reasons(site).get("cancelled", 0) - before == 4)


@pytest.mark.parametrize(
    "more", [b"", b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"], ids=["", "asks more"]
)
def test_a_client_that_waits_for_the_whole_text_may_go_away_too(site, monkeypatch, more):
    before, left = reasons(site).get("cancelled", 0), n_left(site)
    monkeypatch.setattr(site.tiny.scheduler, "_admit", lambda: None)  # it stays in the queue
    body = json.dumps({"model": "tiny", "prompt": "x"}).encode()
    host, port = site.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=PATIENCE_S) as connection:
        connection.sendall(b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\n")
        connection.sendall(b"Content-Type: application/json\r\n")
        connection.sendall(b"Content-Length: %d\r\n\r\n" % len(body) + body)
        wait_until(lambda: site.tiny.scheduler.n_waiting == 1)
        connection.sendall(more)
    wait_until(lambda: site.tiny.scheduler.is_idle)
    wait_until(lambda: reasons(site).get("cancelled", 0) - before == 1)
    wait_until(lambda: n_left(site) == left + 1)


def n_left(site):
    """How many went away before an answer, which is a status of its own, as nginx has it."""
    name = 'llama_edu_http_requests_total{route="/v1/completions",status="499"}'
    lines = site.http.get("/metrics").text.splitlines()
    return sum(float(line.split()[-1]) for line in lines if line.startswith(name))


def reasons(site):
    """How choices of the tiny model have ended, by the metrics."""
    lines = site.http.get("/metrics").text.splitlines()
    found = [line for line in lines if line.startswith('llama_edu_choices_total{model="tiny"')]
    return {line.split('reason="')[1].split('"')[0]: float(line.split()[-1]) for line in found}


def test_a_model_that_computes_keeps_nobody_else_waiting(site, monkeypatch):
    scheduler, go_on = site.tiny.scheduler, threading.Event()
    step = scheduler.step

    def long_step():
        assert go_on.wait(PATIENCE_S)
        return step()

    monkeypatch.setattr(scheduler, "step", long_step)
    with ThreadPoolExecutor(1) as pool:
        try:
            waiting = pool.submit(
                site.client.completions.create, model="tiny", prompt="x", max_tokens=2
            )
            wait_until(lambda: not scheduler.is_idle)
            assert site.http.get("/healthz").status_code == 200
            other = site.client.completions.create(model="plain", prompt="x", max_tokens=2)
            assert other.choices[0].text
            assert not waiting.done()
        finally:
            go_on.set()
        assert waiting.result().choices[0].text


def test_a_full_queue_says_when_to_come_back(site, monkeypatch):
    def ask(number):
        return site.client.completions.create(model="tiny", prompt="x", max_tokens=2, seed=number)

    with ThreadPoolExecutor(8) as pool:
        with monkeypatch.context() as patched:
            patched.setattr(site.tiny.scheduler, "_admit", lambda: None)
            waiting = [pool.submit(ask, number) for number in range(8)]
            wait_until(lambda: site.tiny.scheduler.n_waiting == 8)
            with pytest.raises(
                openai.RateLimitError, match="at most 8 sequences in the queue"
            ) as seen:
                ask(8)
        assert 1 <= int(seen.value.response.headers["retry-after"]) <= 60
        assert seen.value.code == "queue_full"
        assert all(one.result().choices[0].text for one in waiting)


def test_a_text_that_fails_half_way_ends_the_stream_with_an_error(site, monkeypatch, held):
    stream = site.client.completions.create(
        model="tiny", prompt="The cat", temperature=0, max_tokens=200, stream=True
    )
    chunks = iter(stream)
    next(chunks)
    limits = dataclasses.replace(site.tiny.limits, max_seconds=0.0)
    monkeypatch.setattr(site.tiny.scheduler, "limits", limits)
    held.set()
    with pytest.raises(openai.APIError, match="expected to be done within 0 s") as seen:
        list(chunks)
    assert seen.value.code == "time_limit"
    with pytest.raises(openai.InternalServerError) as seen:
        site.client.completions.create(model="tiny", prompt="The cat")
    assert (seen.value.status_code, seen.value.code) == (504, "time_limit")


# Errors

JSON = {"content-type": "application/json"}
OK = {"model": "tiny", "prompt": "x", "max_tokens": 1}


def test_a_reply_can_be_sent_back_as_it_came(site):
    create = site.client.chat.completions.create
    short = {"model": "tiny", "max_tokens": 2, "temperature": 0}
    first = create(messages=CHAT["messages"], **short)
    said = first.choices[0].message
    asked = {"role": "user", "content": "x"}
    for reply in (said, said.model_dump(), {"role": "assistant", "content": "y", "refusal": None}):
        again = create(messages=[*CHAT["messages"], reply, asked], **short)
        assert again.usage.prompt_tokens > first.usage.prompt_tokens


def refusal(site, path="/v1/completions", **request):
    """Status, code, param and message of an answer, whose shape is checked."""
    answer = site.http.post(path, **request)
    body = answer.json()
    assert list(body) == ["error"]
    error = body["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert (answer.status_code, error["type"]) == CODES[error["code"]][:2]
    return answer.status_code, error["code"], error["param"], error["message"]


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"", "invalid_value"),
        (b"{", "invalid_json"),
        (b'{"model": "tiny", "prompt": "\xff"}', "invalid_json"),
        (b"[" * 10_000, "invalid_json"),
        (b"[]", "invalid_value"),
        (b"null", "invalid_value"),
        (b'{"model": "tiny", "prompt": "\\ud800"}', "invalid_value"),
        (b'{"model": "tiny", "prompt": "x", "temperature": NaN}', "invalid_value"),
        (b'{"model": "tiny", "prompt": "x", "logit_bias": {"3": NaN}}', "invalid_value"),
        (b'{"model": "tiny", "prompt": "x", "seed": 1' + b"0" * 5000 + b"}", "invalid_json"),
        (b" " * 30_000, "body_too_large"),
    ],
)
def test_bodies_that_are_none(site, body, code):
    assert refusal(site, content=body, headers=JSON)[1] == code


@pytest.mark.parametrize(
    ("changes", "code", "param"),
    [
        ({"model": "../tiny"}, "model_not_found", "model"),
        ({"model": None}, "invalid_value", "model"),
        ({"prompt": ""}, "invalid_value", "prompt"),
        ({"prompt": []}, "invalid_value", "prompt"),
        ({"prompt": [400]}, "invalid_value", "prompt"),
        ({"prompt": [-1]}, "invalid_value", "prompt"),
        ({"prompt": ["x", 1]}, "invalid_value", "prompt"),
        ({"prompt": ["x"] * 65}, "invalid_value", "prompt"),
        ({"prompt": "x" * 300}, "context_length_exceeded", "prompt"),
        ({"max_tokens": -2}, "invalid_value", "max_tokens"),
        ({"max_tokens": "5"}, "invalid_value", "max_tokens"),
        ({"n": 17}, "invalid_value", "n"),
        ({"n": 9}, "invalid_value", None),
        ({"temperature": -1}, "invalid_value", "temperature"),
        ({"top_p": -0.5}, "invalid_value", "top_p"),
        ({"top_k": -2}, "invalid_value", "top_k"),
        ({"min_p": 1.5}, "invalid_value", "min_p"),
        ({"repetition_penalty": 0}, "invalid_value", "repetition_penalty"),
        ({"stop": [""]}, "invalid_value", "stop"),
        ({"stop": ["a"] * 17}, "invalid_value", "stop"),
        ({"logprobs": 21}, "invalid_value", "logprobs"),
        ({"echo": 1}, "invalid_value", "echo"),
        ({"best_of": 2}, "not_supported", "best_of"),
        ({"suffix": "."}, "not_supported", "suffix"),
        ({"presence_penalty": 2.5}, "invalid_value", "presence_penalty"),
        ({"logit_bias": {"5": 101}}, "invalid_value", "logit_bias"),
        ({"logit_bias": {"x": 1}}, "invalid_value", "logit_bias"),
        ({"logit_bias": {"400": 1}}, "invalid_value", None),
        ({"prompt_logprobs": 1, "stream": True}, "invalid_value", "prompt_logprobs"),
        ({"stream_options": {"include_usage": True}}, "invalid_value", "stream_options"),
        ({"max_token": 3}, "unknown_parameter", "max_token"),
    ],
)
def test_fields_that_cannot_be(site, changes, code, param):
    got = refusal(site, json=OK | changes)
    assert got[1:3] == (code, param)
    assert "expected" in got[3]
    assert "got" in got[3]


def test_fields_that_change_nothing_are_taken(site):
    neutral = {"echo": False, "best_of": 1, "presence_penalty": 0, "frequency_penalty": 0.0}
    neutral |= {"logit_bias": {}, "suffix": "", "user": "someone", "n": 1, "stop": None}
    assert site.http.post("/v1/completions", json=OK | neutral).status_code == 200


CHAT = {"model": "tiny", "messages": TALK, "max_tokens": 1}


@pytest.mark.parametrize(
    ("changes", "code", "param"),
    [
        ({"model": "plain"}, "invalid_value", "model"),
        ({"messages": []}, "invalid_value", "messages"),
        ({"messages": [{"role": "critic", "content": "x"}]}, "invalid_value", "messages"),
        ({"messages": [{"role": "user", "content": None}]}, "invalid_value", "messages"),
        (
            {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {}}]}]},
            "not_supported",
            "messages",
        ),
        ({"messages": [*TALK, {"role": "user", "content": "x" * 300}]}, None, "messages"),
        ({"top_logprobs": 2}, "invalid_value", "top_logprobs"),
        ({"max_completion_tokens": 2}, "invalid_value", "max_tokens"),
        ({"tools": [{"type": "function"}]}, "invalid_value", "tools"),
        ({"response_format": {"type": "yaml"}}, "invalid_value", "response_format"),
        ({"response_format": {"type": "json_schema"}}, "invalid_value", "response_format"),
        ({"tool_choice": "required"}, "invalid_value", "tool_choice"),
        ({"web_search_options": {}}, "not_supported", "web_search_options"),
    ],
)
def test_chats_that_cannot_be(site, changes, code, param):
    got = refusal(site, "/v1/chat/completions", json=CHAT | changes)
    assert got[1:3] == (code or "context_length_exceeded", param)


@pytest.mark.parametrize(
    ("body", "what"),
    [
        ({"model": "tiny"}, "messages"),
        ({"model": "tiny", "messages": [*TALK, {"role": "user"}]}, "messages.1.content"),
        ({}, "messages"),
    ],
)
def test_what_is_missing_is_named(site, body, what):
    _, code, param, message = refusal(site, "/v1/chat/completions", json=body)
    assert (code, param) == ("invalid_value", what.partition(".")[0])
    assert message == f"expected {what}, got none"


def test_errors_reach_the_official_client_as_its_own(site):
    with pytest.raises(openai.NotFoundError, match="expected one of tiny, plain"):
        site.client.completions.create(model="none", prompt="x")
    with pytest.raises(openai.BadRequestError, match="at most 2, got 3"):
        site.client.completions.create(model="tiny", prompt="x", temperature=3)


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/nowhere", 404),
        ("GET", "/static/../app.py", 404),
        ("GET", "/static/%2e%2e/app.py", 404),
        ("GET", "/v1/models/none", 404),
        ("GET", "/v1/models/..%2f..%2fapp.py", 404),
        ("GET", "/v1/completions", 405),
        ("DELETE", "/v1/models", 405),
    ],
)
def test_addresses_that_are_none(site, method, path, status):
    answer = site.http.request(method, path)
    assert answer.status_code == status
    assert answer.json()["error"]["code"] in CODES


def test_health(site):
    for path in ("/healthz", "/readyz"):
        assert site.http.get(path).json() == {"status": "ok"}
