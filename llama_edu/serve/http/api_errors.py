"""Every error the server gives, in the shape OpenAI's clients read.

    {"error": {"message": "expected …, got …", "type": "…", "param": "…", "code": "…"}}

`CODES` is the whole list. A stream that has begun cannot change its status any more: there the
same object comes as the last event.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from starlette.responses import JSONResponse

from llama_edu.errors import (
    ContextError,
    InputError,
    LlamaEduError,
    NumericsError,
    ServeError,
    TokenizerError,
)

__all__ = ["CODES", "ApiError", "as_api_error", "from_validation"]

REQUEST, SERVER = "invalid_request_error", "server_error"

CODES: dict[str, tuple[int, str, str]] = {
    "invalid_http": (400, REQUEST, "The request is no HTTP."),
    "invalid_json": (400, REQUEST, "The body is no UTF-8, or no JSON."),
    "invalid_value": (400, REQUEST, "A field is missing, or has a value it cannot have."),
    "unknown_parameter": (400, REQUEST, "A field that this server does not know."),
    "not_supported": (400, REQUEST, "Something that this server cannot do."),
    "context_length_exceeded": (400, REQUEST, "Prompt and new tokens do not fit the model."),
    "invalid_api_key": (401, "authentication_error", "The server asks for a key."),
    "cross_site": (403, "permission_error", "A page of another site sent this."),
    "not_found": (404, REQUEST, "There is nothing at this address."),
    "model_not_found": (404, REQUEST, "No model of that name is served."),
    "method_not_allowed": (405, REQUEST, "The address is right, the method is not."),
    "body_timeout": (408, REQUEST, "The body did not come in time."),
    "body_too_large": (413, REQUEST, "The body has more bytes than are read."),
    "unsupported_media_type": (415, REQUEST, "The body is not application/json."),
    "wrong_host": (421, REQUEST, "The Host header names another server."),
    "queue_full": (429, "rate_limit_error", "Too many wait already. Retry-After says how long."),
    "internal": (500, SERVER, "A fault of the server's."),
    "numerics": (500, SERVER, "The model's numbers broke."),
    "out_of_memory": (503, SERVER, "No memory for this text now."),
    "shutting_down": (503, SERVER, "The server is about to end."),
    "time_limit": (504, SERVER, "The reply took longer than is allowed."),
}
"""By code: status, type, and what it means."""

SHOWN_CHARS = 80  # of what a client sent, in a message back to it


class ApiError(Exception):
    """An answer that says no."""

    def __init__(
        self,
        code: str,
        message: str,
        param: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.code, self.message, self.param = code, message, param
        self.headers = dict(headers or {})
        self.status, self.type, _ = CODES[code]

    def body(self) -> dict[str, Any]:
        """The JSON object."""
        return {
            "error": {
                "message": self.message,
                "type": self.type,
                "param": self.param,
                "code": self.code,
            }
        }

    def response(self) -> JSONResponse:
        """The HTTP answer."""
        return JSONResponse(self.body(), self.status, self.headers)


def as_api_error(problem: LlamaEduError, retry_after: int = 1) -> ApiError:
    """What an error of the engine means to a client."""
    message = str(problem)
    if isinstance(problem, ServeError):
        code = problem.code if problem.code in CODES else "internal"
        retry = CODES[code][0] in (429, 503)
        return ApiError(code, message, headers={"Retry-After": str(retry_after)} if retry else None)
    if isinstance(problem, ContextError):
        return ApiError("context_length_exceeded", message)
    if isinstance(problem, InputError | TokenizerError):
        return ApiError("invalid_value", message)
    return ApiError("numerics" if isinstance(problem, NumericsError) else "internal", message)


OURS = ("unknown_field", "not_supported", "value_error", "missing_content")  # of our own making
LIMITS = {
    "greater_than_equal": "at least {ge}",
    "greater_than": "more than {gt}",
    "less_than_equal": "at most {le}",
    "string_pattern_mismatch": "a text that matches {pattern}",
}


WORDS = {  # the validator speaks Python
    "bool_type": "true or false",
    "dict_type": "an object",
    "float_type": "a number",
    "int_from_float": "a whole number",
    "int_type": "a whole number",
    "list_type": "a list",
    "model_attributes_type": "an object",
    "model_type": "an object",
    "none_required": "null",
    "string_type": "a text",
}
SEVERAL = {  # fields of several types, of which the validator names but the first
    "content": "a text or a list of parts",
    "prompt": "a text, token ids, or a list of either",
    "stop": "a text of 1 to 256 characters, or up to 16 of them",
}


def from_validation(errors: Sequence[Mapping[str, Any]]) -> ApiError:
    """One answer for what FastAPI found wrong with a body: one fault, by its field."""
    # A value that fits none of several types is reported once for each; the field is what counts,
    # and a fault that we have words for comes first.
    clearest = [
        error for kinds in (OURS, ("too_long",)) for error in errors if error["type"] in kinds
    ]
    first = (clearest or errors)[0]
    where = [str(part) for part in first["loc"][1:]]
    kind, context = first["type"], first.get("ctx", {})
    param = where[0] if where else None
    if kind == "json_invalid":
        return ApiError("invalid_json", f"expected JSON, got {context['error']}")
    if kind == "unknown_field":
        message = context["message"]
        if where:
            message = f"{_place(where)}: {message}"
        return ApiError("unknown_parameter", message, param or context["field"])
    if kind == "not_supported":
        return ApiError("not_supported", context["message"], param or context["field"])
    if kind in ("missing", "missing_content"):
        name = ".".join([*where, "content"] if kind == "missing_content" else where)
        return ApiError("invalid_value", f"expected {name or 'a body'}, got none", param)
    if kind == "value_error":  # from a validator of ours: "field: expected …, got …"
        message = str(context["error"])
        return ApiError("invalid_value", message, message.partition(":")[0])
    got = repr(first.get("input"))
    got = got if len(got) <= SHOWN_CHARS else got[: SHOWN_CHARS - 1] + "…"
    where = [
        part for part in where if part not in TRIED and not part.startswith(("list[", "constr"))
    ]
    if kind == "string_type" and where and where[-1] in SEVERAL:
        wanted = SEVERAL[where[-1]]
    elif kind in LIMITS:  # a whole number keeps all of its digits, and 2.0 is 2
        limits = {n: f"{x:g}" if isinstance(x, float) else x for n, x in context.items()}
        wanted = LIMITS[kind].format(**limits)
    else:
        wanted = WORDS.get(kind) or _wanted(first["msg"])
    message = f"{_place(where) or 'body'}: expected {wanted}, got {got}"
    return ApiError("invalid_value", message[:400], param)


def _place(where: Sequence[str]) -> str:
    """The field's place, without pydantic's names for the types that were tried."""
    return ".".join(
        part
        for part in where
        if (part.isidentifier() and part not in TRIED and not part[0].isupper()) or part.isdecimal()
    )


TRIED = frozenset({"str", "int", "float", "bool", "list", "dict"})


def _wanted(text: str) -> str:
    """Pydantic's sentences say "Input should be …"; ours begin with what was expected."""
    return re.sub(r"^\w+ should (be|have) ", "", text).partition(" after validation")[0]
