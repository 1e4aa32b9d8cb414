"""What OpenAPI says of the answers: their shapes, and every error there may be."""

from typing import Any

from fastapi import FastAPI
from pydantic import BaseModel

from llama_edu.serve.http.api_errors import CODES

__all__ = [
    "CHAT",
    "COMPLETION",
    "HEALTH",
    "METRICS",
    "MODEL",
    "MODELS",
    "PROMPT",
    "PROPS",
    "TEXT_OF_TOKENS",
    "TOKENS",
    "VERSION",
    "DescribedApp",
]

Responses = dict[int | str, dict[str, Any]]


class ErrorDetail(BaseModel):
    """`code` is one of a fixed list; `param` names the field at fault."""

    message: str
    type: str
    param: str | None
    code: str


class ErrorAnswer(BaseModel):
    """Every answer that says no."""

    error: ErrorDetail


class ModelCard(BaseModel):
    """A model that is served. `chat` says whether it has a chat template."""

    id: str
    object: str
    created: int
    owned_by: str
    max_model_len: int
    context_length: int
    chat: bool


class ModelList(BaseModel):
    """All of them."""

    object: str
    data: list[ModelCard]


class PromptDetails(BaseModel):
    """Of the prompt's tokens, those known from an earlier request."""

    cached_tokens: int


class Usage(BaseModel):
    """Tokens. One that ends a text was computed, so it counts."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: PromptDetails


class CalledFunction(BaseModel):
    """A function's name, and its arguments as JSON."""

    name: str
    arguments: str


class ToolCall(BaseModel):
    """A call that the client is asked to make."""

    id: str
    type: str
    function: CalledFunction


class AssistantMessage(BaseModel):
    """What the model said."""

    role: str
    content: str | None
    refusal: str | None
    tool_calls: list[ToolCall] | None = None


class ChatChoice(BaseModel):
    """One reply. `finish_reason` is "stop", "length" or "tool_calls"."""

    index: int
    message: AssistantMessage
    logprobs: dict[str, Any] | None
    finish_reason: str


class ChatAnswer(BaseModel):
    """A chat completion."""

    id: str
    object: str
    created: int
    model: str
    choices: list[ChatChoice]
    usage: Usage


class TextChoice(BaseModel):
    """One way the text may go on."""

    index: int
    text: str
    logprobs: dict[str, Any] | None
    finish_reason: str


class TextAnswer(BaseModel):
    """A completion."""

    id: str
    object: str
    created: int
    model: str
    choices: list[TextChoice]
    usage: Usage


class Tokens(BaseModel):
    """Token ids, or with `with_pieces` objects of `id` and `piece`; how many; and what fits."""

    tokens: list[Any]
    count: int
    max_model_len: int


class TokenText(BaseModel):
    """A text, under llama.cpp's name and under vLLM's."""

    content: str
    prompt: str


class Prompt(BaseModel):
    """A prompt as text."""

    prompt: str


class Version(BaseModel):
    """A version of llama_edu."""

    version: str


class Props(BaseModel):
    """Of llama.cpp's properties, those that have a counterpart here."""

    default_generation_settings: dict[str, Any]
    total_slots: int
    model_path: str
    chat_template: str
    build_info: str


class Health(BaseModel):
    """`status` is "ok" or "unavailable"."""

    status: str


def errors(*statuses: int) -> Responses:
    """The error answers of these statuses, each with its codes."""
    answers: Responses = {}
    for status in statuses:
        lines = [f"`{code}`: {text}" for code, (own, _, text) in CODES.items() if own == status]
        answers[status] = {"model": ErrorAnswer, "description": "\n".join(lines)}
    return answers


DOOR = errors(401, 403, 421)
TEXT = DOOR | errors(400, 404, 408, 413, 415, 429, 500, 503, 504)
STREAM = {"text/event-stream": {"schema": {"type": "string"}}}

MODELS: Responses = DOOR | {200: {"model": ModelList}}
MODEL: Responses = DOOR | errors(404) | {200: {"model": ModelCard}}
CHAT: Responses = TEXT | {200: {"model": ChatAnswer, "content": STREAM}}
COMPLETION: Responses = TEXT | {200: {"model": TextAnswer, "content": STREAM}}
TOKENS: Responses = DOOR | errors(400, 404, 408, 413, 415) | {200: {"model": Tokens}}
TEXT_OF_TOKENS: Responses = TOKENS | {200: {"model": TokenText}}
PROMPT: Responses = TOKENS | {200: {"model": Prompt}}
VERSION: Responses = DOOR | {200: {"model": Version}}
PROPS: Responses = DOOR | {200: {"model": Props}}
HEALTH: Responses = errors(403, 421) | {200: {"model": Health}, 503: {"model": Health}}
METRICS: Responses = DOOR | {200: {"content": {"text/plain": {"schema": {"type": "string"}}}}}


class DescribedApp(FastAPI):
    """An app that describes itself without 422.

    FastAPI lists that status wherever something may be invalid. This server answers with 400, as
    OpenAI's does, and lists it itself.
    """

    def openapi(self) -> dict[str, Any]:
        """The description, made once."""
        described: dict[str, Any] = super().openapi()
        for operations in described["paths"].values():
            for operation in operations.values():
                operation["responses"].pop("422", None)
        schemas = described["components"]["schemas"]
        for name in ("HTTPValidationError", "ValidationError"):
            schemas.pop(name, None)
        return described
