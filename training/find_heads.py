"""Find attention heads worth looking at, by measuring where every head of a model looks.

    python -m training.find_heads          # story; writes llama_edu/models/story/heads.json

On held-out stories, for every head, the mean attention weight

- `previous_token`: from a token to the one just before it;
- `first_token`: from a token to the very first one, the sink that takes what no one needs;
- `induction`: from a word of the song that is about to be repeated to what followed it before.
  The words of a song come in a random order, so no other way leads to the next one;
- `name`, `attribute`, `object`, `place`: from the token before such a word, just when the word
  is about to be repeated, to its earlier mentions. A head that does this brings the word back.

All weights are measured, none is chosen by eye. A head is named if it is the best of all at
something and passes a threshold; a name nobody earns is null.
"""

from __future__ import annotations

import argparse
import json
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from llama_edu import Llama, Tokenizer, Trace
from llama_edu.hub import locate
from training.stories import COMBINED, many

THRESHOLD = 0.4  # the mean weight a head must give to earn its name
WARM = 8  # the first positions have hardly anything to look at, so they are not measured

Sums = dict[str, list[NDArray[np.float64]]]


def wanted_pairs(
    ids: list[int], facts: Mapping[str, int], song: Collection[int] = ()
) -> Iterator[tuple[str, int, list[int]]]:
    """(what, query position, key positions) for everything worth measuring in one story.

    `facts` maps "name" and so on to the token id of that word in this story; `song` holds the ids
    of the words of its song.
    """
    for t in range(WARM, len(ids) - 1):
        yield "previous_token", t, [t - 1]
        yield "first_token", t, [0]
        earlier = [s for s in range(t + 1) if ids[s] == ids[t + 1]]
        if ids[t] in song and ids[t + 1] in song and earlier:
            yield "induction", t, earlier
        for fact, token_id in facts.items():
            if ids[t + 1] == token_id and earlier:
                yield fact, t, earlier


def attention_of(model: Llama, ids: list[int]) -> list[NDArray[np.float32]]:
    """Attention weights of every layer, each (n_heads, seq, seq)."""
    with Trace() as trace:
        model.forward(ids, trace=trace)
    layers = range(model.config.num_hidden_layers)
    found = [trace[f"layers.{i}.self_attn.weights"].array for i in layers]
    return [w.reshape(-1, *w.shape[2:]) for w in found]


def measure(model: Llama, tokenizer: Tokenizer, stories: int) -> dict[str, NDArray[np.float64]]:
    """Mean weights by what was measured, each (num_hidden_layers, n_heads)."""
    sums: dict[str, NDArray[np.float64]] = {}
    counts: dict[str, int] = defaultdict(int)
    for story in tqdm(many(103, stories, held_out=True), "reading", total=stories):
        ids = tokenizer.encode(story.text)
        facts = {key: tokenizer.encode(" " + story.facts[key])[-1] for key in COMBINED}
        song = tokenizer.encode(" " + story.facts["song"], add_special=False)
        weights = np.stack(attention_of(model, ids))  # (layers, n_heads, seq, seq)
        for what, query, keys in wanted_pairs(ids, facts, song):
            looked = weights[:, :, query, keys].sum(axis=-1, dtype=np.float64)
            sums[what] = sums.get(what, np.zeros_like(looked)) + looked
            counts[what] += 1
    return {what: total / counts[what] for what, total in sums.items()}


def report(means: Mapping[str, NDArray[np.float64]], n_groups: int) -> dict[str, Any]:
    """The best head for each thing, or null, and the measurements of every head."""
    best: dict[str, Any] = {}
    for what, table in means.items():
        layer, head = np.unravel_index(int(table.argmax()), table.shape)
        weight = float(table[layer, head])
        where = {"layer": int(layer), "head": int(head), "kv_head": int(head) // n_groups}
        best[what] = {**where, "weight": round(weight, 3)} if weight >= THRESHOLD else None
    n_layers, n_heads = next(iter(means.values())).shape
    heads = [
        {"layer": i, "head": h, **{what: round(float(t[i, h]), 3) for what, t in means.items()}}
        for i in range(n_layers)
        for h in range(n_heads)
    ]
    return {"best": best, "heads": heads}


def as_text(found: Mapping[str, Any]) -> str:
    """JSON with one line a head, so that it can be read."""
    best = ",\n".join(f"    {json.dumps(k)}: {json.dumps(v)}" for k, v in found["best"].items())
    heads = ",\n".join(f"    {json.dumps(head)}" for head in found["heads"])
    return f'{{\n  "best": {{\n{best}\n  }},\n  "heads": [\n{heads}\n  ]\n}}\n'


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description="Measure where every attention head looks.")
    parser.add_argument("model", nargs="?", default="story", help="name or directory")
    parser.add_argument("--stories", type=int, default=100)
    parser.add_argument("--to", type=Path, help="file to write (default: heads.json beside it)")
    arguments = parser.parse_args()
    model = Llama.from_pretrained(arguments.model)
    tokenizer = Tokenizer.from_pretrained(arguments.model)
    means = measure(model, tokenizer, arguments.stories)
    text = as_text(
        report(means, model.config.num_attention_heads // model.config.num_key_value_heads)
    )
    (arguments.to or locate(arguments.model) / "heads.json").write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
