"""Where a guided head should look: for every position, the right earlier places.

A two-layer model has many ways to come to the same loss, and most of them use heads that mix a
little of everything. Some heads are therefore shown a place to look at while training is young,
and let go long before its end. What they do in the finished model is what the loss left them.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from tokenizers import Tokenizer
from torch import Tensor

from training.recipe import Guide
from training.story_words import FACTS


def word_ids(guides: tuple[Guide, ...], tokenizer: Tokenizer) -> dict[str, Tensor]:
    """Fact -> ids of its words (their last tokens), for the guides that return to a fact."""
    return {
        g.to: torch.tensor([tokenizer.encode(f" {word}").ids[-1] for word in FACTS[g.to]])
        for g in guides
        if g.to in FACTS
    }


def right_places(
    guide: Guide, token_ids: Tensor, targets: Tensor, words: Mapping[str, Tensor]
) -> Tensor:
    """Bool (batch, seq, seq): may the query at [.., i, ..] look at key [.., .., j]?

    `token_ids` and `targets` are (batch, seq); `words` comes from `word_ids`. A head that returns
    to a fact is asked only where the word comes next, and then it looks at where the word stood.
    """
    seq = token_ids.shape[1]
    past = torch.ones(seq, seq, dtype=torch.bool, device=token_ids.device).tril(-1)
    if guide.to == "previous_token":
        return (past & ~past.tril(-2)).expand(len(token_ids), -1, -1)
    if guide.to == "first_token":
        first = torch.arange(seq, device=token_ids.device) == 0
        return (past & first).expand(len(token_ids), -1, -1)
    again = token_ids[:, None, :] == targets[:, :, None]
    wanted = torch.isin(targets, words[guide.to].to(targets.device))
    return past & again & wanted[:, :, None]
