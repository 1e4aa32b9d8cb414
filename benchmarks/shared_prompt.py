"""Memory of many conversations under one system prompt: its rows in every cache, or in one place.

    python benchmarks/shared_prompt.py smollm2-135m-instruct --precision bf16

Every conversation computes the prompt of its first turn behind what is known already, and stays
open. What that took is counted as it is allocated. The last lines are counted and not measured:
the rows that differ, which is the least that any way can hold, and pages of 16 positions, shared as
vLLM shares them: each page that differs, once.
"""

import argparse
import tracemalloc

from llama_edu import Llama, Tokenizer
from llama_edu.engine.cache import KVCache
from llama_edu.engine.generate import prefill
from llama_edu.engine.prefix_cache import PrefixCache

PAGE = 16
SYSTEM = (
    "You are a guide in a museum of old machines. Answer in two sentences, name the room in which "
    "the machine stands, and say how old it is. If you are asked about something that is not in "
    "the museum, say so, and name the machine that comes nearest to it. "
)
QUESTIONS = (
    "I have an hour and two children with me who like to turn cranks. Which machine should we see "
    "first, and what may they touch there?",
    "My grandmother wove cloth all her life. Is there a loom like hers, from before the war, and "
    "does anybody still know how it is threaded?",
    "How did people print books before there was steam, how many pages came out of a press in a "
    "day, and where does yours stand?",
)


def held(model: Llama, prompts: list[list[int]], shared: bool) -> tuple[int, list[KVCache]]:
    """Bytes allocated for the open conversations and the tree of prefixes, and the caches."""
    prefixes, caches = PrefixCache(10**10), []
    tracemalloc.start()
    for ids in prompts:
        cache = model.new_cache()
        prefixes.restore(ids, cache)
        prefill(model, ids[cache.length :], cache)
        prefixes.store(ids, cache)
        caches.append(cache if shared else cache.copy())
        del cache
    nbytes = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    return nbytes, caches


def in_pages(prompts: list[list[int]]) -> tuple[int, int, int]:
    """Places in pages of 16 positions, each page held once for all that begin alike.

    First those of rows that differ, then those of rows that another page has as well, then the
    empty ones at the ends of texts.
    """
    full = {tuple(ids[:end]) for ids in prompts for end in range(PAGE, len(ids) + 1, PAGE)}
    ragged = {tuple(ids) for ids in prompts if len(ids) % PAGE}
    differ = len({tuple(ids[:end]) for ids in prompts for end in range(1, len(ids) + 1)})
    empty = sum(-len(ids) % PAGE for ids in ragged)
    return differ, (len(full) + len(ragged)) * PAGE - differ - empty, empty


def main() -> None:
    """Print what each way takes."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model")
    parser.add_argument("--precision", default="f32")
    parser.add_argument("--backend", default="numpy")
    parser.add_argument("--conversations", type=int, default=32)
    parser.add_argument("--system", type=int, default=2, help="how often its sentences are said")
    args = parser.parse_args()
    model = Llama.from_pretrained(args.model, args.precision, args.backend)
    tokenizer = Tokenizer.from_pretrained(args.model)
    prompts = [
        tokenizer.encode(f"{SYSTEM * args.system}\n{n + 1}. {QUESTIONS[n % len(QUESTIONS)]}")
        for n in range(args.conversations)
    ]
    system = len(tokenizer.encode(SYSTEM * args.system))
    print(f"{len(prompts)} prompts of {len(prompts[0])} tokens, {system} of them the system prompt")
    in_each, caches = held(model, prompts, shared=False)
    in_one, _ = held(model, prompts, shared=True)
    print(f"in every cache, and in the tree  {in_each / 1e6:8.1f} MB")
    print(f"in runs that they share          {in_one / 1e6:8.1f} MB")
    position = caches[0].nbytes // caches[0].length
    differ, again, empty = in_pages(prompts)
    pages = differ + again + empty
    print(f"the rows that differ             {differ * position / 1e6:8.1f} MB")
    print(f"pages of {PAGE}, by their number      {pages * position / 1e6:8.1f} MB")
    print(f"places in pages: {differ} rows that differ, {again} once more, {empty} empty")


if __name__ == "__main__":
    main()
