"""The addresses: OpenAI's, and those for whoever looks after the server."""

import secrets
import time
from collections.abc import AsyncGenerator, Sequence
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request
from starlette.requests import ClientDisconnect
from starlette.responses import JSONResponse, Response

from llama_edu.serve.http import openapi as documents
from llama_edu.serve.http.api_errors import ApiError
from llama_edu.serve.http.call import Call, News
from llama_edu.serve.http.requests import ChatRequest, CompletionRequest
from llama_edu.serve.http.responses import ChatReply, CompletionReply, Reply
from llama_edu.serve.http.served import ServedModel, Serving
from llama_edu.serve.http.sse import DONE, EventStream, frame
from llama_edu.serve.job import Finished, TextDelta
from llama_edu.serve.job import Request as TextRequest

__all__ = ["router"]

CLIENT_GONE = 499  # nobody reads it; nginx's name for it in a log

router = APIRouter()


def serving(http: Request) -> Serving:
    """What this server holds."""
    held: Serving = http.app.state.serving
    return held


Held = Annotated[Serving, Depends(serving)]


@router.get("/v1/models", tags=["models"], responses=documents.MODELS)
async def list_models(held: Held) -> JSONResponse:
    """The models that are served."""
    return JSONResponse({"object": "list", "data": [_card(m) for m in held.models.values()]})


@router.get("/v1/models/{model}", tags=["models"], responses=documents.MODEL)
async def retrieve_model(model: str, held: Held) -> JSONResponse:
    """One model."""
    return JSONResponse(_card(held.model(model)))


@router.post("/v1/chat/completions", tags=["texts"], responses=documents.CHAT)
async def create_chat_completion(body: ChatRequest, http: Request, held: Held) -> Response:
    """The assistant's next message. With `stream`, piece by piece as server-sent events."""
    served = held.model(body.model)
    ids = await served.encode_chat(body.messages)
    request = _text_request(body, ids, served.room(len(ids)), continues=False)
    reply = ChatReply(served.tokenizer, **_frame("chatcmpl", body))
    return await _answer(http, served, [request], reply, body)


@router.post("/v1/completions", tags=["texts"], responses=documents.COMPLETION)
async def create_completion(body: CompletionRequest, http: Request, held: Held) -> Response:
    """How a text may go on. With `stream`, piece by piece as server-sent events."""
    served = held.model(body.model)
    requests = []
    for prompt in body.prompts:
        ids = await served.encode_text(prompt)
        requests.append(_text_request(body, ids, served.room(len(ids)), continues=True))
    reply = CompletionReply(served.tokenizer, **_frame("cmpl", body))
    return await _answer(http, served, requests, reply, body)


@router.get("/healthz", tags=["operation"], responses=documents.HEALTH)
async def is_alive(held: Held) -> JSONResponse:
    """Liveness: whether the server can still do its work. If not, start it anew."""
    return _health(held.is_well)


@router.get("/readyz", tags=["operation"], responses=documents.HEALTH)
async def is_ready(held: Held) -> JSONResponse:
    """Readiness: whether it takes requests. It does not while it shuts down."""
    return _health(held.is_well and not held.stopping)


@router.get("/metrics", tags=["operation"], responses=documents.METRICS)
async def metrics(held: Held) -> Response:
    """The server's numbers, in Prometheus' text format."""
    return Response(held.metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")


def _card(served: ServedModel) -> dict[str, Any]:
    """OpenAI's four fields, and two that our page needs."""
    return {
        "id": served.name,
        "object": "model",
        "created": served.created,
        "owned_by": "llama_edu",
        "context_length": served.model.config.max_position_embeddings,
        "chat": served.template is not None,
    }


def _health(well: bool) -> JSONResponse:
    return JSONResponse({"status": "ok" if well else "unavailable"}, 200 if well else 503)


def _frame(prefix: str, body: ChatRequest | CompletionRequest) -> dict[str, Any]:
    options = body.stream_options
    return {
        "reply_id": f"{prefix}-{secrets.token_hex(12)}",
        "created": int(time.time()),
        "model": body.model,
        "counts": options is not None and options.include_usage,
    }


def _text_request(
    body: ChatRequest | CompletionRequest, ids: Sequence[int], room: int, *, continues: bool
) -> TextRequest:
    return TextRequest(
        token_ids=ids,
        max_new_tokens=body.new_tokens(room),
        sampling=body.sampling(),
        seed=body.seed,
        stop=body.stops,
        n=body.n or 1,
        top_logprobs=body.wanted_logprobs,
        continues=continues,
    )


async def _answer(
    http: Request,
    served: ServedModel,
    requests: Sequence[TextRequest],
    reply: Reply,
    body: ChatRequest | CompletionRequest,
) -> Response:
    """Start the jobs; answer with all of their text, or with a stream of it."""
    call = Call(served.worker, served.post, requests, http)
    http.state.call, http.state.model = call, served.name
    try:
        if not body.stream:
            answer = await _whole(call, reply)
            call.close()
            return answer
        news = call.news()
        # Until something has come, a failure can still have a status of its own.
        first = await anext(news)
    except ClientDisconnect:
        call.close()
        return Response(status_code=CLIENT_GONE)
    except BaseException:
        call.close()
        raise
    counts = body.stream_options is not None and body.stream_options.include_usage
    return EventStream(_frames(call, first, news, reply, counts=counts), call.close)


async def _whole(call: Call, reply: Reply) -> JSONResponse:
    count = sum(len(job.choices) for job in call.jobs)
    deltas: list[list[TextDelta]] = [[] for _ in range(count)]
    reasons = [""] * count
    async for news in call.news():
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
    return JSONResponse(reply.whole(texts, reasons, call.jobs))


async def _frames(
    call: Call, first: News, rest: AsyncGenerator[News, None], reply: Reply, *, counts: bool
) -> AsyncGenerator[bytes, None]:
    """The frames of a stream. A failure half-way is its last one, without `[DONE]`."""
    opened: set[int] = set()
    try:
        yield b"".join(_frames_of(first, reply, opened))
        async for news in rest:
            yield b"".join(_frames_of(news, reply, opened))
        yield (frame(reply.totals(call.jobs)) if counts else b"") + DONE
    except ApiError as problem:
        yield frame(problem.body())
    except ClientDisconnect:
        return


def _frames_of(news: News, reply: Reply, opened: set[int]) -> list[bytes]:
    chunks: list[dict[str, Any] | None] = []
    for index, event in news:
        if index not in opened:
            opened.add(index)
            chunks.append(reply.opening(index))
        if isinstance(event, Finished):
            chunks.append(reply.closing(index, event.reason))
        else:
            chunks.append(reply.chunk(index, event))
    return [frame(chunk) for chunk in chunks if chunk is not None]
