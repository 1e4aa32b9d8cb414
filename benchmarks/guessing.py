"""What guessing ahead gives: tokens a second with prompt lookup, over those without.

    python benchmarks/guessing.py smollm2-135m-instruct --backend numba --precision bf16

Two texts repeat themselves, two do not; the last is drawn, so that it does not fall into a loop as
greedy text of a small model does. Each round writes every text with guesses and without, in turn,
in one process. Figures are medians of the rounds' ratios, with the range. Greedy text must be the
same, or there is no ratio.
"""

import argparse
import json
import statistics
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from llama_edu import Llama, Sampling, Tokenizer, generate
from llama_edu.engine.guess import PromptLookup
from llama_edu.engine.sampling import GREEDY

LIST = "France: Paris\nGermany: Berlin\nItaly: Rome\nSpain: Madrid\nPoland: Warsaw\n"
CODE = """class Point:
    def __init__(self, x, y):
        self.x = x
        self.y = y

    def add(self, other):
        return Point(self.x + other.x, self.y + other.y)

    def subtract(self, other):
        return Point(self.x - other.x, self.y - other.y)
"""
STEAM = "The history of the steam engine begins long before James Watt was born. In the first"
TEXTS = {
    "a list completed": (f"{LIST}\nThe same list once more:\nFrance: Paris\n", GREEDY),
    "code repeated": (f"{CODE}\n# The same class again:\nclass Point:\n", GREEDY),
    "an essay": (STEAM, GREEDY),
    "an essay, drawn": (STEAM, Sampling(temperature=1.0)),
}


def written(
    model: Llama, ids: list[int], count: int, sampling: Sampling, guesser: PromptLookup | None
) -> tuple[float, list[int]]:
    """Tokens a second after the prompt, and the tokens."""
    options: dict[str, Any] = {"sampling": sampling, "seed": 7, "stop_ids": ()}
    stream = generate(model, ids, max_new_tokens=count, guesser=guesser, **options)
    chosen = [next(stream)]
    start = time.perf_counter()
    chosen += stream
    return (count - 1) / (time.perf_counter() - start), chosen


def main() -> None:
    """Write every text both ways, round after round, and print the ratios."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", nargs="?", default="smollm2-135m-instruct")
    parser.add_argument("--backend", default="numba")
    parser.add_argument("--precision", default="bf16")
    parser.add_argument("--tokens", type=int, default=72)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    model = Llama.from_pretrained(args.model, args.precision, args.backend)
    tokenizer = Tokenizer.from_pretrained(args.model)
    results: dict[str, list[dict[str, Any]]] = {name: [] for name in TEXTS}
    for _ in range(args.rounds + 1):  # the first compiles what is not compiled yet
        for name, (text, sampling) in TEXTS.items():
            ids, guesser = tokenizer.encode(text), PromptLookup()
            plain, want = written(model, ids, args.tokens, sampling, None)
            ahead, got = written(model, ids, args.tokens, sampling, guesser)
            one = {"plain": plain, "ahead": ahead, **asdict(guesser.tally)}
            if sampling != GREEDY or got == want:
                one["ratio"] = ahead / plain
            results[name].append(one)
    print(f"{'':18} {'plain':>8} {'ahead':>8}  ratio [range]     passes guessed kept")
    for name, rounds in results.items():
        rounds = rounds[1:]
        ratios = sorted(one["ratio"] for one in rounds if "ratio" in one)
        if len(ratios) < len(rounds):
            print(f"{name:18} no ratio: the texts differ")
            continue
        plain, ahead = (statistics.median(one[key] for one in rounds) for key in ("plain", "ahead"))
        last = rounds[-1]
        print(
            f"{name:18} {plain:6.1f}/s {ahead:6.1f}/s  {statistics.median(ratios):.2f} "
            f"[{ratios[0]:.2f}–{ratios[-1]:.2f}] {last['passes']:7} {last['guessed']:7} "
            f"{last['kept']:4}"
        )
    if args.json:
        args.json.write_text(json.dumps(results, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
