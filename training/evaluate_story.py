"""Measure `story` and print the table of its model card. NumPy only, some minutes on one core.

python -m training.evaluate_story            # the embedded model
python -m training.evaluate_story --write    # … and put the table into its model card
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
from tqdm import tqdm

from llama_edu import Llama, Sampling, Tokenizer, generate
from llama_edu.hub import locate
from training import card
from training.grammar import Grammar, Written
from training.recipe import load
from training.stories import grammar, many
from training.story_score import Score, score

SAMPLING = Sampling(temperature=0.8, top_p=0.95)
LONGEST = 300  # tokens a sampled story may take
RECIPE = Path(__file__).resolve().parent / "story.toml"


@dataclass(frozen=True)
class Rate:
    """Nats per token, with the half-width of its 95% confidence interval."""

    value: float
    margin: float

    def __str__(self) -> str:
        return f"{self.value:.4f} ± {self.margin:.4f}"


def rate(nats: Sequence[float], tokens: Sequence[int]) -> Rate:
    """Estimate mean(nats) / mean(tokens) over independent stories.

    The margin comes from the residuals nats - rate x tokens, whose spread over sqrt(stories) is
    the standard error of a ratio to first order (Cochran, Sampling Techniques, 1977, chapter 6).
    """
    a, n = np.array(nats, dtype=np.float64), np.array(tokens, dtype=np.float64)
    ratio = a.mean() / n.mean()
    error = np.std(a - ratio * n, ddof=1) / math.sqrt(len(n)) / n.mean()
    return Rate(float(ratio), float(1.96 * error))


def predicted_tokens(tokenizer: Tokenizer, text: str) -> int:
    """How many tokens of a story are predicted: all of its own and the end token."""
    return len(tokenizer.encode(text, add_special=False)) + 1


def entropy(stories: Sequence[Written], tokenizer: Tokenizer) -> Rate:
    """The grammar's entropy per token: E[-log p(story)] / E[tokens], from its own choices.

    A story's text fixes its choices (a test reads hundreds back and finds one derivation each),
    so -log p(choices) is -log p(text), and no model of any size can do better on average.
    """
    tokens = [predicted_tokens(tokenizer, story.text) for story in stories]
    return rate([-story.log_probability for story in stories], tokens)


def story_nats(model: Llama, tokenizer: Tokenizer, text: str) -> float:
    """-log p(text and its end token) under the model, in nats."""
    ids = [*tokenizer.encode(text), model.config.eos_token_ids[0]]
    logits = model.forward(ids[:-1]).astype(np.float64)
    logits -= logits.max(axis=-1, keepdims=True)
    chosen = logits[np.arange(len(ids) - 1), ids[1:]]
    return float(np.sum(np.log(np.sum(np.exp(logits), axis=-1)) - chosen))


def sample_story(model: Llama, tokenizer: Tokenizer, seed: int) -> tuple[str, bool]:
    """One sampled story, and whether it ended by itself within LONGEST tokens."""
    prompt = tokenizer.encode("")  # the begin token alone
    ids = list(generate(model, prompt, max_new_tokens=LONGEST, sampling=SAMPLING, seed=seed))
    return tokenizer.decode(ids), ids[-1] in model.config.eos_token_ids


def copied(texts: Sequence[str]) -> int:
    """How many of these texts are training stories, word for word. Writes the corpus again."""
    corpus = load(RECIPE).corpus
    wanted = set(texts)
    stories = many(corpus.seed, corpus.documents, held_out=False)
    bar = tqdm(stories, "comparing with the training stories", total=corpus.documents)
    return len({story.text for story in bar if story.text in wanted})


def perplexity_rows(model: Llama, tokenizer: Tokenizer, stories: int) -> list[card.Row]:
    """Entropy of the grammar, loss on held-out stories, and the gap between the two."""
    own = entropy(list(many(101, 20000, held_out=False)), tokenizer)
    held_out = list(many(102, stories, held_out=True))
    tokens = [predicted_tokens(tokenizer, story.text) for story in held_out]
    nats = [story_nats(model, tokenizer, s.text) for s in tqdm(held_out, "held-out stories")]
    loss = rate(nats, tokens)
    floor = rate([-story.log_probability for story in held_out], tokens)
    excess = rate([n + s.log_probability for n, s in zip(nats, held_out, strict=True)], tokens)
    return [
        ("entropy of the grammar, nats a token (20,000 stories)", "", str(own)),
        (f"the same for the {stories} held-out stories alone", "", str(floor)),
        ("loss on those stories, nats a token", "", str(loss)),
        ("loss above their entropy, nats a token", "", str(excess)),
        ("loss / entropy", "≤ 1.08", f"{loss.value / floor.value:.3f}"),
        ("perplexity / perplexity of the grammar", "≤ 1.08", f"{math.exp(excess.value):.3f}"),
    ]


def sample_rows(texts: Sequence[str], ended: Sequence[bool], stories: Grammar) -> list[card.Row]:
    """What the sampled stories kept."""
    scores = [score(text, stories) for text in tqdm(texts, "scoring")]
    gifts = [s.relative for s in scores if s.relative is not None]
    return [
        row("keep the name to the end", "≥ 99%", [s.name for s in scores]),
        row("keep the pronouns", "≥ 99%", [s.pronouns for s in scores]),
        row("keep the object", "≥ 98%", [s.object for s in scores]),
        row("keep the object's attribute", "≥ 95%", [s.attribute for s in scores]),
        row("keep the place", "≥ 95%", [s.place for s in scores]),
        row("keep the song, word for word", "", [s.song for s in scores]),
        row(f"keep the relative, in the {len(gifts)} that name one twice", "", gifts),
        row("keep all but the relative", "", [keeps_all(s) for s in scores]),
        row(f"end by themselves within {LONGEST} tokens", "≥ 99%", ended),
        row("grammatical, sentence by sentence", "", [s.grammatical for s in scores]),
        row("could be a story of the grammar, facts included", "", [s.consistent for s in scores]),
        ("copied from the training stories", "0", str(copied(texts))),
        ("distinct openings (first sentences)", "≥ 490", str(len({s.opening for s in scores}))),
    ]


def keeps_all(s: Score) -> bool:
    """Name, pronouns, object, attribute, place and song."""
    return s.name and s.pronouns and s.object and s.attribute and s.place and s.song


def row(what: str, target: str, passed: Sequence[bool]) -> card.Row:
    """A share, as a row of the table."""
    return what, target, f"{100 * sum(passed) / len(passed):.1f}%"


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description="Print the evaluation table of `story`.")
    parser.add_argument("model", nargs="?", default="story", help="name or directory")
    parser.add_argument("--stories", type=int, default=500)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--write", action="store_true", help="put the table into the model card")
    arguments = parser.parse_args()
    model = Llama.from_pretrained(arguments.model)
    tokenizer = Tokenizer.from_pretrained(arguments.model)
    rows = perplexity_rows(model, tokenizer, arguments.stories)
    seeds = range(arguments.seed * 1_000_000, arguments.seed * 1_000_000 + arguments.stories)
    sampled = [sample_story(model, tokenizer, s) for s in tqdm(seeds, "sampling")]
    texts, ended = [text for text, _ in sampled], [end for _, end in sampled]
    heading = f"{arguments.stories} stories sampled at T = {SAMPLING.temperature}, "
    heading += f"top-p = {SAMPLING.top_p}"
    rows += [(f"**{heading}**", "", ""), *sample_rows(texts, ended, grammar())]
    table = card.table(rows)
    print(table)
    print("\n\n".join(islice((text for text in texts), 3)))
    if arguments.write:
        card.insert(locate(arguments.model) / "README.md", "evaluation", table)


if __name__ == "__main__":
    main()
