"""Which replica a request goes to: the one that has had its conversation, while that one lives.

There the prefix of the conversation is cached. Ray Serve has such a choice of its own, for the
models of "multiplexed" replicas; but what a replica has had, it hears only after a while, and the
next turn of a conversation may come sooner. This router notes it when it hands out a request.

Ray imports the class by its name, so it has a module of its own, which needs the extra `ray`.
"""

import random
from collections import OrderedDict
from typing import Any

from ray.serve.request_router import RequestRouter

__all__ = ["ConversationRouter"]

CONVERSATIONS = 10_000  # whose replica is remembered


class ConversationRouter(RequestRouter):  # type: ignore[misc]
    """Ray's router, in the process of the entrance; the mark of a conversation is its "model"."""

    def initialize_state(self) -> None:
        """Called by Ray at the end of the router's own beginning."""
        self._had_by: OrderedDict[str, Any] = OrderedDict()

    async def choose_replicas(
        self, candidate_replicas: list[Any], pending_request: Any = None
    ) -> list[list[Any]]:
        """The replica that has had the conversation; for a new one all, of which Ray takes one.

        Ray takes the first of those with the shortest queue. Where the queue of the one is full,
        all may be asked: a prefix is read again sooner than so many others are answered.
        """
        anyone = random.sample(candidate_replicas, len(candidate_replicas))
        if pending_request is None:
            return [anyone]
        # Without this, Ray would ask again at once, and keep a core busy, until one has room.
        pending_request.routing_context.should_backoff = True
        known = self._had_by.get(pending_request.metadata.multiplexed_model_id)
        had_it = [one for one in anyone if one.replica_id == known]
        return [self.select_available_replicas(had_it) or anyone]

    def on_request_routed(self, pending_request: Any, replica_id: Any, result: Any) -> None:
        """Note who has accepted a request; conversations that are longest past are forgotten."""
        mark = pending_request.metadata.multiplexed_model_id
        if not mark:
            return  # none of a conversation
        self._had_by[mark] = replica_id
        self._had_by.move_to_end(mark)
        if len(self._had_by) > CONVERSATIONS:
            self._had_by.popitem(last=False)
