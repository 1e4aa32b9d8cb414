"""The door: other hosts and sites, no key, no JSON, too much, too slow; what answers carry."""

import asyncio
import functools
import json
import logging
import re
import socket
import threading
import time
import types

import httpx
import pytest
from starlette.testclient import TestClient

from llama_edu.errors import InputError
from llama_edu.serve.http import middleware
from llama_edu.serve.http.app import create_app
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


# Who asks what, and whether it is answered

KEYED = Policy(api_key="sesame", max_body_nbytes=100)
INVITING = Policy(allowed_origins=("https://chat.example",), api_key="sesame")
FOR_ALL = Policy(allowed_origins=("*",))
KEY = {"Authorization": "Bearer sesame"}
IS_JSON = {"Content-Type": "application/json"}
FRIEND = {"Origin": "https://chat.example"}
STRANGER = {"Origin": "https://evil.example"}
SENT_BY_ITS_PAGE = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "cors"}
ASKS_FIRST = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "X-Any"}


@pytest.fixture(scope="module")
def door(site):
    """The same models behind a door of one's choice."""
    return functools.cache(
        lambda policy: TestClient(create_app(site.serving, policy), base_url="http://localhost")
    )


@pytest.mark.parametrize(
    ("policy", "asked", "headers", "body", "status"),
    [
        # Without the key: the page, and whether the server is well; nothing else.
        (KEYED, "GET /", {}, b"", 200),
        (KEYED, "GET /static/chat.js", {}, b"", 200),
        (KEYED, "GET /static/none", {}, b"", 404),
        (KEYED, "GET /openapi.json", {}, b"", 200),
        (KEYED, "GET /health", {}, b"", 200),
        (KEYED, "GET /healthz", {}, b"", 200),
        (KEYED, "GET /ping", {}, b"", 200),
        (KEYED, "GET /readyz", {}, b"", 200),
        (KEYED, "GET /v1/health", {}, b"", 200),
        (KEYED, "HEAD /", {}, b"", 200),
        (KEYED, "GET /metrics", {}, b"", 401),
        (KEYED, "GET /v1/models", {}, b"", 401),
        (KEYED, "HEAD /v1/models", {}, b"", 401),
        (KEYED, "GET /nowhere", {}, b"", 401),
        (KEYED, "POST /tokenize", IS_JSON, b"{}", 401),
        (KEYED, "GET /v1/models", KEY, b"", 200),
        (KEYED, "HEAD /v1/models", KEY, b"", 200),
        (KEYED, "GET /metrics", {"Authorization": "Bearer Sesame"}, b"", 401),
        # What a body must be, where one is read at all.
        (KEYED, "POST /tokenize", KEY, b"{}", 415),
        (KEYED, "POST /tokenize", KEY | {"Content-Type": "text/plain"}, b"{}", 415),
        (KEYED, "POST /tokenize", KEY | IS_JSON, b"{}", 400),
        (KEYED, "POST /tokenize", KEY | {"Content-Type": "Application/JSON "}, b"{}", 400),
        (
            KEYED,
            "POST /tokenize",
            KEY | {"Content-Type": "application/json; charset=utf-8"},
            b"{}",
            400,
        ),
        (KEYED, "POST /tokenize", KEY | IS_JSON, b" " * 100, 400),
        (KEYED, "POST /tokenize", KEY | IS_JSON, b" " * 101, 413),
        (KEYED, "POST /tokenize", KEY | IS_JSON | {"Content-Length": "101"}, b"{}", 413),
        (KEYED, "POST /tokenize", KEY | IS_JSON | {"Content-Length": "100"}, b"{}", 400),
        (KEYED, "POST /nowhere", KEY, b"x", 404),
        (KEYED, "POST /nowhere", KEY, b" " * 101, 404),
        (KEYED, "POST /v1/models", KEY, b"x", 405),
        (KEYED, "PUT /tokenize", KEY, b"x", 405),
        # Whose page asks.
        (KEYED, "GET /healthz", {"Origin": "http://localhost"}, b"", 200),
        (KEYED, "GET /healthz", {"Origin": "http://localhost:81"}, b"", 403),
        (KEYED, "GET /healthz", STRANGER, b"", 403),
        (KEYED, "GET /healthz", SENT_BY_ITS_PAGE, b"", 403),
        (KEYED, "GET /healthz", {"Sec-Fetch-Site": "none"}, b"", 200),
        (KEYED, "HEAD /", FOLLOWED, b"", 200),
        (KEYED, "GET /", FOLLOWED | {"sec-fetch-mode": "cors"}, b"", 403),
        (INVITING, "GET /v1/models", KEY | FRIEND | SENT_BY_ITS_PAGE, b"", 200),
        (INVITING, "GET /v1/models", FRIEND | SENT_BY_ITS_PAGE, b"", 401),
        (INVITING, "GET /v1/models", KEY | STRANGER | SENT_BY_ITS_PAGE, b"", 403),
        (INVITING, "GET /v1/models", KEY | SENT_BY_ITS_PAGE, b"", 403),
        (INVITING, "OPTIONS /v1/completions", FRIEND | ASKS_FIRST, b"", 200),
        (INVITING, "OPTIONS /v1/completions", STRANGER | ASKS_FIRST, b"", 403),
        (
            INVITING,
            "OPTIONS /v1/completions",
            FRIEND | ASKS_FIRST | {"Access-Control-Request-Method": "DELETE"},
            b"",
            400,
        ),
        (FOR_ALL, "GET /v1/models", STRANGER | SENT_BY_ITS_PAGE, b"", 200),
        # Under which name.
        (KEYED, "GET /healthz", {"Host": "evil.example"}, b"", 421),
        (FOR_ALL, "GET /healthz", {"Host": "evil.example"} | STRANGER, b"", 421),
    ],
)
def test_who_is_let_in(door, policy, asked, headers, body, status):
    method, path = asked.split()
    answer = door(policy).request(method, path, headers=headers, content=body)
    assert answer.status_code == status
    assert (answer.headers.get("www-authenticate") == "Bearer") == (status == 401)
    # Pages that are invited may read every answer, whatever it says; no others may read any.
    origin = headers.get("Origin")
    invited = origin is not None and policy.allowed_origins in (("*",), (origin,))
    assert (answer.headers.get("access-control-allow-origin") in ("*", origin)) == (
        invited or (origin is None and "access-control-allow-origin" not in answer.headers)
    )
    if invited and method == "OPTIONS" and status == 200:
        assert answer.headers["access-control-allow-methods"] == "GET, POST"
        assert answer.headers["access-control-allow-headers"] == "X-Any"
    if invited and method == "GET" and status == 200:
        exposed = answer.headers["access-control-expose-headers"]
        assert exposed == "Retry-After, X-Request-Id"


