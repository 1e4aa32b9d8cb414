"""How many connections there may be, and how long one may be open without asking or reading.

uvicorn ends a connection that falls silent after an answer. It does not end one that never asks,
that sends the head of a request a byte at a time, that goes on sending a body which has been
answered already, or that does not read its answers; so a few hundred of those would be enough to
keep everybody else out. It also stops reading while an answer is owed and another request is
already there, and would not notice that the client has gone.

`Connection` stands between a socket and uvicorn's protocol, which it takes as it is: to the socket
it is a protocol, to uvicorn a transport, both as asyncio describes them. What it needs to know,
whether a request is being answered, `ConnectionMiddleware` tells it from inside the application.
"""

import asyncio
import contextlib
import ipaddress
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import h11
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

from llama_edu.serve.http.api_errors import ApiError
from llama_edu.serve.http.middleware import HEADERS
from llama_edu.serve.http.policy import Policy

__all__ = ["ConnectionMiddleware", "bounded_protocol"]

MOST_AHEAD_NBYTES = 64 * 1024  # of further requests, sent before the one at hand is answered
STATE_KEY = "connection"  # where a request's scope keeps the connection it came by


def bounded_protocol(policy: Policy) -> type[asyncio.Protocol]:
    """A protocol for uvicorn's option `http`: its own, within the bounds of a policy."""
    open_connections = OpenConnections(policy)

    class BoundedConnection(Connection):
        def __init__(self, app_state: dict[str, Any], **given_by_uvicorn: Any) -> None:
            state = {**app_state, STATE_KEY: self}  # uvicorn copies it into every scope
            inner = H11Protocol(app_state=state, **given_by_uvicorn)
            super().__init__(inner, policy, open_connections)

    return BoundedConnection


class ConnectionMiddleware:
    """Tells a connection when a request of its is being answered, and when that is over."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Hand on."""
        connection = scope.get("state", {}).get(STATE_KEY)
        with contextlib.nullcontext() if connection is None else connection.answering():
            await self._app(scope, receive, send)


class OpenConnections:
    """Counts the connections there are, in all and from each address."""

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self._by_address: Counter[str] = Counter()

    def add(self, address: str) -> bool:
        """Count one more; say whether there may be as many."""
        self._by_address[address] += 1
        most, most_per_address = (
            self._policy.max_connections,
            self._policy.max_connections_per_address,
        )
        return self._by_address.total() <= most and self._by_address[address] <= most_per_address

    def remove(self, address: str) -> None:
        """Count one less."""
        self._by_address[address] -= 1
        if not self._by_address[address]:
            del self._by_address[address]


def address_of(transport: asyncio.BaseTransport) -> str:
    """Whom a connection counts for. Of IPv6, a whole /64: that much is given to one household."""
    peer = transport.get_extra_info("peername")
    try:
        address = ipaddress.ip_address(peer[0].partition("%")[0])
    except (TypeError, ValueError, IndexError):  # gone already, or no address of the Internet
        return ""
    if isinstance(address, ipaddress.IPv6Address):
        mapped = address.ipv4_mapped
        if mapped is None:
            return str(ipaddress.ip_network((address, 64), strict=False))
        address = mapped
    return str(address)


class Alarm:
    """Calls once, after a while, unless it is stopped."""

    def __init__(self, seconds: float, call: Callable[[], None]) -> None:
        self._seconds, self._call = seconds, call
        self._handle: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Do nothing if it runs already."""
        if self._handle is None:
            self._handle = asyncio.get_running_loop().call_later(self._seconds, self._call)

    def stop(self) -> None:
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None


class Connection(asyncio.Protocol, asyncio.Transport):
    """One connection: a protocol to its socket, a transport to uvicorn's protocol."""

    def __init__(
        self, inner: asyncio.Protocol, policy: Policy, open_connections: OpenConnections
    ) -> None:
        super().__init__()
        self._inner, self._policy, self._open = inner, policy, open_connections
        self._answering = 0  # requests; the next may begin before the last one's task has ended
        self._is_reading = True
        self._reads_inside = False  # whether bytes are being handed on at the moment
        self._ahead = bytearray()
        self._is_lost = False

    @contextlib.contextmanager
    def answering(self) -> Iterator[None]:
        """While an answer is owed, the client has nothing to send and may take its time."""
        self._answering += 1
        self._unasked.stop()
        try:
            yield
        finally:
            self._answering -= 1
            if not self._answering and not self._is_lost:
                self._unasked.start()  # what comes before the next whole head does not stop it

    # To the socket

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self._transport = transport
        self._address = address_of(transport)
        # The first closes as after an answer, and closing waits for whoever does not read; the
        # second does not wait.
        self._unasked = Alarm(self._policy.head_seconds, transport.close)
        self._unread = Alarm(self._policy.unread_seconds, transport.abort)
        transport.set_write_buffer_limits(high=0)  # writing pauses at the first byte left over
        self._inner.connection_made(self)
        if self._open.add(self._address):
            self._unasked.start()
        else:
            transport.abort()

    def data_received(self, data: bytes) -> None:
        if not self._is_reading:
            self._ahead += data
            if len(self._ahead) >= MOST_AHEAD_NBYTES:
                self._transport.pause_reading()
            return
        self._reads_inside = True
        try:
            self._inner.data_received(data)
        except h11.LocalProtocolError:  # no HTTP, after an answer that said so already
            self._transport.close()
        finally:
            self._reads_inside = False

    def eof_received(self) -> None:
        self._inner.eof_received()

    def pause_writing(self) -> None:
        self._unread.start()
        self._inner.pause_writing()

    def resume_writing(self) -> None:
        self._unread.stop()
        self._inner.resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        self._is_lost = True
        self._unasked.stop()
        self._unread.stop()
        self._open.remove(self._address)
        self._inner.connection_lost(exc)

    # To uvicorn

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return self._transport.get_extra_info(name, default)

    def is_closing(self) -> bool:
        return self._transport.is_closing()

    def close(self) -> None:
        self._transport.close()

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Send; but what uvicorn says of itself, in plain text, is said in our shape.

        Answers are written by tasks. Only to refuse what is no HTTP does it write while it reads.
        """
        if not self._reads_inside:
            self._transport.write(data)
        elif not self._transport.is_closing():
            self._transport.write(_no_http())
            self._transport.close()

    def pause_reading(self) -> None:
        """Hand nothing on. Reading goes on, so that the end of the connection is noticed."""
        self._is_reading = False

    def resume_reading(self) -> None:
        self._is_reading = True
        if self._ahead:  # not at once: uvicorn is not ready for it yet
            asyncio.get_running_loop().call_soon(self._hand_on_what_came_ahead)

    def _hand_on_what_came_ahead(self) -> None:
        if self._is_reading and self._ahead and not self._is_lost:
            data = bytes(self._ahead)
            self._ahead.clear()
            self._transport.resume_reading()
            self.data_received(data)


def _no_http() -> bytes:
    """The answer to what is no HTTP, with the headers of any other."""
    answer = ApiError("invalid_http", "expected HTTP/1.1, got something else").response()
    answer.headers.update({"Connection": "close", **HEADERS})
    connection = h11.Connection(h11.SERVER)
    head = h11.Response(status_code=400, headers=answer.raw_headers, reason=b"Bad Request")
    parts = (head, h11.Data(data=bytes(answer.body)), h11.EndOfMessage())
    return b"".join(connection.send(part) or b"" for part in parts)
