"""Measure `chat` on dialogues whose combinations of facts it never saw.

    python -m training.evaluate_chat            # the embedded model
    python -m training.evaluate_chat --write    # … and put the table into its model card

The user's side of every dialogue is fixed; the model answers greedily, and its own replies stay
in the context, right or wrong, as in a real conversation. The scorer of the grammar
(`chat_turn.is_right`) judges each reply. Facts are planted so that they are asked for exactly 1,
3, 5 and 8 turns after they were told, with nobody speaking of them between.

Runs on `llama_edu` alone, no torch. The matrices are too small to share among threads: set
OPENBLAS_NUM_THREADS=1, and it takes some three minutes of one core.
"""

import argparse
import math
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from tqdm import tqdm

from llama_edu import Llama, Tokenizer, generate
from llama_edu.hub import locate
from training import card
from training.chat_slots import BY_KEY
from training.chat_turn import Turn, holds, is_right
from training.dialogues import END, START, Dialogue, write

SEED = 2026
TURNS = 18
PROBES = (1, 3, 5, 8)
MAX_NEW_TOKENS = 64
STORY = re.compile(r"(?P<hero>\w+) went to the (?P<scene>\w+) and found (?P<thing>an? \w+ \w+)")
ENDED = "every reply ends with its end token"
TARGETS = {
    ENDED: "100%",
    "recall, told 1 turn ago": "95%",
    "recall, told 3 turns ago": "90%",
    "recall, told 5 turns ago": "85%",
}
KINDS = {
    "recall two": "two facts asked for at once",
    "correct": "accepts a correction",
    "unknown": "says that a fact was never told",
    "tell": "answers a fact that is told",
    "sum": "sums",
    "number": "order of numbers",
    "fact": "colours, animals, days, months",
    "refuse": "polite refusals",
    "story": "short stories",
    "story question": "a question about the story",
    "identity": "its own name",
    "repeat": "repeats words",
    "greet": "greetings",
    "bye": "goodbyes, by name when it is known",
    "talk": "chit-chat (only its end is judged)",
}


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
    verdicts: list[Verdict] = []
    for turn in dialogue.turns:
        prompt = [*pending, *message_ids(tokenizer, "user", turn.user), *opening]
        turn = about_own_story(turn, verdicts)
        new = list(generate(model, prompt, max_new_tokens=MAX_NEW_TOKENS, cache=cache))
        ended = new[-1] in model.config.eos_token_ids
        reply = tokenizer.decode(new)
        verdicts.append(Verdict(turn, reply, is_right(turn, reply), ended))
        # The cache holds every new token but the last one. An ended reply's last one is the END.
        pending = closing if ended else [new[-1], *closing]
    return verdicts


def about_own_story(turn: Turn, verdicts: Sequence[Verdict]) -> Turn:
    """Expect what the model told, since its story is not the one the grammar would have told.

    Only questions about a story change. One whose hero the model did not tell of has no right
    answer; it becomes chit-chat, of which only the end is judged.
    """
    if turn.kind != "story question":
        return turn
    told = [verdict.reply for verdict in verdicts if verdict.turn.kind == "story"]
    story = STORY.search(told[-1]) if told else None
    if story is None or not holds(turn.user, story["hero"]):
        return replace(turn, kind="talk", must=())
    return replace(turn, must=(story["thing" if "find" in turn.user else "scene"],))


def label(turn: Turn) -> str:
    """The row of the table that a turn belongs to."""
    if turn.kind != "recall":
        return KINDS.get(turn.kind, turn.kind)
    if turn.distance is None:
        return "recall, spoken of since it was told"
    if turn.distance not in PROBES:
        return "recall, told at other distances"
    return f"recall, told {turn.distance} turn{'s' if turn.distance > 1 else ''} ago"


def rows(verdicts: Iterable[Verdict]) -> dict[str, list[bool]]:
    """Sort verdicts into the rows of the table, which keep one order."""
    names = [ENDED, *(label(Turn("recall", "", "", distance=k)) for k in PROBES)]
    table: dict[str, list[bool]] = {name: [] for name in names}
    for verdict in sorted(verdicts, key=lambda v: v.turn.kind != "recall"):
        turn = verdict.turn
        table[ENDED].append(verdict.ended)
        table.setdefault(label(turn), []).append(verdict.right)
        if turn.kind == "recall" and turn.must[0] not in BY_KEY[turn.slot].values:
            table.setdefault("recall of an invented name", []).append(verdict.right)
    return table


def wilson(right: int, total: int) -> tuple[float, float]:
    """The 95% interval of a share (Wilson, 1927); it never leaves 0 … 1."""
    z = 1.96
    centre = (right + z * z / 2) / (total + z * z)
    half = z / (total + z * z) * (right * (total - right) / total + z * z / 4) ** 0.5
    return max(0.0, centre - half), min(1.0, centre + half)


def markdown(table: dict[str, list[bool]]) -> str:
    """The table of the model card."""
    lines = [
        "| measured | target | reached | right / asked | 95% interval |",
        "|---|---|---|---|---|",
    ]
    for name, results in table.items():
        if results:
            right, asked = sum(results), len(results)
            low, high = wilson(right, asked)
            share = math.floor(1000 * right / asked) / 1000  # 100% only when all are right
            reached = f"{share:.1%} | {right} / {asked} | {low:.1%} … {high:.1%}"
            lines.append(f"| {name} | {TARGETS.get(name, '')} | {reached} |")
    return "\n".join(lines)


def main() -> None:
    """Print the table, and with --errors some of the wrong replies."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--model", default="chat", help="a name or a directory")
    parser.add_argument("--dialogues", type=int, default=500)
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--write", action="store_true", help="put the table into the model card")
    parser.add_argument("--errors", type=int, default=0, help="how many wrong replies to print")
    arguments = parser.parse_args()
    model = Llama.from_pretrained(arguments.model)
    tokenizer = Tokenizer.from_pretrained(arguments.model)
    verdicts: list[Verdict] = []
    dialogues = held_out_dialogues(arguments.seed, arguments.dialogues)
    for dialogue in tqdm(dialogues, "dialogues", total=arguments.dialogues):
        verdicts += play(model, tokenizer, dialogue)
    table = markdown(rows(verdicts))
    print(table)
    if arguments.write:
        card.insert(locate(arguments.model) / "README.md", "evaluation", table)
    wrong = [verdict for verdict in verdicts if not (verdict.right and verdict.ended)]
    for verdict in wrong[: arguments.errors]:
        turn = verdict.turn
        print(
            f"\n[{turn.kind}] {turn.user}\n  expected {turn.reply!r}\n  got      {verdict.reply!r}"
        )


if __name__ == "__main__":
    main()