def test_of_what_was_sent_eighty_characters_are_told(door):
    long, shown = "x" * 81, "x" * 80
    for asked in (
        {"url": "/healthz", "headers": {"Host": long}, "method": "GET"},
        {"url": "/tokenize", "headers": {"Content-Type": long}, "method": "POST"},
        {"url": f"/v1/models/{long}", "method": "GET"},
    ):
        message = door(LOCAL).request(**asked).json()["error"]["message"]
        assert f"got '{shown}'" in message


@pytest.mark.parametrize(
    ("fields", "fits"),
    [
        ({"api_key": "sesame"}, True),
        ({"api_key": "~!sesame!~"}, True),
        ({"api_key": "two words"}, False),
        ({"api_key": "sésame"}, False),
        ({"api_key": "a\nb"}, False),
        ({"allowed_origins": ("https://chat.example",)}, True),
        ({"allowed_origins": ("https://chat.example:8443", "*")}, True),
        ({"allowed_origins": ("*", "chat.example")}, False),
        ({"allowed_origins": ("chat.example",)}, False),
        ({"allowed_origins": ("://chat.example",)}, False),
        ({"allowed_origins": ("https://",)}, False),
        ({"allowed_origins": ("https://chat.example/",)}, False),
        ({"allowed_origins": ("https:/chat.example",)}, False),
    ],
)
def test_what_an_operator_cannot_mean_is_refused(fields, fits):
    if fits:
        assert Policy(**fields)
    else:
        with pytest.raises(InputError, match="expected"):
            Policy(**fields)


def test_pages_are_known_by_their_origin_and_all_by_a_star():
    assert INVITING.knows_origin("https://chat.example")
    assert not INVITING.knows_origin("https://evil.example")
    assert not INVITING.knows_origin("")
    assert FOR_ALL.knows_origin("https://evil.example")
    assert not LOCAL.knows_origin("https://chat.example")


