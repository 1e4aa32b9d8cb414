"""The addresses: OpenAI's, and those for whoever looks after the server."""

import secrets
import time
from collections.abc import AsyncGenerator, Sequence
from dataclasses import replace
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request
from starlette.requests import ClientDisconnect
from starlette.responses import JSONResponse, Response

import llama_edu
from llama_edu.serve.http import openapi as documents
from llama_edu.serve.http.api_errors import ApiError
from llama_edu.serve.http.request_handle import News, RequestHandle
from llama_edu.serve.http.requests import (
    ChatRequest,
    CompletionRequest,
    DetokenizeRequest,
    Rule,
    SharedFields,
    TemplateRequest,
    TokenizeRequest,
    ToolChoice,
)
from llama_edu.serve.http.responses import ChatReply, CompletionReply, Counts, Frame, Reply
from llama_edu.serve.http.served import ServedModel, Serving
from llama_edu.serve.http.sse import DONE, EventStream, frame
from llama_edu.serve.job import Finished, Job, TextDelta
from llama_edu.serve.job import Request as TextRequest

__all__ = ["router"]

CLIENT_GONE = 499  # nobody reads it; nginx's name for it in a log

router = APIRouter()


def serving(http: Request) -> Serving:
    """What this server holds."""
    held: Serving = http.app.state.serving
    return held


Held = Annotated[Serving, Depends(serving)]


@router.get("/models", include_in_schema=False)
@router.get("/v1/models", tags=["models"], responses=documents.MODELS)
async def list_models(held: Held) -> JSONResponse:
    """The models that are served."""
    return JSONResponse({"object": "list", "data": [_card(m) for m in held.models.values()]})


@router.get("/models/{model}", include_in_schema=False)
@router.get("/v1/models/{model}", tags=["models"], responses=documents.MODEL)
async def retrieve_model(model: str, held: Held) -> JSONResponse:
    """One model."""
    return JSONResponse(_card(held.model(model)))


