"""Connections that ask nothing: they are ended, and there are never too many of them."""

import asyncio
import contextlib
import dataclasses
import json
import socket
import threading
import time
from unittest import mock

import httpx
import pytest
from tiny_served import write_tiny

from llama_edu.serve.http.connection import Alarm, Connection, OpenConnections, address_of
from llama_edu.serve.http.policy import Policy
from llama_edu.serve.http.served import Serving, load
from llama_edu.serve.http.server import listen, running

PATIENCE_S = 120.0
PATIENT = Policy(
    head_seconds=PATIENCE_S, max_connections=3, max_body_nbytes=1000, unread_seconds=PATIENCE_S
)
HASTY = dataclasses.replace(PATIENT, head_seconds=1.0, unread_seconds=0.5)
HEAD = b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
BODY = b'{"model": "tiny", "prompt": "x", "max_tokens": 2}'


class Site:
    """A running server, and connections to it."""

    def __init__(self, url, opened):
        self.url, self._opened = url, opened

    def connect(self, *, deaf=False):
        """One that is `deaf` takes hardly more than is read: some 50 kB lie in between."""
        connection = self._opened.enter_context(socket.socket())
        connection.settimeout(PATIENCE_S)
        if deaf:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, 536)
        host, port = self.url.removeprefix("http://").split(":")
        connection.connect((host, int(port)))
        return connection


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return write_tiny(tmp_path_factory.mktemp("models") / "tiny")


@contextlib.contextmanager
def site_with(policy, model):
    with running(Serving(load([str(model)])), policy) as url, contextlib.ExitStack() as opened:
        yield Site(url, opened)


@pytest.fixture
def hasty(model):
    """A server that waits for nobody."""
    with site_with(HASTY, model) as site:
        yield site


@pytest.fixture
def patient(model):
    """A server that ends nothing while a test lasts."""
    with site_with(PATIENT, model) as site:
        yield site


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


def test_a_connection_that_asks_nothing_is_ended(hasty):
    assert rest(hasty.connect()) == b""


def test_a_head_that_comes_byte_by_byte_is_not_waited_for(hasty):
    connection = hasty.connect()
    connection.sendall(HEAD)
    drip(connection)


def test_neither_is_a_second_one_on_the_same_connection(hasty):
    connection = hasty.connect()
    connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
    assert connection.recv(65536).startswith(b"HTTP/1.1 200")
    drip(connection)


def test_a_body_that_does_not_come_is_not_waited_for(model):
    with site_with(dataclasses.replace(PATIENT, body_seconds=0.5), model) as site:
        connection = site.connect()
        connection.sendall(HEAD + b"Connection: close\r\nContent-Length: 100\r\n\r\n{")
        answer = rest(connection)
    assert answer.startswith(b"HTTP/1.1 408")
    assert b'"code":"body_timeout"' in answer


def test_what_follows_a_refused_body_is_not_read_for_ever(hasty):
    connection = hasty.connect()
    connection.sendall(HEAD + b"Transfer-Encoding: chunked\r\n\r\n")
    connection.sendall(b"3e9\r\n" + b" " * 1001 + b"\r\n")
    assert connection.recv(65536).startswith(b"HTTP/1.1 413")
    drip(connection, b"1\r\nx\r\n")


def test_what_is_no_http_after_a_refused_body_ends_the_connection(patient, caplog):
    connection = patient.connect()
    connection.sendall(HEAD + b"Transfer-Encoding: chunked\r\n\r\n")
    connection.sendall(b"3e9\r\n" + b" " * 1001 + b"\r\n")
    assert connection.recv(65536).startswith(b"HTTP/1.1 413")
    connection.sendall(b"no number\r\n")
    assert b"HTTP/1.1 400" not in rest(connection)
    assert [record for record in caplog.records if record.name == "asyncio"] == []


def test_neither_is_a_body_refused_for_its_length(hasty):
    connection = hasty.connect()
    connection.sendall(HEAD + b"Content-Length: 100000\r\n\r\n")
    assert connection.recv(65536).startswith(b"HTTP/1.1 413")
    drip(connection)


def test_after_a_refused_body_that_came_whole_one_can_ask_again(patient):
    connection = patient.connect()
    connection.sendall(HEAD + b"Content-Length: 1001\r\n\r\n")
    connection.sendall(b" " * 1001)
    connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
    refused, _, answered = rest(connection).partition(b'"code":"body_too_large"')
    assert refused.startswith(b"HTTP/1.1 413")
    assert b"HTTP/1.1 200" in answered


