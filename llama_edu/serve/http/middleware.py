"""What is let in, and what every answer carries: the two layers around the routes.

`AccessMiddleware` turns away what should not be answered: another host's name (a page elsewhere
may have its name resolve to this machine), another site's page, a missing key, a body that is no
JSON, too long, or does not come. `LoggingMiddleware`, outside of it, sets the headers that keep
our page to itself, counts, logs, and turns a fault of ours into an answer.
"""

import asyncio
import secrets
import time
from typing import Any

from fastapi import HTTPException
from starlette.datastructures import Headers, MutableHeaders
from starlette.routing import Match
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from llama_edu.serve.http.api_errors import ApiError
from llama_edu.serve.http.logs import log_event, log_exception
from llama_edu.serve.http.metrics import Metrics
from llama_edu.serve.http.policy import Policy

__all__ = ["HEADERS", "AccessMiddleware", "BodyRefused", "LoggingMiddleware", "limit_body"]

HEADERS = {
    # Scripts, styles and data from this server and nowhere else; no inline code; no frames.
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}

LARGE_NBYTES = 64 * 1024  # of a body that has to wait for its turn
ROUNDS = 4  # of the event loop between two of them: a request is read, answered and sent in fewer

OPEN_PATHS = frozenset(
    {"/", "/health", "/healthz", "/openapi.json", "/ping", "/readyz", "/v1/health"}
)
"""What is answered without the key: the page, and whether the server is well."""


class AccessMiddleware:
    """Answers what is not let in, and hands the rest on."""

    def __init__(self, app: ASGIApp, policy: Policy) -> None:
        self._app, self._policy = app, policy
        self._turns = Turns()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Check the head of a request now, and its body as it comes."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        refusal = self._refusal(scope, headers)
        if refusal is not None:
            origin = headers.get("origin", "")
            if self._policy.knows_origin(origin):  # or a page could not read why
                refusal.headers["Access-Control-Allow-Origin"] = origin
            await refusal.response()(scope, receive, send)
            return
        await self._app(scope, limit_body(receive, self._policy, self._turns), send)

    def _refusal(self, scope: Scope, headers: Headers) -> ApiError | None:
        policy, host = self._policy, headers.get("host", "")
        if not policy.knows_host(host):
            message = (
                f"expected a Host of this server, got {host[:80]!r}; if it is reached by that "
                "name, start it with --allowed-host"
            )
            return ApiError("wrong_host", message)
        origin = headers.get("origin")
        invited = origin is not None and policy.knows_origin(origin)
        foreign = not invited and origin is not None and origin.partition("://")[2] != host
        other_site = not invited and headers.get("sec-fetch-site") in ("cross-site", "same-site")
        if foreign or (other_site and not _opens_page(scope, headers)):
            message = (
                "expected a page of this server to ask, got another's; to let one in, start the "
                "server with --allowed-origin"
            )
            return ApiError("cross_site", message)
        path = scope["path"]
        is_open = path in OPEN_PATHS or path.startswith("/static/") or scope["method"] == "OPTIONS"
        if not is_open and not policy.knows_key(headers.get("authorization", "")):
            message = "expected the server's key as `Authorization: Bearer …`, got another or none"
            return ApiError("invalid_api_key", message, headers={"WWW-Authenticate": "Bearer"})
        if scope["method"] == "POST" and _is_answered(scope):
            return self._refused_body(headers)
        return None

    def _refused_body(self, headers: Headers) -> ApiError | None:
        kind = headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind != "application/json":
            message = f"expected Content-Type application/json, got {kind[:80]!r}"
            return ApiError("unsupported_media_type", message)
        length = headers.get("content-length", "0")
        if length.isdecimal() and int(length) > self._policy.max_body_nbytes:
            return _too_large(self._policy, length)
        return None


def _is_answered(scope: Scope) -> bool:
    """Whether there is a route for this address and method. If not, that is what is wrong."""
    return any(route.matches(scope)[0] is Match.FULL for route in scope["app"].router.routes)


