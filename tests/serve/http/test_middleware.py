"""The door: other hosts and sites, no key, no JSON, too much, too slow; what answers carry."""

import asyncio
import json
import logging
import re
import socket
import time

import pytest

from llama_edu.serve.http.middleware import (
    HEADERS,
    LARGE_NBYTES,
    ROUNDS,
    BodyRefused,
    LoggingMiddleware,
    Turns,
    limit_body,
)
from llama_edu.serve.http.policy import Policy

LOCAL = Policy()


class Answers:
    """Metrics that only remember what they were told."""

    def __init__(self):
        self.seen = []

    def observe_answer(self, route, status):
        self.seen.append((route, status))


@pytest.mark.parametrize("begun", [False, True])
def test_a_fault_of_ours_is_an_answer_unless_one_has_begun(begun, caplog):
    """Of one that has begun nobody must think that it is whole: the connection ends."""

    async def broken(scope, receive, send):
        if begun:
            await send({"type": "http.response.start", "status": 200, "headers": []})
        raise RuntimeError("broken on purpose")

    sent, metrics = [], Answers()

    async def send(message):
        sent.append(message)

    async def receive():
        raise AssertionError("nobody reads the body")

    scope = {"type": "http", "method": "GET", "path": "/", "headers": [], "query_string": b""}
    work = LoggingMiddleware(broken, metrics)(scope, receive, send)
    if begun:
        with pytest.raises(RuntimeError, match="on purpose"):
            asyncio.run(work)
        assert [message["type"] for message in sent] == ["http.response.start"]
    else:
        asyncio.run(work)
        assert sent[0]["status"] == 500
        assert json.loads(sent[1]["body"])["error"]["code"] == "internal"
    assert metrics.seen == [("none", 200 if begun else 500)]


@pytest.mark.parametrize(
    ("policy", "header", "known"),
    [
        (LOCAL, "127.0.0.1:8000", True),
        (LOCAL, "localhost:8000", True),
        (LOCAL, "LOCALHOST", True),
        (LOCAL, "[::1]:8000", True),
        (LOCAL, "127.0.0.2", True),
        (LOCAL, "", False),
        (LOCAL, "evil.example:8000", False),
        (LOCAL, "127.0.0.1.evil.example", False),
        (LOCAL, "localhost.evil.example", False),
        (LOCAL, "127.0.0.1@evil.example", False),
        (LOCAL, "192.168.1.5:8000", False),
        (LOCAL, "[::1", False),
        (Policy(host="0.0.0.0"), "192.168.1.5:8000", True),
        (Policy(host="0.0.0.0"), "evil.example", False),
        (Policy(host="192.168.1.5"), "192.168.1.5:8000", True),
        (Policy(host="192.168.1.5"), "127.0.0.1:8000", False),
        (Policy(allowed_hosts=("book.example",)), "book.example:8000", True),
    ],
)
def test_hosts(policy, header, known):
    assert policy.knows_host(header) is known


@pytest.mark.parametrize(
    ("header", "known"),
    [
        ("Bearer sesame", True),
        ("bearer sesame", True),
        ("BEARER  sesame", True),
        ("sesame", False),
        ("Basic sesame", False),
        ("Bearer sésame", False),
        ("Bearer other", False),
        ("Bearer ", False),
        ("", False),
    ],
)
def test_keys(header, known):
    sent = header.encode().decode("latin-1")  # as a header is handed over
    assert Policy(api_key="sesame").knows_key(sent) is known
    assert LOCAL.knows_key(sent)


def test_a_page_whose_name_resolves_to_this_machine_is_turned_away(site):
    answer = site.http.get("/v1/models", headers={"host": "evil.example"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (421, "wrong_host")


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "https://evil.example"},
        {"origin": "null"},
        {"origin": "http://[::1"},
        {"origin": "localhost"},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
    ],
)
def test_a_page_of_another_site_is_turned_away(site, headers):
    body = {"model": "tiny", "prompt": "x"}
    answer = site.http.post("/v1/completions", json=body, headers=headers)
    assert (answer.status_code, answer.json()["error"]["code"]) == (403, "cross_site")
    assert "access-control-allow-origin" not in answer.headers


