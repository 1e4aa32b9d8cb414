"""The JSON that goes out: the same news of a text as a chat, or as a completion."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from llama_edu.errors import TokenizerError
from llama_edu.serve.http.tool_calls import ToolCall, ToolCallReader
from llama_edu.serve.job import Job, TextDelta, TokenLogprob
from llama_edu.text.tokenizer import Tokenizer

__all__ = ["ChatReply", "CompletionReply", "Counts", "Frame", "Reply", "usage"]


Counts = Literal["never", "last", "always"]


@dataclass(frozen=True)
class Frame:
    """What every chunk of an answer repeats, and which chunks of a stream tell the usage."""

    reply_id: str
    created: int
    model: str
    counts: Counts
    omitted_messages: int = 0

    def fields(self) -> dict[str, Any]:
        """As JSON."""
        given = {"id": self.reply_id, "created": self.created, "model": self.model}
        if self.omitted_messages:
            given["omitted_messages"] = self.omitted_messages
        return given


def usage(jobs: Sequence[Job]) -> dict[str, Any]:
    """What was computed. The prompt of several choices is computed, and counted, once."""
    prompt = sum(len(job.request.token_ids) for job in jobs)
    generated = sum(job.n_generated for job in jobs)
    return {
        "prompt_tokens": prompt,
        "completion_tokens": generated,
        "total_tokens": prompt + generated,
        "prompt_tokens_details": {"cached_tokens": sum(job.reused for job in jobs)},
    }


class _Common:
    """What both kinds have in common.

    `opening`, `chunk` and `closing` make the chunks of a choice, `totals` the last one of a
    stream, `whole` the answer to a request without one.
    """

    kind = ""
    kind_of_chunk = ""

    def __init__(self, tokenizer: Tokenizer, frame: Frame) -> None:
        self._tokenizer = tokenizer
        self._frame = frame.fields()
        self.counts = frame.counts != "never"
        self._always = frame.counts == "always"
        self._usage: dict[str, Any] = {"usage": None} if self.counts else {}

    def _chunk(self, choices: list[dict[str, Any]]) -> dict[str, Any]:
        return {**self._frame, "object": self.kind_of_chunk, "choices": choices, **self._usage}

    def counted(self, chunk: dict[str, Any], jobs: Sequence[Job]) -> dict[str, Any]:
        """The chunk, with the usage so far if every chunk is to have it."""
        return chunk | {"usage": usage(jobs)} if self._always else chunk

    def totals(self, jobs: Sequence[Job]) -> dict[str, Any]:
        return self._chunk([]) | {"usage": usage(jobs)}

    def _whole(self, choices: list[dict[str, Any]], jobs: Sequence[Job]) -> dict[str, Any]:
        for choice in choices:
            job = jobs[choice["index"] // jobs[0].request.n]
            if job.request.prompt_logprobs is not None:
                choice["prompt_logprobs"] = self._prompt_logprobs(job)
        return {**self._frame, "object": self.kind, "choices": choices, "usage": usage(jobs)}

    def _prompt_logprobs(self, job: Job) -> list[dict[str, Any] | None]:
        """As vLLM has it: for each token of the prompt, its own entry and the likeliest ones."""
        entries: list[dict[str, Any] | None] = []
        for one in job.prompt_logprobs:
            if one is None:
                entries.append(None)
                continue
            found: dict[int, tuple[float, int | None]] = {one.token_id: (one.logprob, None)}
            found |= {i: (logprob, rank) for rank, (i, logprob) in enumerate(one.top, 1)}
            entries.append(
                {
                    str(i): {"logprob": logprob, "rank": rank, "decoded_token": self._token(i)}
                    for i, (logprob, rank) in found.items()
                }
            )
        return entries

    def _bytes(self, token_id: int) -> bytes:
        try:
            return self._tokenizer.token_bytes(token_id)
        except TokenizerError:  # among the likeliest, but no token: vocabularies may have such ids
            return b""

    def _token(self, token_id: int) -> str:
        return self._bytes(token_id).decode("utf-8", errors="replace")


class ChatReply(_Common):
    """A reply to POST /v1/chat/completions. `tools` are the names of those it may call."""

    kind = "chat.completion"
    kind_of_chunk = "chat.completion.chunk"

    def __init__(
        self,
        tokenizer: Tokenizer,
        frame: Frame,
        tools: Collection[str] = (),
        *,
        forced: bool = False,
    ) -> None:
        """`forced` says that a tool was chosen by the client, who expects the reason "stop"."""
        super().__init__(tokenizer, frame)
        self._tools, self._forced = tools, forced
        self._readers: dict[int, ToolCallReader] = {}

    def opening(self, index: int, jobs: Sequence[Job]) -> dict[str, Any] | None:
        return self._delta(index, {"role": "assistant", "content": ""})

    def chunk(self, index: int, delta: TextDelta) -> dict[str, Any] | None:
        text = delta.text
        if self._tools:
            reader = self._readers.setdefault(index, ToolCallReader(self._tools))
            text = reader.push(text)
            if not text and not delta.logprobs:
                return None
        return self._delta(index, {"content": text}, self._logprobs(delta.logprobs))

    def closing(self, index: int, reason: str) -> dict[str, Any]:
        delta: dict[str, Any] = {}
        if index in self._readers:
            text, calls = self._readers[index].finish()
            if text:
                delta["content"] = text
            if calls:
                delta["tool_calls"] = [
                    {"index": number, **call.body()} for number, call in enumerate(calls)
                ]
                reason = self._reason(reason)
        return self._delta(index, delta, reason=reason)

    def whole(
        self, texts: Sequence[TextDelta], reasons: Sequence[str], jobs: Sequence[Job]
    ) -> dict[str, Any]:
        choices = []
        for index, (delta, reason) in enumerate(zip(texts, reasons, strict=True)):
            text, calls = self._parted(delta.text)
            message: dict[str, Any] = {"role": "assistant", "content": text, "refusal": None}
            if calls:
                message["content"] = text or None
                message["tool_calls"] = [call.body() for call in calls]
            choices.append(
                {
                    "index": index,
                    "message": message,
                    "logprobs": self._logprobs(delta.logprobs),
                    "finish_reason": self._reason(reason) if calls else reason,
                }
            )
        return self._whole(choices, jobs)

    def _parted(self, text: str) -> tuple[str, list[ToolCall]]:
        if not self._tools:
            return text, []
        reader = ToolCallReader(self._tools)
        shown = reader.push(text)
        rest, calls = reader.finish()
        return (shown + rest).strip() if calls else shown + rest, calls

    def _reason(self, reason: str) -> str:
        return "tool_calls" if reason == "stop" and not self._forced else reason

    def _delta(
        self, index: int, delta: dict[str, Any], logprobs: Any = None, reason: str | None = None
    ) -> dict[str, Any]:
        choice = {"index": index, "delta": delta, "logprobs": logprobs, "finish_reason": reason}
        return self._chunk([choice])

    def _logprobs(self, logprobs: Sequence[TokenLogprob]) -> dict[str, Any] | None:
        if not logprobs:
            return None
        content = [
            self._entry(one.token_id, one.logprob)
            | {"top_logprobs": [self._entry(*entry) for entry in one.top]}
            for one in logprobs
        ]
        return {"content": content, "refusal": None}

    def _entry(self, token_id: int, logprob: float) -> dict[str, Any]:
        # The text of a token may be half a character; its bytes never are.
        data = list(self._bytes(token_id))
        return {"token": self._token(token_id), "logprob": logprob, "bytes": data}


class CompletionReply(_Common):
    """A reply to POST /v1/completions. `echoes` are the prompts that its texts begin with."""

    kind = kind_of_chunk = "text_completion"

    def __init__(self, tokenizer: Tokenizer, frame: Frame, echoes: Sequence[str] = ()) -> None:
        """`echoes` has one for each choice, in order, or none at all."""
        super().__init__(tokenizer, frame)
        self._echoes = echoes

    def opening(self, index: int, jobs: Sequence[Job]) -> dict[str, Any] | None:
        if not self._echoes:
            return None
        job = jobs[index // jobs[0].request.n]
        return self._chunk([self._choice(index, TextDelta(""), None, job)])

    def chunk(self, index: int, delta: TextDelta) -> dict[str, Any]:
        return self._chunk([self._choice(index, delta, None)])

    def closing(self, index: int, reason: str) -> dict[str, Any]:
        return self._chunk([self._choice(index, TextDelta(""), reason)])

    def whole(
        self, texts: Sequence[TextDelta], reasons: Sequence[str], jobs: Sequence[Job]
    ) -> dict[str, Any]:
        n = jobs[0].request.n
        choices = [
            self._choice(i, delta, reason, jobs[i // n])
            for i, (delta, reason) in enumerate(zip(texts, reasons, strict=True))
        ]
        return self._whole(choices, jobs)

    def _choice(
        self, index: int, delta: TextDelta, reason: str | None, job: Job | None = None
    ) -> dict[str, Any]:
        """A choice; with a job, it begins with the job's prompt, if that is to be repeated."""
        text, entries = delta.text, list(delta.logprobs)
        logprobs = None
        if self._echoes:
            before = self._echoes[index]
            entries = [replace(one, start=one.start + len(before)) for one in entries]
            if job is not None:
                text = before + text
                if job.request.top_logprobs is not None:
                    logprobs = self._logprobs([*self._echoed(job, index), *entries])
        if logprobs is None:
            logprobs = self._logprobs(entries)
        return {"index": index, "text": text, "logprobs": logprobs, "finish_reason": reason}

    def _echoed(self, job: Job, index: int) -> list[TokenLogprob | tuple[int, int]]:
        """The prompt's tokens with their places; of the first, (id, place) is all there is."""
        # Of a prompt that came as text, the tokens put around it are no characters.
        ids = job.request.token_ids
        is_shown = self._echoes[index] == self._tokenizer.decode(ids, skip_special=False)
        stream = self._tokenizer.stream(skip_special=not is_shown)
        entries: list[TokenLogprob | tuple[int, int]] = []
        start = 0
        for one, token_id in zip(job.prompt_logprobs, job.request.token_ids, strict=True):
            entries.append((int(token_id), start) if one is None else replace(one, start=start))
            start += len(stream.push(token_id))
        return entries

    def _logprobs(
        self, logprobs: Sequence[TokenLogprob | tuple[int, int]]
    ) -> dict[str, Any] | None:
        if not logprobs:
            return None
        tokens: list[str] = []
        values: list[float | None] = []
        tops: list[dict[str, float] | None] = []
        starts: list[int] = []
        for one in logprobs:
            if isinstance(one, TokenLogprob):
                tokens.append(self._token(one.token_id))
                values.append(one.logprob)
                tops.append(self._likeliest(one))
                starts.append(one.start)
            else:
                tokens.append(self._token(one[0]))
                values.append(None)
                tops.append(None)
                starts.append(one[1])
        return {
            "tokens": tokens,
            "token_logprobs": values,
            "top_logprobs": tops,
            "text_offset": starts,
        }

    def _likeliest(self, one: TokenLogprob) -> dict[str, float]:
        found: dict[str, float] = {}
        for token_id, logprob in one.top:
            # Halves of characters look alike in text; the likelier one keeps the name.
            found.setdefault(self._token(token_id), logprob)
        return found


Reply = ChatReply | CompletionReply
