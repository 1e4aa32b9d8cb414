"""Server-sent events: a reply in frames, each sent as soon as there is something to send.

A frame is `data: ` and one line of JSON, and an empty line; the last one reads `data: [DONE]`.
Source: HTML Living Standard, section 9.2 (event stream format); OpenAI API reference, "Streaming".
"""

import json
from collections.abc import AsyncGenerator, Callable
from typing import Any

from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

__all__ = ["DONE", "EventStream", "frame"]

DONE = b"data: [DONE]\n\n"
# JSON lets these three stand in a string as they are, and an event's line does not end at them.
# But it does for Python's `str.splitlines`, and so for whoever reads with httpx's `iter_lines`.
LINE_ENDS = {ord(char): f"\\u{ord(char):04x}" for char in "\x85\u2028\u2029"}


def frame(content: Any) -> bytes:
    """One event."""
    text = json.dumps(content, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return b"data: " + text.translate(LINE_ENDS).encode("utf-8") + b"\n\n"


class EventStream(StreamingResponse):
    """Sends frames as they are made. Whatever ends it, `close` is called."""

    media_type = "text/event-stream"

    def __init__(self, frames: AsyncGenerator[bytes, None], close: Callable[[], None]) -> None:
        super().__init__(frames, headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"})
        self._frames, self._close = frames, close

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send all of it, each frame once those before it have been taken."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._close()
            await self._frames.aclose()
