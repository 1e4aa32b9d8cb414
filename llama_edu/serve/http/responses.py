"""The JSON that goes out: the same news of a text as a chat, or as a completion."""

from collections.abc import Sequence
from typing import Any

from llama_edu.errors import TokenizerError
from llama_edu.serve.job import Job, TextDelta, TokenLogprob
from llama_edu.text.tokenizer import Tokenizer

__all__ = ["ChatReply", "CompletionReply", "Reply", "usage"]


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

    def __init__(
        self, tokenizer: Tokenizer, reply_id: str, created: int, model: str, *, counts: bool
    ) -> None:
        """`counts` says whether a stream will end with its usage."""
        self._tokenizer = tokenizer
        self._frame = {"id": reply_id, "created": created, "model": model}
        self._usage: dict[str, Any] = {"usage": None} if counts else {}

    def _chunk(self, choices: list[dict[str, Any]]) -> dict[str, Any]:
        return {**self._frame, "object": self.kind_of_chunk, "choices": choices, **self._usage}

    def totals(self, jobs: Sequence[Job]) -> dict[str, Any]:
        return self._chunk([]) | {"usage": usage(jobs)}

    def _whole(self, choices: list[dict[str, Any]], jobs: Sequence[Job]) -> dict[str, Any]:
        return {**self._frame, "object": self.kind, "choices": choices, "usage": usage(jobs)}

    def _bytes(self, token_id: int) -> bytes:
        try:
            return self._tokenizer.token_bytes(token_id)
        except TokenizerError:  # among the likeliest, but no token: vocabularies may have such ids
            return b""

    def _token(self, token_id: int) -> str:
        return self._bytes(token_id).decode("utf-8", errors="replace")


class ChatReply(_Common):
    """A reply to POST /v1/chat/completions."""

    kind = "chat.completion"
    kind_of_chunk = "chat.completion.chunk"

    def opening(self, index: int) -> dict[str, Any] | None:
        return self._delta(index, {"role": "assistant", "content": ""})

    def chunk(self, index: int, delta: TextDelta) -> dict[str, Any]:
        return self._delta(index, {"content": delta.text}, self._logprobs(delta.logprobs))

    def closing(self, index: int, reason: str) -> dict[str, Any]:
        return self._delta(index, {}, reason=reason)

    def whole(
        self, texts: Sequence[TextDelta], reasons: Sequence[str], jobs: Sequence[Job]
    ) -> dict[str, Any]:
        choices = [
            {
                "index": index,
                "message": {"role": "assistant", "content": delta.text, "refusal": None},
                "logprobs": self._logprobs(delta.logprobs),
                "finish_reason": reason,
            }
            for index, (delta, reason) in enumerate(zip(texts, reasons, strict=True))
        ]
        return self._whole(choices, jobs)

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
    """A reply to POST /v1/completions."""

    kind = kind_of_chunk = "text_completion"

    def opening(self, index: int) -> dict[str, Any] | None:
        return None

    def chunk(self, index: int, delta: TextDelta) -> dict[str, Any]:
        return self._chunk([self._choice(index, delta, None)])

    def closing(self, index: int, reason: str) -> dict[str, Any]:
        return self._chunk([self._choice(index, TextDelta(""), reason)])

    def whole(
        self, texts: Sequence[TextDelta], reasons: Sequence[str], jobs: Sequence[Job]
    ) -> dict[str, Any]:
        pairs = zip(texts, reasons, strict=True)
        choices = [self._choice(i, delta, reason) for i, (delta, reason) in enumerate(pairs)]
        return self._whole(choices, jobs)

    def _choice(self, index: int, delta: TextDelta, reason: str | None) -> dict[str, Any]:
        logprobs = self._logprobs(delta.logprobs)
        return {"index": index, "text": delta.text, "logprobs": logprobs, "finish_reason": reason}

    def _logprobs(self, logprobs: Sequence[TokenLogprob]) -> dict[str, Any] | None:
        if not logprobs:
            return None
        return {
            "tokens": [self._token(one.token_id) for one in logprobs],
            "token_logprobs": [one.logprob for one in logprobs],
            "top_logprobs": [self._likeliest(one) for one in logprobs],
            "text_offset": [one.start for one in logprobs],
        }

    def _likeliest(self, one: TokenLogprob) -> dict[str, float]:
        found: dict[str, float] = {}
        for token_id, logprob in one.top:
            # Halves of characters look alike in text; the likelier one keeps the name.
            found.setdefault(self._token(token_id), logprob)
        return found


Reply = ChatReply | CompletionReply
