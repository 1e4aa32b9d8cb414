"""How many connections there may be, and how long one may be open without asking anything.

uvicorn ends a connection that falls silent after an answer. It does not end one that never asks,
or that sends the head of a request a byte at a time, so a few hundred of those would be enough to
keep everybody else out.
"""

import asyncio

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from llama_edu.serve.guard import Policy

__all__ = ["bounded_protocol"]


def bounded_protocol(policy: Policy) -> type[H11Protocol]:
    """uvicorn's HTTP protocol, with the bounds of a policy."""

    class Bounded(H11Protocol):
        _head_timer: asyncio.TimerHandle | None = None

        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
            if len(self.connections) > policy.max_connections:
                transport.abort()
            else:
                self._time_head()

        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            self._time_head()

        def connection_lost(self, exc: Exception | None) -> None:
            self._stop_timer()
            super().connection_lost(exc)

        def _time_head(self) -> None:
            """Run the timer while a head is not whole; more of it does not start it again."""
            if self.conn.their_state is not h11.IDLE:
                self._stop_timer()
            elif self._head_timer is None:
                end = self.timeout_keep_alive_handler  # closes without a word, as after an answer
                self._head_timer = self.loop.call_later(policy.head_seconds, end)

        def _stop_timer(self) -> None:
            if self._head_timer is not None:
                self._head_timer.cancel()
                self._head_timer = None

    return Bounded