def _opens_page(scope: Scope, headers: Headers) -> bool:
    """Whether somebody followed a link to the page: it then stands alone, its site out of reach."""
    return (
        scope["method"] in ("GET", "HEAD")
        and scope["path"] == "/"
        and headers.get("sec-fetch-mode") == "navigate"
        and headers.get("sec-fetch-dest") == "document"
    )


def _too_large(policy: Policy, got: object) -> ApiError:
    return ApiError(
        "body_too_large", f"expected a body of at most {policy.max_body_nbytes} bytes, got {got}"
    )


class Turns:
    """Hands out large bodies one after the other, so that others are answered in between.

    Parsing a body of thousands of messages takes the event loop some 20 ms, in which nobody else
    is heard. Thirty that come at once would otherwise be parsed in a row.
    """

    def __init__(self) -> None:
        self._lock = asyncio.Lock()

    async def take(self) -> None:
        """Wait for the turn; what the caller does next is done before the next one's turn."""
        async with self._lock:
            for _ in range(ROUNDS):
                await asyncio.sleep(0)


def limit_body(receive: Receive, policy: Policy, turns: Turns | None = None) -> Receive:
    """`receive` that raises `BodyRefused` for a body which is too long or too slow.

    A large one waits for its turn, where there are `turns`.
    """
    deadline = asyncio.get_running_loop().time() + policy.body_seconds
    nbytes, whole = 0, False

    async def limited() -> Message:
        nonlocal nbytes, whole
        if whole:  # from here on it waits for the client's goodbye, however long that takes
            return await receive()
        try:
            message = await _receive_until(deadline, receive)
        except TimeoutError:
            text = f"expected a body within {policy.body_seconds:g} s, got {nbytes} bytes of it"
            raise BodyRefused(ApiError("body_timeout", text)) from None
        nbytes += len(message.get("body", b""))
        if nbytes > policy.max_body_nbytes:
            raise BodyRefused(_too_large(policy, f"{nbytes} so far"))
        whole = not message.get("more_body", False)
        if whole and turns is not None and nbytes >= LARGE_NBYTES:
            await turns.take()
        return message

    return limited


async def _receive_until(deadline: float, receive: Receive) -> Message:
    """The next message. One that is there is never too late, however late we look ourselves."""
    try:
        async with asyncio.timeout_at(deadline):
            return await receive()
    except TimeoutError:
        async with asyncio.timeout(0):
            return await receive()


class BodyRefused(HTTPException):
    """An `ApiError` about a body. FastAPI, which reads the body, takes any other for bad JSON."""

    def __init__(self, error: ApiError) -> None:
        super().__init__(error.status)
        self.error = error


class LoggingMiddleware:
    """Sees every request come and go."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app, self._metrics = app, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Hand on, with our headers on the answer; then count and log."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        method = scope["method"]
        if method == "HEAD":  # is a GET whose body is left away, which uvicorn does
            scope = {**scope, "method": "GET"}
        request_id, status, start = secrets.token_hex(8), 0, time.perf_counter()

        async def marked(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                for name, value in (HEADERS | {"X-Request-Id": request_id}).items():
                    headers[name] = value
            await send(message)

        try:
            await self._app(scope, receive, marked)
        except Exception as problem:
            log_exception(problem)
            if status == 0:
                error = ApiError("internal", "expected no fault of the server's, got one")
                await error.response()(scope, receive, marked)
            else:  # too late for an answer: end the connection, so that nobody takes it for whole
                raise
        finally:
            route = getattr(scope.get("route"), "path", "none")
            self._metrics.observe_answer(route, status)
            seconds = round(time.perf_counter() - start, 4)
            _log_request({**scope, "method": method}, request_id, route, status, seconds)


def _log_request(scope: Scope, request_id: str, route: str, status: int, seconds: float) -> None:
    state: dict[str, Any] = scope.get("state", {})
    handle = state.get("handle")
    log_event(
        "request",
        request_id=request_id,
        method=scope["method"],
        route=route,
        status=status,
        seconds=seconds,
        **({"model": state["model"], **handle.summary()} if handle is not None else {}),
    )