def test_our_own_page_is_let_in(site):
    headers = {"origin": site.url, "sec-fetch-site": "same-origin"}
    assert site.http.get("/v1/models", headers=headers).status_code == 200


FOLLOWED = {
    "sec-fetch-site": "cross-site",
    "sec-fetch-mode": "navigate",
    "sec-fetch-dest": "document",
}


@pytest.mark.parametrize("where", ["cross-site", "same-site"])
def test_a_link_of_another_site_opens_the_page(site, where):
    answer = site.http.get("/", headers=FOLLOWED | {"sec-fetch-site": where})
    assert answer.status_code == 200
    assert "frame-ancestors 'none'" in answer.headers["content-security-policy"]


@pytest.mark.parametrize(
    ("method", "path", "changes"),
    [
        ("GET", "/", {"sec-fetch-dest": "iframe"}),
        ("GET", "/", {"sec-fetch-mode": "no-cors", "sec-fetch-dest": "image"}),
        ("GET", "/", {"origin": "https://evil.example"}),
        ("GET", "/v1/models", {}),
        ("GET", "/static/chat.js", {}),
        ("POST", "/", {}),
        ("POST", "/v1/completions", {}),
    ],
)
def test_and_nothing_else(site, method, path, changes):
    answer = site.http.request(method, path, headers=FOLLOWED | changes)
    assert (answer.status_code, answer.json()["error"]["code"]) == (403, "cross_site")


def test_no_site_may_ask_first(site):
    headers = {"origin": "https://evil.example", "access-control-request-method": "POST"}
    answer = site.http.options("/v1/completions", headers=headers)
    assert answer.status_code == 403
    assert not [name for name in answer.headers if name.startswith("access-control")]


def test_a_form_is_no_json(site):
    answer = site.http.post("/v1/completions", content='{"model": "tiny", "prompt": "x"}')
    assert (answer.status_code, answer.json()["error"]["code"]) == (415, "unsupported_media_type")


def test_every_answer_carries_the_headers(site):
    for path in ("/", "/healthz", "/nowhere", "/v1/models", "/openapi.json"):
        answer = site.http.get(path)
        assert {name: answer.headers[name] for name in HEADERS} == HEADERS
        assert len(answer.headers["x-request-id"]) == 16
    assert "server" not in answer.headers


def raw(site, *parts, pause=0.0):
    """The answer to bytes as they are, as long as it says: the server may keep the line open."""
    host, port = site.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=60) as connection:
        for part in parts:
            connection.sendall(part)
            time.sleep(pause)
        answer = b""
        while not is_whole(answer) and (block := connection.recv(65536)):
            answer += block
        return answer


def is_whole(answer):
    """Whether the head is there, and as many bytes after it as it announces."""
    head, end, body = answer.partition(b"\r\n\r\n")
    length = re.search(rb"(?i)^content-length: *(\d+)", head, re.MULTILINE)
    return bool(end and length) and len(body) >= int(length[1])


HEAD = b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"


@pytest.mark.parametrize(
    "data",
    [
        b"\x16\x03\x01\x02\x00\r\n\r\n",
        b"GET / HTTP/1.1\r\n\r\n",
        HEAD + b"Content-Length: +5\r\n\r\n",
        HEAD + b"Transfer-Encoding: chunked\r\n\r\nno number\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"a" * 17_000,
    ],
)
def test_what_is_no_http_gets_an_answer_like_any_other(site, data):
    head, _, body = raw(site, data).partition(b"\r\n\r\n")
    status, *lines = head.decode().split("\r\n")
    headers = dict(line.split(": ", 1) for line in lines)
    assert status == "HTTP/1.1 400 Bad Request"
    for name, value in (HEADERS | {"Content-Type": "application/json"}).items():
        assert headers[name.lower()] == value
    assert json.loads(body)["error"]["code"] == "invalid_http"