def test_a_whole_head_ends_the_wait(hasty):
    connection = hasty.connect()
    connection.sendall(HEAD + b"Connection: close\r\nContent-Length: %d\r\n\r\n" % len(BODY))
    time.sleep(2 * HASTY.head_seconds)  # the body has a time of its own
    connection.sendall(BODY)
    assert rest(connection).startswith(b"HTTP/1.1 200")


def test_requests_sent_ahead_are_answered_in_turn(patient):
    connection = patient.connect()
    asking = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nX: %s\r\n" % (b"x" * 4000)
    connection.sendall((asking + b"\r\n") * 99 + asking + b"Connection: close\r\n\r\n")
    assert rest(connection).count(b"HTTP/1.1 200") == 100


def long_text(**more):
    """A request with an answer of some 23 kB for each of its texts, eight of them by default."""
    ask = {"model": "tiny", "prompt": "x", "max_tokens": 60, "temperature": 0}
    body = json.dumps(ask | {"n": 8, "logprobs": 20} | more).encode()
    return HEAD + b"Connection: close\r\nContent-Length: %d\r\n\r\n" % len(body) + body


@pytest.mark.parametrize(
    "asking",
    [
        pytest.param(long_text(stream=True), id="a stream"),
        pytest.param(long_text(), id="a whole text, after which the connection closes"),
        # Of this one less than 64 KiB is left over, which asyncio itself would wait for.
        pytest.param(long_text(n=5), id="a shorter text"),
        pytest.param(
            b"GET /static/chat.js HTTP/1.1\r\nHost: localhost\r\n\r\n" * 100, id="many files"
        ),
    ],
)
def test_who_does_not_read_is_not_waited_for(hasty, asking):
    held = [hasty.connect(deaf=True) for _ in range(HASTY.max_connections)]
    for connection in held:
        connection.sendall(asking)
    wait_for_room(hasty)


def wait_for_room(site):
    """Return once the server takes a connection again."""
    end = time.monotonic() + PATIENCE_S
    while time.monotonic() < end:
        with contextlib.suppress(httpx.TransportError):
            assert httpx.get(f"{site.url}/healthz", trust_env=False).status_code == 200
            return
        time.sleep(0.1)
    pytest.fail("there is still no room")


def test_one_connection_too_many_is_refused_until_another_ends(patient):
    asking = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n"
    held = [patient.connect() for _ in range(PATIENT.max_connections)]
    for connection in held:
        connection.sendall(asking)
    one_more = patient.connect()
    with contextlib.suppress(ConnectionResetError, BrokenPipeError):
        one_more.sendall(asking + b"\r\n")
    assert rest(one_more) == b""
    held[0].close()
    wait_for_room(patient)


def test_a_kept_connection_is_answered_at_once(patient):
    """Without TCP_NODELAY every answer but the first would take 40 ms."""
    with httpx.Client(base_url=patient.url, timeout=PATIENCE_S, trust_env=False) as http:
        seconds = []
        for _ in range(40):
            start = time.perf_counter()
            assert http.get("/healthz").status_code == 200
            seconds.append(time.perf_counter() - start)
    assert sorted(seconds)[10] < 0.03, "a quarter of them, on a machine however busy"


@pytest.mark.parametrize(
    ("host", "family"), [("127.0.0.1", socket.AF_INET), ("::1", socket.AF_INET6)]
)
def test_what_is_accepted_may_not_be_delayed(host, family):
    if family == socket.AF_INET6 and not has_ipv6():
        pytest.skip("this machine has no IPv6")
    with listen(host, 0) as listening:
        assert (listening.family, listening.proto) == (family, socket.IPPROTO_TCP)
        with pytest.raises(OSError, match="in use"):
            listen(host, listening.getsockname()[1])


def has_ipv6():
    try:
        with socket.socket(socket.AF_INET6) as one:
            one.bind(("::1", 0))
    except OSError:
        return False
    return True


