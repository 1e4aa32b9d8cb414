"""The application: routes, page, errors in one shape, and the layers around them."""

import difflib
import hashlib
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from importlib import resources

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import JSONResponse, Response

import llama_edu
from llama_edu.serve.http.api_errors import ApiError, from_validation
from llama_edu.serve.http.connection import ConnectionMiddleware
from llama_edu.serve.http.middleware import AccessMiddleware, BodyRefused, LoggingMiddleware
from llama_edu.serve.http.openapi import DescribedApp
from llama_edu.serve.http.policy import Policy
from llama_edu.serve.http.routes import router
from llama_edu.serve.http.served import Serving

__all__ = ["create_app"]

ABOUT = """\
The same texts over HTTP as `llama_edu.engine.generate` gives, in the words of OpenAI's API.

Every error has the shape `{"error": {"message", "type", "param", "code"}}`. A stream that fails
half-way ends with such an object in place of `[DONE]`.
"""
TYPES = {
    ".js": "text/javascript",
    ".css": "text/css",
    ".html": "text/html",
    ".svg": "image/svg+xml",
}


def create_app(serving: Serving, policy: Policy | None = None) -> FastAPI:
    """An ASGI application that serves `serving`, whose workers it starts and stops."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        serving.start()
        yield
        serving.stop(grace=0.0)

    app = DescribedApp(
        title="llama_edu",
        version=llama_edu.__version__,
        description=ABOUT,
        lifespan=lifespan,
        # The usual pages for these load scripts from elsewhere.
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
    )
    app.state.serving = serving
    app.include_router(router)
    add_page(app)
    app.add_exception_handler(ApiError, _api_error)
    app.add_exception_handler(RequestValidationError, _validation_error)
    app.add_exception_handler(HTTPException, _http_error)
    policy = policy or Policy()
    if policy.allowed_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=policy.allowed_origins,
            allow_methods=["GET", "POST"],
            allow_headers=["*"],
            expose_headers=["Retry-After", "X-Request-Id"],
        )
    app.add_middleware(AccessMiddleware, policy=policy)
    app.add_middleware(LoggingMiddleware, metrics=serving.metrics)
    app.add_middleware(ConnectionMiddleware)
    return app


def add_page(app: FastAPI) -> None:
    """A route for each file of the page, read now: no request ever names a file to open."""
    for file in resources.files("llama_edu.serve.http").joinpath("static").iterdir():
        suffix = file.name[file.name.rindex(".") :]
        path = "/" if file.name == "index.html" else f"/static/{file.name}"
        app.add_api_route(
            path, _file(file.read_bytes(), TYPES[suffix]), include_in_schema=False, methods=["GET"]
        )


def _file(data: bytes, media_type: str) -> Callable[[Request], Awaitable[Response]]:
    tag = f'"{hashlib.sha256(data).hexdigest()}"'
    headers = {"ETag": tag, "Cache-Control": "no-cache"}

    async def get(http: Request) -> Response:
        if http.headers.get("if-none-match") == tag:
            return Response(status_code=304, headers=headers)
        return Response(data, headers=headers, media_type=media_type)

    return get


async def _api_error(_: Request, problem: Exception) -> JSONResponse:
    assert isinstance(problem, ApiError)
    return problem.response()


async def _validation_error(_: Request, problem: Exception) -> JSONResponse:
    assert isinstance(problem, RequestValidationError)
    return from_validation(problem.errors()).response()


async def _http_error(http: Request, problem: Exception) -> JSONResponse:
    """What the framework refuses, in our shape."""
    assert isinstance(problem, HTTPException)
    if isinstance(problem, BodyRefused):
        return problem.error.response()
    if problem.status_code == 404:
        near = _nearest(http)
        hint = f"; did you mean {near}?" if near else ""
        message = f"expected an address that GET /openapi.json lists, got none of them{hint}"
        error = ApiError("not_found", message)
    elif problem.status_code == 405:
        allowed = (problem.headers or {}).get("Allow") or "another method"
        message = f"expected {allowed} at this address, got {http.method}"
        error = ApiError("method_not_allowed", message, headers=problem.headers)
    else:
        error = ApiError("invalid_json", "expected JSON in UTF-8, got something else")
    return error.response()


def _nearest(http: Request) -> str | None:
    """The address that was meant, if one is near: with /v1 twice, say, or a slash at its end."""
    described = [path for path in http.app.openapi()["paths"] if "{" not in path]
    asked = re.sub(r"/+", "/", http.url.path[:200]).rstrip("/")
    while asked.startswith("/v1/v1"):
        asked = asked.removeprefix("/v1")
    if asked == "/v1":
        return "/v1/models"
    near = difflib.get_close_matches(asked, described, cutoff=0.75)
    near = near or difflib.get_close_matches(f"/v1{asked}", described, cutoff=0.75)
    return near[0] if near else None