def body_from(receive, body_seconds):
    """What the door makes of the messages of a body."""

    async def read():
        await limit_body(receive, Policy(body_seconds=body_seconds))()

    asyncio.run(read())


def test_a_body_is_waited_for_until_its_time_is_up():
    async def never():
        await asyncio.Event().wait()

    with pytest.raises(BodyRefused) as seen:
        body_from(never, 0.01)
    assert seen.value.error.code == "body_timeout"


def test_a_body_that_is_there_is_taken_however_late():
    async def there():
        return {"type": "http.request", "body": b"{}"}

    body_from(there, 0.0)


def test_so_is_one_that_came_while_nobody_looked():
    async def read():
        loop, arrived = asyncio.get_running_loop(), asyncio.Event()

        async def receive():
            await arrived.wait()
            return {"type": "http.request", "body": b"{}"}

        loop.call_later(0.01, arrived.set)
        loop.call_soon(time.sleep, 0.1)  # both this and the deadline are due afterwards
        await limit_body(receive, Policy(body_seconds=0.02))()

    asyncio.run(read())


@pytest.mark.parametrize(("nbytes", "in_turn"), [(LARGE_NBYTES, True), (100, False)])
def test_others_are_heard_between_two_large_bodies(nbytes, in_turn):
    """Five that are there at once, and somebody who needs a few rounds of the loop."""
    happened = []

    async def there():
        return {"type": "http.request", "body": b" " * nbytes}

    async def sender(number, turns):
        await limit_body(there, Policy(), turns)()
        happened.append(number)

    async def other():
        for _ in range(5):
            for _ in range(ROUNDS):
                await asyncio.sleep(0)
            happened.append("other")

    async def all_at_once():
        turns = Turns()
        await asyncio.gather(*(sender(n, turns) for n in range(5)), other())

    asyncio.run(all_at_once())
    assert [one for one in happened if one != "other"] == [0, 1, 2, 3, 4]
    spans = [happened.index(n + 1) - happened.index(n) for n in range(4)]
    assert (min(spans) > 1) == in_turn  # somebody else came in between


def test_a_body_without_a_length_is_bounded_too(site):
    chunk = b"1000\r\n" + b" " * 0x1000 + b"\r\n"
    answer = raw(site, HEAD + b"Transfer-Encoding: chunked\r\n\r\n", *[chunk] * 6)
    assert answer.startswith(b"HTTP/1.1 413")
    assert b'"code":"body_too_large"' in answer


@pytest.fixture
def records(monkeypatch):
    """What is logged, whatever earlier tests made of the logger: `serve` sets it up for itself."""
    seen, logger = [], logging.getLogger("llama_edu.serve")
    handler = logging.Handler()
    handler.emit = seen.append
    monkeypatch.setattr(logger, "handlers", [handler])
    monkeypatch.setattr(logger, "disabled", False)
    monkeypatch.setattr(logging.root.manager, "disable", logging.NOTSET)
    before = logger.level
    logger.setLevel(logging.INFO)
    yield seen
    logger.setLevel(before)


def test_a_line_per_request_and_no_text_in_it(site, records):
    secret = "a sentence that nobody else should read"
    answers = []
    for model in ("tiny", secret):
        body = {"model": model, "prompt": secret, "max_tokens": 2, "user": secret}
        answers.append(site.http.post(f"/v1/completions?{secret}", json=body))
    answers.append(site.http.get(f"/{secret}"))
    # A line is written once its answer has been sent, so perhaps after that of the next one.
    wanted = {answer.headers["x-request-id"] for answer in answers}
    lines, end = {}, time.monotonic() + 30
    while not lines.keys() >= wanted and time.monotonic() < end:
        time.sleep(0.01)
        lines = {r.request_id: r for r in list(records) if hasattr(r, "request_id")}
    lines = [lines[answer.headers["x-request-id"]] for answer in answers]
    assert [record.status for record in lines] == [200, 404, 404]
    assert lines[0].completion_tokens == 2
    assert lines[0].route == "/v1/completions"
    assert secret not in repr([vars(record) for record in lines])
    assert "sentence" not in repr([vars(record) for record in lines])
