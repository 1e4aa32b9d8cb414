"""The JSON that comes in: what a request may say, in the words of OpenAI's API.

Every field is known by name; one that is not is refused, so that a misspelt `max_token` is not
silently ignored. Fields that would change the text in a way this server cannot are accepted with
the value that changes nothing, and refused with any other.

Source of names and ranges: OpenAI API reference, "Create chat completion", "Create completion".
`top_k` is ours: OpenAI has none, vLLM and llama.cpp spell it so.
"""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from llama_edu.engine.sampling import Sampling

__all__ = ["ChatRequest", "CompletionRequest", "ContentPart", "MessageIn", "SharedFields"]

MAX_STOPS = 4
MAX_STOP_CHARS = 256
MAX_CHOICES = 16
MAX_PROMPTS = 64  # in one request
MAX_MESSAGES = 4096  # each with a role and its marks, they fill any context before
DEFAULT_COMPLETION_TOKENS = 16  # OpenAI's own

Zero = Annotated[float, Field(ge=0, le=0)]
One = Annotated[int, Field(ge=1, le=1)]
Nothing = Annotated[list[Any], Field(max_length=0)]
NoBias = Annotated[dict[str, Any], Field(max_length=0)]
StopText = Annotated[str, Field(min_length=1, max_length=MAX_STOP_CHARS)]
Count = Annotated[int, Field(ge=1, le=2**31 - 1)]
Seed = Annotated[int, Field(ge=-(2**63), le=2**63 - 1)]
# One fault in a list is enough, here and below: to tell a hundred thousand takes a second.
TokenIds = Annotated[list[Annotated[int, Field(ge=0)]], Field(min_length=1, fail_fast=True)]


class Strict(BaseModel):
    """Refuses what it does not know, and does not turn text into numbers."""

    model_config = ConfigDict(extra="forbid", strict=True)

    @model_validator(mode="before")
    @classmethod
    def _one_unknown_field_is_enough(cls, data: Any) -> Any:
        if not isinstance(data, dict):
            return data
        unknown = [name for name in data if name not in cls.model_fields]
        known = {name: value for name, value in data.items() if name in cls.model_fields}
        return known | {name: data[name] for name in unknown[:1]}


class StreamOptions(Strict):
    """What a stream ends with."""

    include_usage: bool = False
    include_obfuscation: bool = False


class SharedFields(Strict):
    """What both kinds of request have in common."""

    model: str = Field(description="A name that GET /v1/models lists.")
    temperature: Annotated[float, Field(ge=0, le=2, allow_inf_nan=False)] | None = None
    top_p: Annotated[float, Field(gt=0, le=1, allow_inf_nan=False)] | None = None
    top_k: Annotated[int, Field(ge=0, le=2**31 - 1)] | None = Field(
        None, description="Draw among that many of the likeliest tokens; 0 for all."
    )
    seed: Seed | None = None
    stop: StopText | Annotated[list[StopText], Field(max_length=MAX_STOPS)] | None = None
    max_tokens: Count | None = None
    n: Annotated[int, Field(ge=1, le=MAX_CHOICES)] | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = Field(None, description="Only with stream: true.")

    # These say who asks and for what; they change nothing in the reply.
    user: str | None = None
    metadata: dict[str, Any] | None = None
    service_tier: str | None = None
    safety_identifier: str | None = None
    prompt_cache_key: str | None = None

    # These would change the reply. Only the value that does not is accepted.
    presence_penalty: Zero | None = None
    frequency_penalty: Zero | None = None
    logit_bias: NoBias | None = None

    @model_validator(mode="after")
    def _options_need_a_stream(self) -> "SharedFields":
        if self.stream_options is not None and not self.stream:
            raise ValueError("stream_options: expected stream to be true beside it, got false")
        return self

    @property
    def stops(self) -> tuple[str, ...]:
        if self.stop is None:
            return ()
        return (self.stop,) if isinstance(self.stop, str) else tuple(self.stop)

    def sampling(self) -> Sampling:
        """How to draw, with OpenAI's defaults for what was left out: 1, no cut."""
        return Sampling(
            temperature=1.0 if self.temperature is None else float(self.temperature),
            top_k=self.top_k or 0,
            top_p=1.0 if self.top_p is None else float(self.top_p),
        )


