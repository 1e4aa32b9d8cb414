"""What a server holds in memory: models, loaded once, each with its tokenizer and its worker."""

import asyncio
import functools
import json
import os
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

from llama_edu.chat.template import ChatTemplate, Message
from llama_edu.engine.choose import Constraint
from llama_edu.engine.llama import Llama
from llama_edu.errors import InputError, LlamaEduError
from llama_edu.serve.grammar import Grammars
from llama_edu.serve.http.api_errors import ApiError, as_api_error
from llama_edu.serve.http.logs import log_exception
from llama_edu.serve.http.metrics import Metrics
from llama_edu.serve.http.request_handle import EventRouter
from llama_edu.serve.http.requests import MessageIn, Rule, TemplateRequest, ToolIn
from llama_edu.serve.job import Limits
from llama_edu.serve.scheduler import Scheduler, Step
from llama_edu.serve.threads import BlasThreads
from llama_edu.serve.worker import Worker
from llama_edu.text.tokenizer import Tokenizer

__all__ = ["ServedModel", "Serving", "load"]

Result = TypeVar("Result")

LARGE_CHARS = 20_000  # beyond this, a prompt has to queue for a thread with others of its size
MESSAGE_CHARS = 40  # that a message counts besides its text, for the template's work on it


class ServedModel:
    """A model under the name clients know it by."""

    def __init__(self, name: str, model: Llama, tokenizer: Tokenizer, limits: Limits) -> None:
        self.name = name
        self.model = model
        self.tokenizer = tokenizer
        self.limits = limits
        self.created = int(time.time())
        self.template = None if tokenizer.chat_template is None else ChatTemplate(tokenizer)
        self.grammars = Grammars(tokenizer, model.config.vocab_size)
        self.scheduler = Scheduler(model, tokenizer, limits)
        self._worker: Worker | None = None
        self._router: EventRouter | None = None
        # Templates and encoding are Python, so each thread takes its share from the event loop.
        # One for large prompts is enough, and one more, so that small ones need not wait for them.
        self._threads = [ThreadPoolExecutor(1, f"llama_edu {size}") for size in ("small", "large")]

    def start(self, metrics: Metrics, threads: BlasThreads) -> None:
        """Start the worker. Called on the event loop that will wait for it."""
        router = EventRouter(asyncio.get_running_loop())

        def report(step: Step, seconds: float) -> None:
            metrics.observe_step(self.name, step, seconds)
            router.deliver(step)

        nbytes = self.model.weights.nbytes
        self._router = router
        self._worker = Worker(
            self.scheduler, report, log_exception, self.name, lambda: threads.set_for(nbytes)
        )
        self._worker.start()

    @property
    def worker(self) -> Worker:
        assert self._worker is not None, "start comes first"
        return self._worker

    @property
    def router(self) -> EventRouter:
        assert self._router is not None, "start comes first"
        return self._router

    @property
    def context(self) -> int:
        """Positions the model has."""
        return self.model.config.max_position_embeddings

    def room(self, prompt_tokens: int) -> int:
        """New tokens that may follow a prompt."""
        return min(self.context - prompt_tokens, self.limits.max_new_tokens)

    async def encode_chat(self, body: TemplateRequest, tools: Sequence[ToolIn] = ()) -> list[int]:
        """The ids of a conversation, up to where the reply begins or goes on. Raises `ApiError`."""
        template = self._template()
        return await self._in_thread(
            "messages",
            lambda: template.encode(
                [_said(one) for one in body.messages],
                add_generation_prompt=body.add_generation_prompt is not False,
                continue_final_message=body.continues,
                variables=_variables(body, tools),
            ),
            _n_chars(body),
        )

    async def encode_latest(
        self, body: TemplateRequest, tools: Sequence[ToolIn], most: int
    ) -> tuple[list[int], int]:
        """The ids of as many of a conversation's latest turns as `most` tokens hold.

        Beside them, how many messages were left out: whole turns from the oldest, never a system
        message that stands first, nor what is to be replied to. That may alone be more than
        `most`, and then it alone is returned. Raises `ApiError`.
        """
        messages = body.messages
        first = 1 if messages[0].role in ("system", "developer") else 0
        starts = [first] + [
            number
            for number, message in enumerate(messages)
            if message.role == "user" and number > first
        ]

        async def encoded(left_out: int) -> list[int]:
            """The ids without so many of the oldest turns."""
            rest = [*messages[:first], *messages[starts[left_out] :]]
            return await self.encode_chat(body.model_copy(update={"messages": rest}), tools)

        # Fewer turns are fewer tokens. From the latest on, more and more of them, until they do not
        # fit: so the work hangs on what fits, and not on how long a history was sent.
        ids, low, high, step = await encoded(len(starts) - 1), -1, len(starts) - 1, 1
        # `high` fits; `low`, once there is one, does not.
        while len(ids) <= most and high - low > 1:
            trial = max(high - step, 0) if low < 0 else (low + high) // 2
            more = await encoded(trial)
            if len(more) <= most:
                ids, high = more, trial
            else:
                low = trial
            step *= 2
        return ids, starts[high] - first

    async def render_chat(self, body: TemplateRequest) -> str:
        """The text of a conversation, special tokens written out. Raises `ApiError`."""
        template = self._template()
        return await self._in_thread(
            "messages",
            lambda: template.render(
                [_said(one) for one in body.messages],
                add_generation_prompt=body.add_generation_prompt is not False,
                continue_final_message=body.continues,
                variables=_variables(body, body.tools or ()),
            ),
            _n_chars(body),
        )

    @property
    def knows_tools(self) -> bool:
        """Whether the chat template writes down what tools there are."""
        return self.template is not None and "tools" in self.template.source

    async def encode_text(
        self, prompt: str | Sequence[int], *, add_special: bool = True
    ) -> list[int]:
        """The ids of a text to continue; ids stay, if each has a token. Raises `ApiError`."""
        ids = await self._in_thread("prompt", lambda: self._ids(prompt, add_special), len(prompt))
        if not ids:
            raise _at("prompt", InputError("expected at least one token, got an empty text"))
        return ids

    async def encode(self, text: str, *, add_special: bool, parse_special: bool) -> list[int]:
        """The ids of a text as they are. Raises `ApiError`."""
        encode = functools.partial(
            self.tokenizer.encode, text, add_special=add_special, parse_special=parse_special
        )
        return await self._in_thread("content", encode, len(text))

    async def decode(self, token_ids: Sequence[int]) -> str:
        """The text of ids, special tokens written out. Raises `ApiError`."""
        decode = functools.partial(self.tokenizer.decode, token_ids, skip_special=False)
        return await self._in_thread("tokens", decode, len(token_ids))

    async def constraint(self, rule: Rule) -> Callable[[int], Constraint]:
        """What makes a reply follow a rule. Raises `ApiError`."""

        def made() -> Callable[[int], Constraint]:
            if rule.kind == "json":
                return self.grammars.json(rule.source)
            return self.grammars.text(rule.kind, rule.source)

        return await self._in_thread(rule.param, made, LARGE_CHARS)

    def _template(self) -> ChatTemplate:
        if self.template is None:
            raise ApiError(
                "invalid_value",
                f"model: expected one with a chat template, got {self.name!r}, which continues "
                "texts: ask /v1/completions",
                "model",
            )
        return self.template

    async def _in_thread(self, param: str, work: Callable[[], Result], n_chars: int) -> Result:
        """Have it done beside the event loop, in the thread for prompts of that size."""
        threads = self._threads[n_chars >= LARGE_CHARS]
        try:
            return await asyncio.get_running_loop().run_in_executor(threads, work)
        except LlamaEduError as problem:
            raise _at(param, problem) from problem

    def _ids(self, prompt: str | Sequence[int], add_special: bool) -> list[int]:
        if isinstance(prompt, str):
            return self.tokenizer.encode(prompt, add_special=add_special)
        for token_id in prompt:
            self.tokenizer.token_bytes(token_id)  # raises for an id without a token
        return list(prompt)


