"""How many connections there may be, and how long one may be open without asking or reading.

uvicorn ends a connection that falls silent after an answer. It does not end one that never asks,
that sends the head of a request a byte at a time, that goes on sending a body which has been
answered already, or that does not read its answers, so a few hundred of those would be enough to
keep everybody else out.
"""

import asyncio
from collections.abc import Callable

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from llama_edu.serve.http.api_errors import ApiError
from llama_edu.serve.http.guard import HEADERS, Policy

__all__ = ["bounded_protocol"]

MOST_AHEAD_NBYTES = 64 * 1024  # of further requests, sent before the one at hand is answered


def bounded_protocol(policy: Policy) -> type[H11Protocol]:
    """uvicorn's HTTP protocol, with the bounds of a policy."""

    class Bounded(_Bounded):
        bounds = policy

    return Bounded


class _Alarm:
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


class _Bounded(H11Protocol):
    bounds: Policy

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        # The first closes without a word, as after an answer. Closing waits for whoever does not
        # read; the second does not.
        self._unasked = _Alarm(self.bounds.head_seconds, self.timeout_keep_alive_handler)
        self._unread = _Alarm(self.bounds.unread_seconds, transport.abort)
        transport.set_write_buffer_limits(high=0)  # writing pauses at the first byte left over
        if len(self.connections) > self.bounds.max_connections:
            transport.abort()
        else:
            self._watch()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._watch()

    def handle_events(self) -> None:
        super().handle_events()
        # uvicorn stops reading at the next request, and so would not see the client go away.
        ahead, _ = self.conn.trailing_data
        if self.conn.their_state is h11.DONE and len(ahead) < MOST_AHEAD_NBYTES:
            self.flow.resume_reading()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._unread.start()

    def resume_writing(self) -> None:
        self._unread.stop()
        super().resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        self._unasked.stop()
        self._unread.stop()
        super().connection_lost(exc)

    def send_400_response(self, msg: str) -> None:
        """Close, after an answer if none has begun. uvicorn's is plain text without our headers."""
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            answer = ApiError("invalid_http", "expected HTTP/1.1, got something else").response()
            answer.headers.update({"Connection": "close", **HEADERS})
            head = h11.Response(status_code=400, headers=answer.raw_headers, reason=b"Bad Request")
            for event in (head, h11.Data(data=bytes(answer.body)), h11.EndOfMessage()):
                self.transport.write(self.conn.send(event) or b"")
        self.transport.close()

    def _watch(self) -> None:
        """Have the alarm run while no answer is owed; what else comes does not start it again."""
        asks_nothing = self.conn.their_state is h11.IDLE
        answered_early = self.conn.their_state is h11.SEND_BODY and self.conn.our_state is h11.DONE
        if asks_nothing or answered_early:
            self._unasked.start()
        else:
            self._unasked.stop()