def messages_of(*sizes):
    """The messages of a body that comes in pieces, and what the door hands on of them."""
    left = [
        {"type": "http.request", "body": b" " * size, "more_body": number < len(sizes)}
        for number, size in enumerate(sizes, 1)
    ]
    left.append({"type": "http.disconnect"})

    async def receive():
        return left.pop(0)

    async def read():
        limited = limit_body(receive, Policy(max_body_nbytes=10))
        return [await limited() for _ in range(len(sizes) + 1)]

    return asyncio.run(read())


def test_a_body_may_come_in_pieces_up_to_its_limit():
    for sizes in ((10,), (4, 6), (0, 10), (5, 5, 0)):
        assert [len(one.get("body", b"")) for one in messages_of(*sizes)] == [*sizes, 0]
    for sizes in ((11,), (4, 7), (5, 5, 1)):
        with pytest.raises(BodyRefused) as seen:
            messages_of(*sizes)
        assert seen.value.status_code == 413
        assert f"at most 10 bytes, got {sum(sizes)} so far" in seen.value.error.message


def test_the_goodbye_of_a_whole_body_has_no_time_limit():
    async def read():
        gone = asyncio.Event()
        asyncio.get_running_loop().call_later(0.05, gone.set)
        parts = [{"type": "http.request", "body": b"{}"}]

        async def receive():
            if not parts:
                await gone.wait()
                return {"type": "http.disconnect"}
            return parts.pop()

        limited = limit_body(receive, Policy(body_seconds=0.01))
        return [(await limited())["type"] for _ in range(2)]

    assert asyncio.run(read()) == ["http.request", "http.disconnect"]


def test_a_line_says_what_was_asked_and_how_long_it_took(site, records, monkeypatch):
    """By a clock of its own, which for this thread is looked at twice for each request."""
    now, here = iter([1.0, 3.123456, 5.0, 5.25]), threading.current_thread()

    def perf_counter():
        return next(now) if threading.current_thread() is here else time.perf_counter()

    async def ask():
        transport = httpx.ASGITransport(create_app(site.serving, LOCAL))
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as web:
            return [await web.head("/healthz"), await web.get("/v1/models/none")]

    with monkeypatch.context() as patched:
        clock = types.SimpleNamespace(perf_counter=perf_counter)
        patched.setattr(middleware, "time", clock)
        answers = asyncio.run(ask())
    lines = lines_of(records, answers)
    names = ("method", "route", "status", "seconds")
    assert [{name: line[name] for name in names} for line in lines] == [
        {"method": "HEAD", "route": "/healthz", "status": 200, "seconds": 2.1235},
        {"method": "GET", "route": "/v1/models/{model}", "status": 404, "seconds": 0.25},
    ]
    assert "model" not in lines[0]


def lines_of(records, answers):
    """The line of each answer, which may be written a moment after it was sent."""
    wanted = [answer.headers["x-request-id"] for answer in answers]
    end = time.monotonic() + 30
    while time.monotonic() < end:
        lines = {r.request_id: vars(r) for r in list(records) if hasattr(r, "request_id")}
        if lines.keys() >= set(wanted):
            return [lines[one] for one in wanted]
        time.sleep(0.01)
    raise AssertionError("a line is missing")


def test_a_line_counts_what_was_read_and_written(site, records, monkeypatch):
    now = iter(range(0, 10_000, 3))
    monkeypatch.setattr(site.tiny.scheduler, "clock", lambda: next(now) * 1.0001234)
    body = {"model": "tiny", "prompt": ["A line", "of text"], "n": 2, "max_tokens": 3}
    answers = [site.http.post("/v1/completions", json=body) for _ in range(2)]
    counts = [answer.json()["usage"] for answer in answers]
    for line, usage in zip(lines_of(records, answers), counts, strict=True):
        cached = usage["prompt_tokens_details"]["cached_tokens"]
        assert line["model"] == "tiny"
        assert line["prompt_tokens"] == usage["prompt_tokens"]
        assert line["cached_tokens"] == cached
        assert line["completion_tokens"] == usage["completion_tokens"]
        assert 0 < line["queued_s"] < line["first_token_s"]
        for seconds in (line["queued_s"], line["first_token_s"]):
            assert round(seconds, 4) == seconds != round(seconds, 3)
        choices = [choice["finish_reason"] for choice in answers[0].json()["choices"]]
        assert len(line["reasons"]) == len(choices) == 4
        assert set(line["reasons"]) <= {"stop", "length"}
    assert counts[1]["prompt_tokens_details"]["cached_tokens"] > 0
