"""Connections that ask nothing: they are ended, and there are never too many of them."""

import contextlib
import json
import socket
import time

import httpx
import pytest
from tiny_served import write_tiny

from llama_edu.serve.guard import Policy
from llama_edu.serve.served import Serving, load
from llama_edu.serve.server import running

POLICY = Policy(head_seconds=1.0, max_connections=3, max_body_nbytes=1000, unread_seconds=0.5)
PATIENCE_S = 120.0
HEAD = b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
BODY = b'{"model": "tiny", "prompt": "x", "max_tokens": 2}'


@pytest.fixture(scope="module")
def url(tmp_path_factory):
    name = write_tiny(tmp_path_factory.mktemp("models") / "tiny")
    with running(Serving(load([str(name)])), POLICY) as url:
        yield url


@pytest.fixture
def connect(url):
    """Opens a connection; all are closed in the end."""
    host, port = url.removeprefix("http://").split(":")
    with contextlib.ExitStack() as opened:
        yield lambda: opened.enter_context(
            socket.create_connection((host, int(port)), timeout=PATIENCE_S)
        )


@pytest.fixture
def connect_deaf(url):
    """Opens a connection that takes hardly more than it reads: some 50 kB lie in between."""
    host, port = url.removeprefix("http://").split(":")
    with contextlib.ExitStack() as opened:

        def connect_one():
            connection = opened.enter_context(socket.socket())
            connection.settimeout(PATIENCE_S)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, 536)
            connection.connect((host, int(port)))
            return connection

        yield connect_one


def rest(connection):
    """All that comes until the other side closes."""
    answer = b""
    with contextlib.suppress(ConnectionResetError):
        while block := connection.recv(65536):
            answer += block
    return answer


def drip(connection, piece=b"x"):
    """Send a little at a time, without end; return when nobody listens any more."""
    end = time.monotonic() + PATIENCE_S
    with contextlib.suppress(ConnectionResetError, BrokenPipeError):
        while time.monotonic() < end:
            connection.sendall(piece)
            time.sleep(0.1)
        pytest.fail("the connection is still open")


def test_a_connection_that_asks_nothing_is_ended(connect):
    assert rest(connect()) == b""


def test_a_head_that_comes_byte_by_byte_is_not_waited_for(connect):
    connection = connect()
    connection.sendall(HEAD)
    drip(connection)


def test_neither_is_a_second_one_on_the_same_connection(connect):
    connection = connect()
    connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
    assert connection.recv(65536).startswith(b"HTTP/1.1 200")
    drip(connection)


def test_what_follows_a_refused_body_is_not_read_for_ever(connect):
    connection = connect()
    connection.sendall(HEAD + b"Transfer-Encoding: chunked\r\n\r\n")
    connection.sendall(b"3e9\r\n" + b" " * 1001 + b"\r\n")
    assert connection.recv(65536).startswith(b"HTTP/1.1 413")
    drip(connection, b"1\r\nx\r\n")


def test_what_is_no_http_after_a_refused_body_ends_the_connection(connect, caplog):
    connection = connect()
    connection.sendall(HEAD + b"Transfer-Encoding: chunked\r\n\r\n")
    connection.sendall(b"3e9\r\n" + b" " * 1001 + b"\r\n")
    assert connection.recv(65536).startswith(b"HTTP/1.1 413")
    connection.sendall(b"no number\r\n")
    assert b"HTTP/1.1 400" not in rest(connection)
    assert [record for record in caplog.records if record.name == "asyncio"] == []


def test_neither_is_a_body_refused_for_its_length(connect):
    connection = connect()
    connection.sendall(HEAD + b"Content-Length: 100000\r\n\r\n")
    assert connection.recv(65536).startswith(b"HTTP/1.1 413")
    drip(connection)


def test_after_a_refused_body_that_came_whole_one_can_ask_again(connect):
    connection = connect()
    connection.sendall(HEAD + b"Content-Length: 1001\r\n\r\n")
    connection.sendall(b" " * 1001)
    connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
    refused, _, answered = rest(connection).partition(b'"code":"body_too_large"')
    assert refused.startswith(b"HTTP/1.1 413")
    assert b"HTTP/1.1 200" in answered


def test_a_whole_head_ends_the_wait(connect):
    connection = connect()
    connection.sendall(HEAD + b"Connection: close\r\nContent-Length: %d\r\n\r\n" % len(BODY))
    time.sleep(2 * POLICY.head_seconds)  # the body has a time of its own
    connection.sendall(BODY)
    assert rest(connection).startswith(b"HTTP/1.1 200")


def test_requests_sent_ahead_are_answered_in_turn(connect):
    connection = connect()
    asking = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nX: %s\r\n" % (b"x" * 4000)
    connection.sendall((asking + b"\r\n") * 99 + asking + b"Connection: close\r\n\r\n")
    assert rest(connection).count(b"HTTP/1.1 200") == 100


def long_text(**more):
    """A request with an answer of some 500 kB."""
    ask = {"model": "tiny", "prompt": "x", "max_tokens": 200, "temperature": 0}
    body = json.dumps(ask | {"n": 4, "logprobs": 20} | more).encode()
    return HEAD + b"Connection: close\r\nContent-Length: %d\r\n\r\n" % len(body) + body


@pytest.mark.parametrize(
    "asking",
    [
        pytest.param(long_text(stream=True), id="a stream"),
        pytest.param(long_text(), id="a whole text, after which the connection closes"),
        pytest.param(
            b"GET /static/chat.js HTTP/1.1\r\nHost: localhost\r\n\r\n" * 100, id="many files"
        ),
    ],
)
def test_who_does_not_read_is_not_waited_for(connect_deaf, url, asking):
    held = [connect_deaf() for _ in range(POLICY.max_connections)]
    for connection in held:
        connection.sendall(asking)
    wait_for_room(url)


def wait_for_room(url):
    """Return once the server takes a connection again."""
    end = time.monotonic() + PATIENCE_S
    while time.monotonic() < end:
        with contextlib.suppress(httpx.TransportError):
            assert httpx.get(f"{url}/healthz", trust_env=False, timeout=5.0).status_code == 200
            return
        time.sleep(0.1)
    pytest.fail("there is still no room")


def test_one_connection_too_many_is_refused_until_another_ends(connect, url):
    asking = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n"
    held = [connect() for _ in range(POLICY.max_connections)]
    for connection in held:
        connection.sendall(asking)
    assert rest(connect()) == b""
    for connection in held:
        assert rest(connection) == b""  # their time is up
    assert httpx.get(f"{url}/healthz", trust_env=False, timeout=PATIENCE_S).status_code == 200