def _n_chars(body: TemplateRequest) -> int:
    """About how much there is to render."""
    return sum(len(message.text) + MESSAGE_CHARS for message in body.messages)


_ROLES = {"developer": "system", "function": "tool"}


def _said(message: MessageIn) -> Message:
    """A message as a chat template gets it, with those fields that it has."""
    fields: dict[str, Any] = {}
    for name in ("name", "tool_call_id", "reasoning_content"):
        if getattr(message, name) is not None:
            fields[name] = getattr(message, name)
    if message.tool_calls:
        # Templates write arguments as JSON themselves, so they get them as what they mean.
        fields["tool_calls"] = [
            {
                "id": call.id,
                "type": "function",
                "function": {
                    "name": call.function.name,
                    "arguments": _parsed(call.function.arguments),
                },
            }
            for call in message.tool_calls
        ]
    return Message(_ROLES.get(message.role, message.role), message.text, fields=fields)


def _parsed(arguments: str | dict[str, Any]) -> Any:
    if not isinstance(arguments, str):
        return arguments
    try:
        return json.loads(arguments)
    except (ValueError, RecursionError):
        return arguments


def _variables(body: TemplateRequest, tools: Sequence[ToolIn]) -> dict[str, Any]:
    """What the template gets besides the messages."""
    given = dict(body.chat_template_kwargs or {})
    if tools:
        given["tools"] = [tool.model_dump(exclude_none=True) for tool in tools]
    return given