class ContentPart(Strict):
    """A part of a message. Only text can be read."""

    type: Literal["text"]
    text: str


class MessageIn(Strict):
    """One message. "developer" is a newer word for "system"."""

    role: Literal["system", "developer", "user", "assistant"]
    content: str | Annotated[list[ContentPart], Field(fail_fast=True)]
    # What a reply has besides, empty: clients send it back as they got it.
    refusal: None = None
    annotations: Nothing | None = None
    audio: None = None
    function_call: None = None
    tool_calls: Nothing | None = None

    @property
    def text(self) -> str:
        if isinstance(self.content, str):
            return self.content
        return "".join(part.text for part in self.content)


class ResponseFormat(Strict):
    """Text is all there is."""

    type: Literal["text"]


class ChatRequest(SharedFields):
    """The body of POST /v1/chat/completions."""

    messages: Annotated[
        list[MessageIn], Field(min_length=1, max_length=MAX_MESSAGES, fail_fast=True)
    ]
    max_completion_tokens: Count | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Field(ge=0, le=20)] | None = Field(
        None, description="Only with logprobs: true."
    )
    store: Literal[False] | None = None
    response_format: ResponseFormat | None = None
    modalities: Annotated[list[Literal["text"]], Field(max_length=1)] | None = None
    tools: Nothing | None = None
    tool_choice: Literal["none", "auto"] | None = None
    parallel_tool_calls: bool | None = None

    @model_validator(mode="after")
    def _fields_agree(self) -> "ChatRequest":
        if self.top_logprobs is not None and not self.logprobs:
            raise ValueError("top_logprobs: expected logprobs to be true beside it, got false")
        both = (self.max_tokens, self.max_completion_tokens)
        if None not in both and self.max_tokens != self.max_completion_tokens:
            raise ValueError(
                "max_tokens: expected the value of max_completion_tokens, its newer name, "
                f"got {self.max_tokens} and {self.max_completion_tokens}"
            )
        return self

    def new_tokens(self, room: int) -> int:
        """How many to write at most; without a word on it, as many as there is room for."""
        return self.max_completion_tokens or self.max_tokens or max(room, 1)

    @property
    def wanted_logprobs(self) -> int | None:
        return (self.top_logprobs or 0) if self.logprobs else None


class CompletionRequest(SharedFields):
    """The body of POST /v1/completions."""

    prompt: (
        str
        | TokenIds
        | Annotated[list[str], Field(min_length=1, max_length=MAX_PROMPTS)]
        | Annotated[list[TokenIds], Field(min_length=1, max_length=MAX_PROMPTS)]
    ) = Field(description="A text, or its token ids, or a list of either.")
    logprobs: Annotated[int, Field(ge=0, le=20)] | None = Field(
        None, description="Log-probabilities of each token, and of that many of the likeliest."
    )
    echo: Literal[False] | None = None
    best_of: One | None = None
    suffix: Annotated[str, Field(max_length=0)] | None = None

    def new_tokens(self, room: int) -> int:
        """How many to write at most: OpenAI's 16 without a word on it."""
        return self.max_tokens or min(DEFAULT_COMPLETION_TOKENS, max(room, 1))

    @property
    def wanted_logprobs(self) -> int | None:
        return self.logprobs

    @property
    def prompts(self) -> list[str] | list[list[int]]:
        """Every prompt on its own."""
        if isinstance(self.prompt, str):
            return [self.prompt]
        if isinstance(self.prompt[0], int):
            return [self.prompt]
        return self.prompt
