"""A conversation whose cache lives across turns: only what is new goes through the model.

Each turn renders the whole conversation into the ids of a prompt and compares them with the ids
the KV cache was computed from. What agrees from the first id on is reused, the rest is dropped and
computed. So editing, regenerating and rolling back need no bookkeeping of their own, and a
template that writes earlier turns in another way is noticed, not trusted. Replies are kept as the
ids the model wrote: encoding their text again could give others, and break the prefix.

One person at a time talks to a session. Sessions of one model may share a `PrefixCache`.
"""

import copy
import os
from bisect import bisect_left
from collections.abc import Generator, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal, get_args

from llama_edu.chat.storage import SavedChat, read_chat, write_chat
from llama_edu.chat.template import ChatTemplate, Message
from llama_edu.chat.usage import CacheMissReason, TurnUsage
from llama_edu.engine.choose import Vocabulary, random_generator
from llama_edu.engine.generate import check_guesser, generate
from llama_edu.engine.guess import Guesser
from llama_edu.engine.llama import Llama
from llama_edu.engine.prefix_cache import PrefixCache, common_length
from llama_edu.engine.sampling import GREEDY, Sampling
from llama_edu.errors import ContextError, InputError, SessionError
from llama_edu.text.tokenizer import Tokenizer

__all__ = ["OVERFLOWS", "ChatSession", "End", "Turn"]

OVERFLOWS = ("refuse", "drop_oldest")

End = Literal["done", "length", "stopped"]
"""How a reply ended: the model ended it, it reached its limit, or its reader went away."""


@dataclass(frozen=True)
class Turn:
    """A message and its reply. `token_ids` are the reply's, without the id that ended it."""

    user: str
    reply: str
    token_ids: tuple[int, ...]
    end: End
    usage: TurnUsage

    @property
    def ledger(self) -> TurnUsage:
        """`usage`, under the name it had first."""
        return self.usage


@dataclass(frozen=True)
class _Plan:
    """A reply that was asked for: checked, and not begun."""

    kept: tuple[Turn, ...]
    text: str
    prompt: list[int]
    forgotten: int
    cause: CacheMissReason | None


