"""How many connections there may be, and how long one may be open without asking or reading.

uvicorn ends a connection that falls silent after an answer. It does not end one that never asks,
that sends the head of a request a byte at a time, that goes on sending a body which has been
answered already, or that does not read its answers, so a few hundred of those would be enough to
keep everybody else out.
"""

import asyncio

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from llama_edu.serve.guard import HEADERS, Policy
from llama_edu.serve.problems import ApiError

__all__ = ["bounded_protocol"]

MOST_AHEAD_NBYTES = 64 * 1024  # of further requests, sent before the one at hand is answered


def bounded_protocol(policy: Policy) -> type[H11Protocol]:
    """uvicorn's HTTP protocol, with the bounds of a policy."""

    class Bounded(H11Protocol):
        _timer: asyncio.TimerHandle | None = None
        _unread_timer: asyncio.TimerHandle | None = None

        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
            transport.set_write_buffer_limits(high=0)  # writing pauses at the first byte left over
            if len(self.connections) > policy.max_connections:
                transport.abort()
            else:
                self._time()

        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            self._time()

        def handle_events(self) -> None:
            super().handle_events()
            # uvicorn stops reading at the next request, and so would not see the client go away.
            ahead, _ = self.conn.trailing_data
            if self.conn.their_state is h11.DONE and len(ahead) < MOST_AHEAD_NBYTES:
                self.flow.resume_reading()

        def send_400_response(self, msg: str) -> None:
            """uvicorn's own answer is a line of text without our headers."""
            if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):  # else one has begun
                answer = ApiError(
                    "invalid_http", "expected HTTP/1.1, got something else"
                ).response()
                answer.headers.update({"Connection": "close", **HEADERS})
                for event in (
                    h11.Response(
                        status_code=400, headers=answer.raw_headers, reason=b"Bad Request"
                    ),
                    h11.Data(data=bytes(answer.body)),
                    h11.EndOfMessage(),
                ):
                    self.transport.write(self.conn.send(event) or b"")
            self.transport.close()

        def connection_lost(self, exc: Exception | None) -> None:
            self._stop_timer()
            self._stop_unread_timer()
            super().connection_lost(exc)

        def pause_writing(self) -> None:
            super().pause_writing()
            # Closing would wait for the same reader.
            end = self.transport.abort
            self._unread_timer = self.loop.call_later(policy.unread_seconds, end)

        def resume_writing(self) -> None:
            self._stop_unread_timer()
            super().resume_writing()

        def _time(self) -> None:
            """Run the timer while no answer is owed; what else comes does not start it again."""
            asks_nothing = self.conn.their_state is h11.IDLE
            answered_early = (
                self.conn.their_state is h11.SEND_BODY and self.conn.our_state is h11.DONE
            )
            if not (asks_nothing or answered_early):
                self._stop_timer()
            elif self._timer is None:
                end = self.timeout_keep_alive_handler  # closes without a word, as after an answer
                self._timer = self.loop.call_later(policy.head_seconds, end)

        def _stop_timer(self) -> None:
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None

        def _stop_unread_timer(self) -> None:
            if self._unread_timer is not None:
                self._unread_timer.cancel()
                self._unread_timer = None

    return Bounded
