"""Time to the first token of every turn of a conversation, with the kept cache and without.

    python benchmarks/chat_turns.py smollm2-135m-instruct --backend numba --precision bf16

The conversation is held once per round, greedily. "Kept" is the time from `send` to the first piece
of text. "Anew" is what a chat without a kept cache does at the same place: the whole prompt again,
into a new cache, to the first token. Medians over the rounds.
"""

import argparse
import statistics
import time

from llama_edu import ChatSession, Llama, Tokenizer, generate

QUESTIONS = (
    "What is the capital of France?",
    "And of Italy?",
    "Name three rivers in Europe.",
    "Which is the longest?",
    "Thank you. Tell me one fact about it.",
)
PIECES = 40  # of a reply; then it is stopped


def one_round(model: Llama, tokenizer: Tokenizer) -> list[tuple[str, float, float]]:
    """What each turn reused and computed, and its two times in milliseconds."""
    session = ChatSession(model, tokenizer)
    found = []
    for question in QUESTIONS:
        start = time.perf_counter()
        pieces = session.send(question)
        next(pieces)
        kept = time.perf_counter() - start
        for _, _ in zip(range(PIECES), pieces, strict=False):
            pass
        pieces.close()
        usage = session.turns[-1].usage
        prompt = [1] * usage.prompt_tokens  # which tokens they are makes no difference to time
        start = time.perf_counter()
        next(generate(model, prompt, max_new_tokens=1))
        anew = time.perf_counter() - start
        found.append((usage.in_words(), 1e3 * kept, 1e3 * anew))
    return found


def main() -> None:
    """Measure, and print one line a turn."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", nargs="?", default="smollm2-135m-instruct")
    parser.add_argument("--backend", default="numpy")
    parser.add_argument("--precision", default="f32")
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    model = Llama.from_pretrained(args.model, args.precision, args.backend)
    tokenizer = Tokenizer.from_pretrained(args.model)
    one_round(model, tokenizer)
    rounds = [one_round(model, tokenizer) for _ in range(args.rounds)]
    for turn in zip(*rounds, strict=True):
        kept, anew = (statistics.median(one[i] for one in turn) for i in (1, 2))
        print(f"{turn[0][0]:60} kept {kept:5.0f} ms, anew {anew:5.0f} ms, {anew / kept:.1f} times")


if __name__ == "__main__":
    main()
