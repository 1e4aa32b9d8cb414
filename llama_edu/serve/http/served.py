"""What a server holds in memory: models, loaded once, each with its tokenizer and its worker."""

import asyncio
import os
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

from llama_edu.chat.template import ChatTemplate, Message
from llama_edu.engine.llama import Llama
from llama_edu.errors import InputError, LlamaEduError
from llama_edu.serve.http.api_errors import ApiError, as_api_error
from llama_edu.serve.http.call import Post
from llama_edu.serve.http.logs import complain
from llama_edu.serve.http.metrics import Metrics
from llama_edu.serve.http.requests import MessageIn
from llama_edu.serve.job import Limits
from llama_edu.serve.scheduler import Scheduler, Step
from llama_edu.serve.worker import Worker
from llama_edu.text.tokenizer import Tokenizer

__all__ = ["ServedModel", "Serving", "load"]


class ServedModel:
    """A model under the name clients know it by."""

    def __init__(self, name: str, model: Llama, tokenizer: Tokenizer, limits: Limits) -> None:
        self.name = name
        self.model = model
        self.tokenizer = tokenizer
        self.limits = limits
        self.created = int(time.time())
        self.template = None if tokenizer.chat_template is None else ChatTemplate(tokenizer)
        self.scheduler = Scheduler(model, tokenizer, limits)
        self._worker: Worker | None = None
        self._post: Post | None = None

    def start(self, metrics: Metrics) -> None:
        """Start the worker. Called on the event loop that will wait for it."""
        post = Post(asyncio.get_running_loop())

        def report(step: Step, seconds: float) -> None:
            metrics.observe_step(self.name, step, seconds)
            post.deliver(step)

        self._post = post
        self._worker = Worker(self.scheduler, report, complain, self.name)
        self._worker.start()

    @property
    def worker(self) -> Worker:
        assert self._worker is not None, "start comes first"
        return self._worker

    @property
    def post(self) -> Post:
        assert self._post is not None, "start comes first"
        return self._post

    def room(self, prompt_tokens: int) -> int:
        """New tokens that may follow a prompt."""
        context = self.model.config.max_position_embeddings
        return min(context - prompt_tokens, self.limits.max_new_tokens)

    async def encode_chat(self, messages: Sequence[MessageIn]) -> list[int]:
        """The ids of a conversation, up to where the reply begins. Raises `ApiError`."""
        if self.template is None:
            raise ApiError(
                "invalid_value",
                f"model: expected one with a chat template, got {self.name!r}, which continues "
                "texts: ask /v1/completions",
                "model",
            )
        given = [Message(_ROLES.get(one.role, one.role), one.text) for one in messages]
        try:
            return await asyncio.to_thread(self.template.encode, given)
        except LlamaEduError as problem:
            raise _at("messages", problem) from problem

    async def encode_text(self, prompt: str | Sequence[int]) -> list[int]:
        """The ids of a text to continue; ids stay, if each has a token. Raises `ApiError`."""
        try:
            ids = await asyncio.to_thread(self._ids, prompt)
        except LlamaEduError as problem:
            raise _at("prompt", problem) from problem
        if not ids:
            raise _at("prompt", InputError("expected at least one token, got an empty text"))
        return ids

    def _ids(self, prompt: str | Sequence[int]) -> list[int]:
        if isinstance(prompt, str):
            return self.tokenizer.encode(prompt)
        for token_id in prompt:
            self.tokenizer.token_bytes(token_id)  # raises for an id without a token
        return list(prompt)


_ROLES = {"developer": "system"}


def _at(param: str, problem: LlamaEduError) -> ApiError:
    error = as_api_error(problem)
    return ApiError(error.code, f"{param}: {error.message}", param)


class Serving:
    """Everything the routes need: the models, the numbers, and whether we are on our way out."""

    def __init__(self, models: Iterable[ServedModel]) -> None:
        self.models = {served.name: served for served in models}
        self.metrics = Metrics(self.models)
        self.stopping = False

    def model(self, name: str) -> ServedModel:
        """The model of that name. Raises `ApiError`."""
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
            served.start(self.metrics)

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