@router.post("/chat/completions", include_in_schema=False)
@router.post("/v1/chat/completions", tags=["texts"], responses=documents.CHAT)
async def create_chat_completion(body: ChatRequest, http: Request, held: Held) -> Response:
    """The assistant's next message. With `stream`, piece by piece as server-sent events."""
    served = held.model(body.model)
    tools = body.usable_tools
    if tools and not body.forced_tools and not served.knows_tools:
        raise ApiError(
            "not_supported",
            f"tools are not supported here by {served.name!r}, whose chat template knows of none: "
            "expected no tools, or a tool_choice that names one, which needs no template",
            "tools",
        )
    shown = tools if served.knows_tools else []
    omitted = 0
    if body.context_overflow == "drop_oldest":
        reserve = body.new_tokens(min(served.context // 4, served.limits.max_new_tokens))
        ids, omitted = await served.encode_latest(body, shown, served.context - max(reserve, 1))
    else:
        ids = await served.encode_chat(body, shown)
    ids = _fitted(ids, body, served)
    rule = Rule("json", _call_schema(body), "tools") if body.forced_tools else body.rule
    constraint = None if rule is None else await served.constraint(rule)
    request = replace(
        _text_request(body, ids, served), continues=body.continues, constraint=constraint
    )
    names = [tool.function.name for tool in tools]
    forced = isinstance(body.tool_choice, ToolChoice)
    frame_ = _frame("chatcmpl", body, served, omitted)
    return await _answer(
        http, served, [request], ChatReply(served.tokenizer, frame_, names, forced=forced), body
    )


@router.post("/completions", include_in_schema=False)
@router.post("/v1/completions", tags=["texts"], responses=documents.COMPLETION)
async def create_completion(body: CompletionRequest, http: Request, held: Held) -> Response:
    """How a text may go on. With `stream`, piece by piece as server-sent events."""
    served = held.model(body.model)
    constraint = None if body.rule is None else await served.constraint(body.rule)
    requests, echoes = [], []
    for prompt in body.prompts:
        ids = await served.encode_text(prompt, add_special=body.add_special_tokens is not False)
        ids = _fitted(ids, body, served)
        request = replace(
            _text_request(body, ids, served),
            prompt_logprobs=body.wanted_prompt_logprobs,
            constraint=constraint,
        )
        requests.append(request)
        if body.echo:
            is_whole = isinstance(prompt, str) and body.truncate_prompt_tokens is None
            text = prompt if is_whole else served.tokenizer.decode(ids, skip_special=False)
            echoes += [str(text)] * request.n
    reply = CompletionReply(served.tokenizer, _frame("cmpl", body, served), echoes)
    return await _answer(http, served, requests, reply, body)


@router.post("/tokenize", tags=["texts"], responses=documents.TOKENS)
@router.post("/v1/tokenize", include_in_schema=False)
async def tokenize(body: TokenizeRequest, held: Held) -> JSONResponse:
    """The token ids of a text, as llama.cpp's and vLLM's servers give them."""
    served = held.model(body.model)
    if body.conversation is not None:
        ids = await served.encode_chat(body.conversation)
    else:
        ids = await served.encode(
            body.text, add_special=body.adds_special, parse_special=body.parse_special
        )
    tokens: list[Any] = ids
    if body.with_pieces:
        pieces = [served.tokenizer.token_bytes(i).decode("utf-8", "replace") for i in ids]
        tokens = [{"id": i, "piece": piece} for i, piece in zip(ids, pieces, strict=True)]
    return JSONResponse({"tokens": tokens, "count": len(ids), "max_model_len": served.context})


@router.post("/detokenize", tags=["texts"], responses=documents.TEXT_OF_TOKENS)
@router.post("/v1/detokenize", include_in_schema=False)
async def detokenize(body: DetokenizeRequest, held: Held) -> JSONResponse:
    """The text of token ids, special tokens written out."""
    text = await held.model(body.model).decode(body.tokens)
    return JSONResponse({"content": text, "prompt": text})


@router.post("/apply-template", tags=["texts"], responses=documents.PROMPT)
@router.post("/v1/apply-template", include_in_schema=False)
async def apply_template(body: TemplateRequest, held: Held) -> JSONResponse:
    """The prompt that messages become, as text, without asking the model."""
    return JSONResponse({"prompt": await held.model(body.model).render_chat(body)})


_CHAT = "ask /v1/chat/completions instead"
_TEXT = "ask /v1/completions instead"
NOT_HERE = {
    "embeddings": "these models write texts and make no embeddings",
    "embedding": "these models write texts and make no embeddings",
    "api/embed": "these models write texts and make no embeddings",
    "api/embeddings": "these models write texts and make no embeddings",
    "pooling": "these models write texts and make no embeddings",
    "responses": _CHAT,
    "messages": _CHAT,
    "api/chat": _CHAT,
    "completion": _TEXT,
    "api/generate": _TEXT,
    "rerank": "these models write texts and rank none",
    "reranking": "these models write texts and rank none",
    "score": "these models write texts and score none",
    "classify": "these models write texts and judge none",
    "moderations": "these models write texts and judge none",
    "audio/speech": "these models write texts",
    "audio/transcriptions": "these models read texts",
    "audio/translations": "these models read texts",
    "images/generations": "these models write texts",
    "images/edits": "these models write texts",
    "infill": "these models were not taught to fill in",
    "api/tags": "ask /v1/models instead",
    "api/ps": "ask /v1/models instead",
    "api/show": "ask /v1/models instead",
    "api/version": "ask /version instead",
    "slots": "ask /metrics instead",
    "load": "ask /metrics instead",
    "lora-adapters": "these models have none",
    "load_lora_adapter": "these models have none",
    "files": "nothing is stored here",
    "batches": "ask /v1/completions for several prompts instead",
    "assistants": _CHAT,
    "threads": _CHAT,
    "fine_tuning/jobs": "these models are served as they are",
}
"""Addresses of other servers, and why there is nothing at them."""


async def refuse(http: Request) -> Response:
    """Say what is not done here (`ApiError`), rather than that the address is unknown."""
    name = http.url.path.removeprefix("/v1").strip("/")
    raise ApiError("not_supported", f"/{name} is not supported here: {NOT_HERE[name]}")


for _name in NOT_HERE:
    for _prefix in ("/", "/v1/"):
        router.add_api_route(
            _prefix + _name, refuse, methods=["GET", "POST"], include_in_schema=False
        )


@router.get("/healthz", tags=["operation"], responses=documents.HEALTH)
async def is_alive(held: Held) -> JSONResponse:
    """Liveness: whether the server can still do its work. If not, start it anew."""
    return _health(held.is_well)


@router.get("/health", include_in_schema=False)  # as llama.cpp and vLLM call it
@router.get("/v1/health", include_in_schema=False)
@router.get("/ping", include_in_schema=False)
@router.get("/readyz", tags=["operation"], responses=documents.HEALTH)
async def is_ready(held: Held) -> JSONResponse:
    """Readiness: whether it takes requests. It does not while it shuts down."""
    return _health(held.is_well and not held.stopping)


@router.get("/version", tags=["operation"], responses=documents.VERSION)
async def version() -> JSONResponse:
    """Which version of llama_edu answers."""
    return JSONResponse({"version": llama_edu.__version__})


@router.get("/props", tags=["operation"], responses=documents.PROPS)
async def props(held: Held) -> JSONResponse:
    """What a client of llama.cpp's server asks for: the size of the context, and the template."""
    first = next(iter(held.models.values()))
    return JSONResponse(
        {
            "default_generation_settings": {"n_ctx": first.context},
            "total_slots": first.limits.max_num_seqs,
            "model_path": first.name,
            "chat_template": "" if first.template is None else first.template.source,
            "build_info": f"llama_edu {llama_edu.__version__}",
        }
    )


@router.get("/metrics", tags=["operation"], responses=documents.METRICS)
async def metrics(held: Held) -> Response:
    """The server's numbers, in Prometheus' text format."""
    return Response(held.metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")


def _card(served: ServedModel) -> dict[str, Any]:
    """OpenAI's four fields, vLLM's name for the context's size, and two that our page needs."""
    return {
        "id": served.name,
        "object": "model",
        "created": served.created,
        "owned_by": "llama_edu",
        "max_model_len": served.context,
        "context_length": served.context,
        "chat": served.template is not None,
    }


def _health(well: bool) -> JSONResponse:
    return JSONResponse({"status": "ok" if well else "unavailable"}, 200 if well else 503)


def _frame(prefix: str, body: SharedFields, served: ServedModel, omitted: int = 0) -> Frame:
    options = body.stream_options
    counts: Counts = "never"
    if options is not None and options.include_usage:
        counts = "always" if options.continuous_usage_stats else "last"
    reply_id = f"{prefix}-{secrets.token_hex(12)}"
    return Frame(reply_id, int(time.time()), served.name, counts, omitted)


def _fitted(
    ids: list[int], body: ChatRequest | CompletionRequest, served: ServedModel
) -> list[int]:
    """The ids, cut from the left if the client asks for that. Raises `ApiError` if none may follow.

    A request for more new tokens than there is room for is not refused, but cut short, as in
    llama.cpp; a prompt that leaves room for none is.
    """
    keep = body.truncate_prompt_tokens
    if keep is not None:
        asked = body.new_tokens(served.limits.max_new_tokens)
        most = max(served.context - min(max(asked, 1), served.context // 2), 1)
        ids = ids[-(most if keep == -1 else max(keep, 1)) :]
    least = 0 if body.new_tokens(1) == 0 else 1
    if len(ids) + least > served.context:
        if isinstance(body, CompletionRequest):
            way_out = "truncate_prompt_tokens: -1 keeps as much of the prompt's end as fits"
        elif body.context_overflow == "drop_oldest":
            way_out = "all but the last turn is left out already: its message has to be shorter"
        else:
            way_out = "context_overflow: 'drop_oldest' leaves out the oldest turns"
        raise ApiError(
            "context_length_exceeded",
            f"expected at most {served.context} positions in all, got {len(ids)} of the prompt, "
            f"which leaves none for new tokens; {way_out}",
            "messages" if isinstance(body, ChatRequest) else "prompt",
        )
    return ids


def _text_request(
    body: ChatRequest | CompletionRequest, ids: Sequence[int], served: ServedModel
) -> TextRequest:
    return TextRequest(
        token_ids=ids,
        max_new_tokens=body.new_tokens(served.room(len(ids))),
        sampling=body.sampling(),
        seed=body.seed,
        stop=body.stops,
        n=body.n or 1,
        top_logprobs=body.wanted_logprobs,
        prompt_logprobs=body.prompt_logprobs,
        ignore_eos=bool(body.ignore_eos),
    )


def _call_schema(body: ChatRequest) -> dict[str, Any]:
    """JSON of a call of one of the tools that the client forces."""
    calls: list[dict[str, Any]] = [
        {
            "type": "object",
            "properties": {
                "name": {"const": tool.function.name},
                "arguments": tool.function.parameters or {"type": "object"},
            },
            "required": ["name", "arguments"],
            "additionalProperties": False,
        }
        for tool in body.forced_tools
    ]
    definitions: dict[str, dict[str, Any]] = {}
    for call in calls:  # a schema's own definitions are looked up from the top
        parameters = call["properties"]["arguments"]
        for key in ("$defs", "definitions"):
            if key in parameters:
                definitions.setdefault(key, {}).update(parameters[key])
    return (calls[0] if len(calls) == 1 else {"anyOf": calls}) | definitions


async def _answer(
    http: Request,
    served: ServedModel,
    requests: Sequence[TextRequest],
    reply: Reply,
    body: ChatRequest | CompletionRequest,
) -> Response:
    """Start the jobs; answer with all of their text, or with a stream of it."""
    handle = RequestHandle(served.worker, served.router, requests, http)
    http.state.handle, http.state.model = handle, served.name
    try:
        if not body.stream:
            answer = await _whole(handle, reply)
            handle.close()
            return answer
        news = handle.news()
        # Until something has come, a failure can still have a status of its own.
        first = await anext(news)
    except ClientDisconnect:
        handle.close()
        return Response(status_code=CLIENT_GONE)
    except BaseException:
        handle.close()
        raise
    return EventStream(_frames(handle, first, news, reply), handle.close)


async def _whole(handle: RequestHandle, reply: Reply) -> JSONResponse:
    count = handle.count
    deltas: list[list[TextDelta]] = [[] for _ in range(count)]
    reasons = [""] * count
    async for news in handle.news():
        for index, event in news:
            if isinstance(event, Finished):
                reasons[index] = event.reason
            else:
                deltas[index].append(event)
    texts = [
        TextDelta(
            "".join(one.text for one in some),
            tuple(entry for one in some for entry in one.logprobs),
        )
        for some in deltas
    ]
    return JSONResponse(reply.whole(texts, reasons, handle.jobs))


async def _frames(
    handle: RequestHandle,
    first: News,
    rest: AsyncGenerator[News, None],
    reply: Reply,
) -> AsyncGenerator[bytes, None]:
    """The frames of a stream. A failure half-way is its last one, without `[DONE]`."""
    opened: set[int] = set()
    try:
        yield b"".join(_frames_of(first, reply, handle.jobs, opened))
        async for news in rest:
            yield b"".join(_frames_of(news, reply, handle.jobs, opened))
        yield (frame(reply.totals(handle.jobs)) if reply.counts else b"") + DONE
    except ApiError as problem:
        yield frame(problem.body())
    except ClientDisconnect:
        return


def _frames_of(news: News, reply: Reply, jobs: Sequence[Job], opened: set[int]) -> list[bytes]:
    chunks: list[dict[str, Any] | None] = []
    for index, event in news:
        if index not in opened:
            opened.add(index)
            chunks.append(reply.opening(index, jobs))
        if isinstance(event, Finished):
            chunks.append(reply.closing(index, event.reason))
        else:
            chunks.append(reply.chunk(index, event))
    return [frame(reply.counted(chunk, jobs)) for chunk in chunks if chunk is not None]