class ChatSession:
    """A conversation with one model.

    `system` is the system prompt. A reply has at most `max_new_tokens`. When the conversation and
    such a reply no longer fit into the context, `overflow` decides: "refuse" raises `ContextError`
    and changes nothing; "drop_oldest" leaves out as many of the oldest turns as it takes, and each
    turn's usage says how many. `seed` makes sampled replies repeatable. `template` replaces the
    checkpoint's own. A `guesser` guesses ahead in every reply, from the whole conversation; greedy
    replies stay the same.

    Raises `InputError` for a value out of range or a guesser of another vocabulary,
    `TokenizerError` if there is no chat template.
    """

    def __init__(  # noqa: PLR0913, options by keyword
        self,
        model: Llama,
        tokenizer: Tokenizer,
        *,
        system: str | None = None,
        sampling: Sampling = GREEDY,
        max_new_tokens: int = 256,
        overflow: str = "refuse",
        seed: int | None = None,
        template: ChatTemplate | None = None,
        prefix_cache: PrefixCache | None = None,
        guesser: Guesser | None = None,
    ) -> None:
        if guesser is not None:
            check_guesser(guesser, model)
        self.model = model
        self.tokenizer = tokenizer
        self.template = ChatTemplate(tokenizer) if template is None else template
        self.sampling = sampling
        self.guesser = guesser
        self.max_new_tokens = max_new_tokens
        self.overflow = overflow
        self._system = system
        self._prefix_cache = prefix_cache
        self._rng = random_generator(seed)
        self._stop_ids = Vocabulary.of(model.config, tokenizer).stop_ids
        self._turns: tuple[Turn, ...] = ()
        self._cache = model.new_cache()
        # The first `_cache.length` of these are what the cache's rows were computed from.
        self._ids: list[int] = []
        self._cause: CacheMissReason | None = (
            None  # why the next prompt may not begin as the last one did
        )
        self._plan: _Plan | None = None
        self._replying = False

    @property
    def turns(self) -> tuple[Turn, ...]:
        """All turns, oldest first, those the overflow policy left out included."""
        return self._turns

    @property
    def forgotten(self) -> int:
        """How many of the oldest turns the last prompt left out."""
        return self._turns[-1].usage.forgotten if self._turns else 0

    @property
    def cached_ids(self) -> tuple[int, ...]:
        """The ids whose keys and values are cached now."""
        return tuple(self._ids[: self._cache.length])

    @property
    def max_new_tokens(self) -> int:
        """The most a reply has. Raises `InputError` if a context had no room for a prompt then."""
        return self._max_new_tokens

    @max_new_tokens.setter
    def max_new_tokens(self, number: int) -> None:
        limit = self.model.config.max_position_embeddings
        if not 1 <= number < limit:
            raise InputError(
                f"expected max_new_tokens from 1 to {limit - 1}, so that a context of {limit} "
                f"has room for a prompt, got {number}"
            )
        self._max_new_tokens = number

    @property
    def overflow(self) -> str:
        """What is done when the context is full. Raises `InputError` for what is unknown."""
        return self._overflow

    @overflow.setter
    def overflow(self, policy: str) -> None:
        if policy not in OVERFLOWS:
            raise InputError(f"expected overflow of {', '.join(OVERFLOWS)}, got {policy!r}")
        self._overflow = policy

    def reseed(self, seed: int) -> None:
        """Make the replies from here on repeatable."""
        self._rng = random_generator(seed)

    @property
    def system(self) -> str | None:
        """The system prompt. Setting another one leaves the turns; their rows are computed anew."""
        return self._system

    @system.setter
    def system(self, text: str | None) -> None:
        self._check_idle()
        if text != self._system:
            self._system, self._cause, self._plan = text, CacheMissReason.EDITED, None

    def send(self, text: str) -> Generator[str, None, None]:
        """Say something, and yield the reply in pieces of text, as it is made.

        All checks happen at the call, before any work: `ContextError` if there is no room,
        `InputError` if the template refuses, `TokenizerError` for text that cannot be encoded.
        The turn counts once the reply begins. A reply that is closed early, or interrupted, keeps
        what there is of it, marked "stopped"; if the model fails before its first token, the
        conversation stays as it was.
        """
        return self._answer(self._turns, text, self._cause)

    def edit(self, turn: int, text: str) -> Generator[str, None, None]:
        """Say something else in `turns[turn]`, and yield the new reply. Later turns are gone."""
        self._check_turn(turn, len(self._turns) - 1)
        return self._answer(self._turns[:turn], text, CacheMissReason.EDITED)

    def regenerate(self) -> Generator[str, None, None]:
        """Yield another reply to the last message, in place of the one there is.

        With greedy sampling it is the same one. Raises `InputError` if there is no turn yet, and
        what `send` raises.
        """
        if not self._turns:
            raise InputError("expected a turn whose reply to make again, got none yet")
        return self._answer(self._turns[:-1], self._turns[-1].user, CacheMissReason.REGENERATED)

    def rollback(self, turn: int) -> None:
        """Take back `turns[turn]` and all after it. Nothing is computed."""
        self._check_turn(turn, len(self._turns))
        self._check_idle()
        if turn < len(self._turns):
            self._turns = self._turns[:turn]
            self._cause, self._plan = CacheMissReason.ROLLED_BACK, None

    def fork(self) -> "ChatSession":
        """A session of its own that goes on from here, with a copy of the cache."""
        self._check_idle()
        other = copy.copy(self)  # what they share is replaced by either, and never changed
        other._cache = self._cache.fork()
        other._rng = copy.deepcopy(self._rng)
        return other

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the conversation and its cache to a file, in one step.

        Rows of what was taken back are left out. Raises `OSError` if the file cannot be written.
        """
        self._check_idle()
        known = 0
        if self._turns:
            messages = self._messages(self._turns[self.forgotten :])
            ids = self.template.encode(messages, add_generation_prompt=False)
            known = common_length(self.cached_ids, ids)
        state = {
            "system": self._system,
            "turns": [asdict(turn) for turn in self._turns],
            "sampling": asdict(self.sampling),
            "max_new_tokens": self.max_new_tokens,
            "overflow": self.overflow,
            "random": self._rng.bit_generator.state,
        }
        write_chat(path, SavedChat(state, self._ids[:known], self._cache), self.model)

    @classmethod
    def load(
        cls,
        path: str | os.PathLike[str],
        model: Llama,
        tokenizer: Tokenizer,
        *,
        template: ChatTemplate | None = None,
        prefix_cache: PrefixCache | None = None,
        guesser: Guesser | None = None,
    ) -> "ChatSession":
        """Go on with a saved conversation: the next turn computes what is new, and no more.

        Raises `SessionError` if the file is damaged or the conversation was held with another
        model, `TokenizerError` as the class does, and `InputError` for a guesser of another
        vocabulary.
        """
        if guesser is not None:
            check_guesser(guesser, model)  # here, or it would be called a fault of the file
        template = ChatTemplate(tokenizer) if template is None else template
        saved = read_chat(path, model)
        state = saved.state
        try:
            session = cls(
                model,
                tokenizer,
                system=state["system"],
                sampling=Sampling.from_saved(state["sampling"]),
                max_new_tokens=state["max_new_tokens"],
                overflow=state["overflow"],
                template=template,
                prefix_cache=prefix_cache,
                guesser=guesser,
            )
            session._turns = tuple(_turn(turn) for turn in state["turns"])
            session._rng.bit_generator.state = state["random"]
        except (InputError, KeyError, TypeError, ValueError) as problem:
            raise SessionError(
                f"{path}: expected the state of a session, got {problem}"
            ) from problem
        session._ids, session._cache = saved.token_ids, saved.cache
        return session

    def _messages(self, turns: Sequence[Turn]) -> list[Message]:
        messages = [] if self._system is None else [Message("system", self._system)]
        for turn in turns:
            messages.append(Message("user", turn.user))
            messages.append(Message("assistant", turn.reply, turn.token_ids))
        return messages

    def _answer(
        self, kept: tuple[Turn, ...], text: str, cause: CacheMissReason | None
    ) -> Generator[str, None, None]:
        self._check_idle()
        prompt, forgotten = self._fitting_prompt(kept, text)
        self._plan = _Plan(kept, text, prompt, forgotten, cause)
        return self._reply(self._plan)

    def _fitting_prompt(self, kept: Sequence[Turn], text: str) -> tuple[list[int], int]:
        """The ids of a prompt that leaves room for a reply, and how many turns are not in it."""
        room = self._cache.max_seq - self.max_new_tokens

        def prompt_without(n_oldest: int) -> list[int]:
            messages = self._messages(kept[n_oldest:])
            return self.template.encode([*messages, Message("user", text)])

        prompt = prompt_without(0)
        if len(prompt) <= room:
            return prompt, 0
        if self.overflow == "drop_oldest":
            # The more turns are left out the shorter the prompt, so search by halves.
            counts = range(len(kept) + 1)
            fewest = bisect_left(counts, True, key=lambda n: len(prompt_without(n)) <= room)
            if fewest < len(counts):
                return prompt_without(fewest), fewest
            prompt = prompt_without(len(kept))
        raise ContextError(
            f"expected a conversation of at most {room} tokens, to leave room for a reply of "
            f"{self.max_new_tokens} in a context of {self._cache.max_seq}, got {len(prompt)}"
        )

    def _reply(self, plan: _Plan) -> Generator[str, None, None]:
        if plan is not self._plan:
            raise InputError("expected the reply that was asked for last, got an earlier one")
        self._plan, self._replying = None, True
        usage: TurnUsage | None = None
        reply: list[int] = []
        end: End = "stopped"
        try:
            usage = self._reuse(plan)
            stream = self.tokenizer.stream()
            for token_id in self._new_ids(plan.prompt):
                if token_id in self._stop_ids:
                    end = "done"
                    break
                piece = stream.push(token_id)  # first: an id without a token is no part of a reply
                self._ids.append(token_id)
                reply.append(token_id)
                if piece:
                    yield piece
            else:
                end = "length"
            if piece := stream.finish():
                yield piece
        except Exception:
            if not reply:
                usage = None  # nothing was said: the conversation stays as it was
            raise
        finally:
            # Also when the generator is closed, or Ctrl-C comes in the middle of a step.
            self._replying = False
            if usage is not None:
                self._keep(plan, tuple(reply), end, usage)

    def _reuse(self, plan: _Plan) -> TurnUsage:
        """Keep the cached rows that begin the prompt, and drop the others."""
        cached, prompt = self._cache.length, plan.prompt
        # The last id is run even if its row is there: its logits are not.
        same = min(common_length(self._ids[:cached], prompt), len(prompt) - 1)
        self._cache.truncate(same)
        self._ids = list(prompt)
        shared = self._prefix_cache.restore(prompt, self._cache) if self._prefix_cache else 0
        reused = same + shared
        reason = None
        if same < cached:
            reason = plan.cause or CacheMissReason.RERENDERED
            reason = CacheMissReason.OVERFLOW if plan.forgotten > self.forgotten else reason
        elif shared and reused < len(prompt) - 1:
            reason = CacheMissReason.OTHER
        return TurnUsage(
            prompt_tokens=len(prompt),
            reused=reused,
            computed=len(prompt) - reused,
            generated=0,
            dropped=cached - same,
            reason=reason,
            forgotten=plan.forgotten,
        )

    def _new_ids(self, prompt: list[int]) -> Iterator[int]:
        past = self._cache.length
        return generate(
            self.model,
            prompt[past:],
            max_new_tokens=self.max_new_tokens,
            tokenizer=self.tokenizer,
            sampling=self.sampling,
            seed=self._rng,
            cache=self._cache,
            past_ids=prompt[:past],
            guesser=self.guesser,
        )

    def _keep(self, plan: _Plan, reply: tuple[int, ...], end: End, usage: TurnUsage) -> None:
        """Make the reply part of the conversation, and its rows part of what is shared."""
        usage = replace(usage, generated=len(reply) + (end == "done"))
        text = self.tokenizer.decode(reply)
        self._turns = (*plan.kept, Turn(plan.text, text, reply, end, usage))
        self._cause = None
        if self._prefix_cache is not None:
            self._prefix_cache.store(self.cached_ids, self._cache)

    def _check_idle(self) -> None:
        if self._replying:
            raise InputError("expected the reply under way to be read to its end or closed first")

    def _check_turn(self, turn: int, last: int) -> None:
        if not 0 <= turn <= last:
            raise InputError(f"expected a turn from 0 to {last}, got {turn}")


def _turn(saved: dict[str, Any]) -> Turn:
    if saved["end"] not in get_args(End):
        raise ValueError(saved["end"])
    usage = saved["usage"] if "usage" in saved else saved["ledger"]  # its name in early files
    reason = None if usage["reason"] is None else CacheMissReason(usage["reason"])
    return Turn(
        user=str(saved["user"]),
        reply=str(saved["reply"]),
        token_ids=tuple(map(int, saved["token_ids"])),
        end=saved["end"],
        usage=TurnUsage(**usage | {"reason": reason}),
    )