def test_one_address_does_not_keep_others_out(model):
    """127.0.0.2 stands for another machine."""
    policy = dataclasses.replace(PATIENT, max_connections=8, max_connections_per_address=2)
    with site_with(policy, model) as site:
        held = [site.connect() for _ in range(2)]
        for connection in held:
            connection.sendall(HEAD)
        assert rest(site.connect()) == b""
        host, port = site.url.removeprefix("http://").split(":")
        other = ("127.0.0.2", 0)
        with socket.create_connection((host, int(port)), PATIENCE_S, source_address=other) as one:
            one.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            assert rest(one).startswith(b"HTTP/1.1 200")
        held[0].close()
        wait_for_room(site)


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("192.0.2.1", "192.0.2.1", True),
        ("192.0.2.1", "192.0.2.2", False),
        ("192.0.2.1", "::ffff:192.0.2.1", True),
        ("2001:db8:0:1::1", "2001:db8:0:1:ffff::2", True),
        ("2001:db8:0:1::1", "2001:db8:0:2::1", False),
        ("2001:db8:0:2::1", "2001:db8:0:3::1", False),
        ("fe80::1%eth0", "fe80::2", True),
    ],
)
def test_whom_a_connection_counts_for(one, other, same):
    class Peer(asyncio.BaseTransport):
        def __init__(self, address):
            super().__init__({"peername": (address, 1)})

    assert (address_of(Peer(one)) == address_of(Peer(other))) is same


@pytest.mark.parametrize("peer", [None, (), ("",), ("no address", 1), ""], ids=repr)
def test_who_has_no_address_counts_for_nobody(peer):
    assert address_of(asyncio.BaseTransport({"peername": peer})) == ""


def test_connections_are_counted_in_all_and_for_each_address():
    policy = Policy(max_connections=4, max_connections_per_address=2)
    counted = OpenConnections(policy)
    assert [counted.add(one) for one in "aaab"] == [True, True, False, True]
    assert not counted.add("c"), "that would be a fifth"
    for one in "ca":
        counted.remove(one)
    assert not counted.add("a"), "two of its own are still there"
    counted.remove("a")
    assert counted.add("b")
    assert not counted.add("b"), "of five in all the fifth, and of its own the third"
    for one in "aabbb":
        counted.remove(one)
    assert [counted.add(one) for one in "ccccc"] == [True, True, False, False, False]


def test_an_alarm_rings_once_unless_it_is_stopped():
    rung = []

    async def wait():
        alarm = Alarm(0.02, lambda: rung.append(True))
        alarm.start()
        alarm.start()
        await asyncio.sleep(0.05)
        alarm.stop()
        seen = [len(rung)]
        alarm.start()
        alarm.stop()
        alarm.stop()
        await asyncio.sleep(0.05)
        seen.append(len(rung))
        alarm.start()
        await asyncio.sleep(0.05)
        return [*seen, len(rung)]

    assert asyncio.run(wait()) == [1, 1, 2]


@pytest.mark.parametrize(
    ("then", "handed_on"),
    [
        (lambda connection: None, 1),
        (lambda connection: connection.resume_reading(), 1),
        (lambda connection: connection.pause_reading(), 0),
        (lambda connection: connection.connection_lost(None), 0),
    ],
    ids=["nothing", "told so twice", "told not to", "gone"],
)
def test_what_came_ahead_is_handed_on_once_to_who_still_wants_it(then, handed_on):
    """Nothing at all, handed on, would be taken for the end of what the client sends."""
    inner, transport = mock.Mock(asyncio.Protocol), mock.Mock(asyncio.Transport)

    async def come_ahead():
        connection = Connection(inner, PATIENT, OpenConnections(PATIENT))
        connection.connection_made(transport)
        connection.pause_reading()
        connection.data_received(b"ahead")
        connection.resume_reading()
        then(connection)
        await asyncio.sleep(0)

    asyncio.run(come_ahead())
    assert inner.data_received.mock_calls == [mock.call(b"ahead")] * handed_on


def test_more_is_sent_ahead_than_is_read_ahead(patient):
    """What waits in the server stays small; all of it is answered, in order."""
    asking = b"GET /static/chat.js HTTP/1.1\r\nHost: localhost\r\nX: %s\r\n" % (b"x" * 9000)
    connection = patient.connect()
    sender = threading.Thread(
        target=connection.sendall,
        args=((asking + b"\r\n") * 60 + asking + b"Connection: close\r\n\r\n",),
    )
    sender.start()
    assert rest(connection).count(b"HTTP/1.1 200") == 61
    sender.join(PATIENCE_S)