def _at(param: str, problem: LlamaEduError) -> ApiError:
    error = as_api_error(problem)
    return ApiError(error.code, f"{param}: {error.message}", param, error.headers)


class Serving:
    """Everything the routes need: the models, the numbers, and whether we are on our way out."""

    def __init__(self, models: Iterable[ServedModel], threads: BlasThreads | None = None) -> None:
        """`threads` says how many NumPy may use; by default, as the machine allows."""
        self.models = {served.name: served for served in models}
        self.metrics = Metrics({name: one.scheduler for name, one in self.models.items()})
        self.threads = threads or BlasThreads()
        self.stopping = False

    def model(self, name: str | None) -> ServedModel:
        """The model of that name; without one, the only model. Raises `ApiError`."""
        if name is None and len(self.models) == 1:
            return next(iter(self.models.values()))
        if name is None:
            raise ApiError(
                "invalid_value",
                f"model: expected one of {', '.join(self.models)}, got none",
                "model",
            )
        if name not in self.models:
            raise ApiError(
                "model_not_found",
                f"model: expected one of {', '.join(self.models)}, got {name[:80]!r}",
                "model",
            )
        return self.models[name]

    @property
    def is_well(self) -> bool:
        """Whether every model has somebody working on it."""
        return all(served.worker.is_running for served in self.models.values())

    def start(self) -> None:
        """Start all workers. Called on the event loop."""
        for served in self.models.values():
            served.start(self.metrics, self.threads)

    def stop(self, grace: float) -> None:
        """Take nothing new; end what is not done after `grace` seconds."""
        self.stopping = True
        for served in self.models.values():
            served.worker.stop(grace)


def load(
    names: Sequence[str],
    limits: Limits | None = None,
    *,
    precision: str = "f32",
    backend: str = "numpy",
) -> list[ServedModel]:
    """Load models by name or directory. A directory is served under its own name.

    Raises `InputError` for two of the same name, and what loading raises.
    """
    models: dict[str, ServedModel] = {}
    for given in names:
        name = Path(given).name if os.sep in given else given
        if name in models:
            raise InputError(f"expected models with names of their own, got two called {name!r}")
        model = Llama.from_pretrained(given, precision=precision, backend=backend)
        tokenizer = Tokenizer.from_pretrained(given)
        models[name] = ServedModel(name, model, tokenizer, limits or Limits())
    return list(models.values())
