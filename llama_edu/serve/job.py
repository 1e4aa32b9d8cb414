"""One request to the scheduler, what becomes of it, and the limits that all requests share."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from llama_edu.engine.cache import KVCache
from llama_edu.engine.choose import Constraint, TokenChooser
from llama_edu.engine.guess import Guessing, Pace
from llama_edu.engine.sampling import GREEDY, Sampling
from llama_edu.errors import LlamaEduError
from llama_edu.serve.output import OutputText

__all__ = [
    "Choice",
    "Event",
    "Failed",
    "Finished",
    "Job",
    "Limits",
    "Request",
    "TextDelta",
    "TokenLogprob",
]


@dataclass(frozen=True)
class Limits:
    """What one model takes on at a time. A request for n choices counts as n sequences."""

    max_num_seqs: int = 32
    """Sequences that grow, or whose prompts are computed, at the same time."""

    max_queue: int = 64
    """Sequences in the queue. Beyond that, requests are refused."""

    prefill_tokens: int = 64
    """Prompt tokens per step: how long whoever grows is kept waiting for the next token."""

    max_prompt_tokens: int = 32_768
    max_new_tokens: int = 4_096

    max_seconds: float = 300.0
    """From a request's arrival to its last token."""

    kv_nbytes: int = 1 << 30
    """Keys and values of all that grows, at the longest it may get."""

    prefix_nbytes: int = 256 << 20
    """Keys and values kept for prompts that begin like an earlier one."""

    most_guesses: int = 0
    """Tokens guessed from the text itself, where one sequence has a step to itself; 0 for none."""


@dataclass(frozen=True)
class Request:
    """What to continue, and how."""

    token_ids: Sequence[int]

    max_new_tokens: int
    """0 computes the prompt and no more."""

    sampling: Sampling = GREEDY
    seed: int | None = None
    """The first choice draws as `generate(…, seed=seed)` does; each draws for itself."""

    stop: tuple[str, ...] = ()
    """Texts that end a reply, and are not part of it."""

    n: int = 1
    """How many choices: sequences that grow out of the one prompt."""

    top_logprobs: int | None = None
    """None: no log-probabilities. A number: each token's, and those of that many likeliest ones."""

    continues: bool = True
    """Whether the text goes on from the prompt's, or is a reply of its own."""

    prompt_logprobs: int | None = None
    """As `top_logprobs`, for the tokens of the prompt: how likely each was after those before."""

    ignore_eos: bool = False
    """Whether to write on after a token that ends a text."""

    constraint: Callable[[int], Constraint] | None = None
    """Makes, for each choice, what its tokens must follow, of which there are so many at most."""


@dataclass(frozen=True)
class TokenLogprob:
    """Log-probability of a token in the model's own distribution, before temperature and cuts.

    `start` counts the characters of the text before it; `top` holds the likeliest ids, in order.
    """

    token_id: int
    logprob: float
    start: int
    top: tuple[tuple[int, float], ...] = ()


@dataclass(frozen=True)
class TextDelta:
    """New text that may be shown, and log-probabilities of the tokens that begin in it."""

    text: str
    logprobs: tuple[TokenLogprob, ...] = ()


@dataclass(frozen=True)
class Finished:
    """The last event of a choice that came to its end: "stop" or "length"."""

    reason: str


@dataclass(frozen=True)
class Failed:
    """The last event of a choice that did not."""

    problem: LlamaEduError


Event = TextDelta | Finished | Failed


@dataclass(eq=False)
class Choice:
    """One sequence that grows out of a job's prompt. Only the scheduler changes it."""

    job: "Job"
    index: int
    chooser: TokenChooser
    output: OutputText
    cache: KVCache | None = None
    new_ids: list[int] = field(default_factory=list)
    logprobs: list[TokenLogprob] = field(default_factory=list)
    """Of the tokens whose text is still held back."""
    guessing: Guessing | None = None
    """Along its text, once it had a step to itself and guesses are made."""
    pace: Pace | None = None
    """How many of them."""
    reason: str | None = None
    """Why it ended: "stop", "length", "cancelled", or the code of a `ServeError`."""


@dataclass(eq=False)
class Job:
    """A request on its way. Only the scheduler changes it, but for `cancel`.

    Times are readings of the scheduler's clock, in seconds.
    """

    number: int
    request: Request
    submitted: float
    choices: list[Choice] = field(default_factory=list)
    cache: KVCache | None = None
    """Of the prompt, until its choices take it over."""
    reused: int = 0
    """Prompt tokens whose keys and values were known from an earlier request."""
    prompt_logprobs: list[TokenLogprob | None] = field(default_factory=list)
    """One for each token of the prompt that was computed, if asked for; None for the first, which
    comes after nothing."""
    cancelled: bool = False
    passed_over: int = 0
    started: float | None = None
    first_token: float | None = None
    ended: float | None = None

    def cancel(self) -> None:
        """Ask for the end, from any thread. It comes before the next step, without an event."""
        self.cancelled = True

    @property
    def n_generated(self) -> int:
        """New tokens of all choices; a token that ends a text counts, since it was computed."""
        return sum(len(choice.new_ids) for choice in self.choices)
