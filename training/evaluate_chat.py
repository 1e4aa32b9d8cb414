"""Measure `chat` on dialogues whose combinations of facts it never saw.

    python -m training.evaluate_chat

The user's side of every dialogue is fixed; the model answers greedily, and its own replies stay
in the context, right or wrong, as in a real conversation. The scorer of the grammar
(`chat_turn.is_right`) judges each reply. Facts are planted so that they are asked for exactly 1,
3, 5 and 8 turns after they were told, with nobody speaking of them between.

Runs on `llama_edu` alone, no torch.
"""

import argparse
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np
from tqdm import tqdm

from llama_edu import Llama, Tokenizer, generate
from training.chat_slots import BY_KEY
from training.chat_turn import Turn, is_right
from training.dialogues import END, START, Dialogue, write

SEED = 2026
TURNS = 18
PROBES = (1, 3, 5, 8)
MAX_NEW_TOKENS = 64


@dataclass(frozen=True)
class Verdict:
    """What became of one turn: was the reply right, and did it end by itself?"""

    turn: Turn
    reply: str
    right: bool
    ended: bool


def held_out_dialogues(seed: int, count: int) -> Iterator[Dialogue]:
    """The dialogues of the evaluation; dialogue i is the same whatever ``count`` is."""
    for index in range(count):
        yield write(np.random.default_rng([seed, index]), TURNS, held_out=True, probes=PROBES)


def message_ids(tokenizer: Tokenizer, role: str, content: str) -> list[int]:
    """One ChatML message as ids. What a user types never becomes a special token."""
    special = partial(tokenizer.encode, add_special=False, parse_special=True)
    plain = tokenizer.encode(content, add_special=False)
    return [*special(f"{START}{role}\n"), *plain, *special(f"{END}\n")]


def play(model: Llama, tokenizer: Tokenizer, dialogue: Dialogue) -> list[Verdict]:
    """Hold the dialogue with the model, over one cache that lives across its turns."""
    opening = tokenizer.encode(f"{START}assistant\n", add_special=False, parse_special=True)
    closing = tokenizer.encode(f"{END}\n", add_special=False, parse_special=True)
    cache = model.new_cache()
    pending = [] if dialogue.system is None else message_ids(tokenizer, "system", dialogue.system)
    verdicts = []
    for turn in dialogue.turns:
        prompt = [*pending, *message_ids(tokenizer, "user", turn.user), *opening]
        new = list(generate(model, prompt, max_new_tokens=MAX_NEW_TOKENS, cache=cache))
        ended = new[-1] in model.config.eos_token_ids
        reply = tokenizer.decode(new)
        verdicts.append(Verdict(turn, reply, is_right(turn, reply), ended))
        # The cache holds every new token but the last one. An ended reply's last one is the END.
        pending = closing if ended else [new[-1], *closing]
    return verdicts


def rows(verdicts: Iterable[Verdict]) -> dict[str, list[bool]]:
    """Sort verdicts into the rows of the table."""
    table: dict[str, list[bool]] = {f"recall, told {k} turns ago": [] for k in PROBES}
    for verdict in verdicts:
        turn = verdict.turn
        table.setdefault("every reply ends with its end token", []).append(verdict.ended)
        if turn.kind == "recall":
            distance = turn.distance
            label = "told and spoken of since" if distance is None else f"told {distance} turns ago"
            if distance is not None and distance not in PROBES:
                label = "told at other distances"
            table.setdefault(f"recall, {label}", []).append(verdict.right)
            if turn.must[0] not in BY_KEY[turn.slot].values:
                table.setdefault("recall of an invented name", []).append(verdict.right)
        else:
            table.setdefault(turn.kind, []).append(verdict.right)
    return table


def wilson(right: int, total: int) -> tuple[float, float]:
    """The 95% interval of a share (Wilson, 1927); it never leaves 0 … 1."""
    z = 1.96
    centre = (right + z * z / 2) / (total + z * z)
    half = z / (total + z * z) * (right * (total - right) / total + z * z / 4) ** 0.5
    return centre - half, centre + half


def markdown(table: dict[str, list[bool]]) -> str:
    """The table of the model card."""
    lines = ["| what | right | of | share | 95% interval |", "|---|---:|---:|---:|---|"]
    for label, results in table.items():
        if results:
            low, high = wilson(sum(results), len(results))
            share = f"{np.mean(results):.1%} | {low:.1%} – {high:.1%}"
            lines.append(f"| {label} | {sum(results)} | {len(results)} | {share} |")
    return "\n".join(lines)


def main() -> None:
    """Print the table, and with --errors some of the wrong replies."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--model", default="chat", help="a name or a directory")
    parser.add_argument("--dialogues", type=int, default=500)
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--errors", type=int, default=0, help="how many wrong replies to print")
    arguments = parser.parse_args()
    model = Llama.from_pretrained(arguments.model)
    tokenizer = Tokenizer.from_pretrained(arguments.model)
    verdicts: list[Verdict] = []
    dialogues = held_out_dialogues(arguments.seed, arguments.dialogues)
    for dialogue in tqdm(dialogues, "dialogues", total=arguments.dialogues):
        verdicts += play(model, tokenizer, dialogue)
    print(markdown(rows(verdicts)))
    wrong = [verdict for verdict in verdicts if not verdict.right]
    for verdict in wrong[: arguments.errors]:
        turn = verdict.turn
        print(
            f"\n[{turn.kind}] {turn.user}\n  expected {turn.reply!r}\n  got      {verdict.reply!r}"
        )


if __name__ == "__main__":
    main()
