"""Load one model with one engine in a fresh process, generate greedily, print what it cost as JSON.

Started by `compare.py`, once per engine and round. Everything that a user would wait for counts
as loading, the imports included, so nothing heavy is imported before the clock starts.
"""

import argparse
import json
import resource
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

Load = Callable[[Path], Callable[[list[int], int], Iterator[int]]]


def load_llama_edu(directory: Path) -> Callable[[list[int], int], Iterator[int]]:
    from llama_edu import Llama, generate

    model = Llama.from_pretrained(directory)
    return lambda ids, n: generate(model, ids, max_new_tokens=n, stop_ids=())


def load_transformers(directory: Path) -> Callable[[list[int], int], Iterator[int]]:
    """The same loop over `transformers`: its cache on, inference mode, float32, no `generate` cost.

    Its own `generate` is slower than this loop; a peer is measured at its best.
    """
    import torch
    from transformers import AutoModelForCausalLM, DynamicCache

    model = AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32).eval()

    def generate(ids: list[int], n: int) -> Iterator[int]:
        cache = DynamicCache(config=model.config)
        fed = torch.tensor([ids])
        for _ in range(n):
            with torch.inference_mode():
                logits = model(fed, past_key_values=cache, logits_to_keep=1).logits
            fed = logits[:, -1].argmax(-1, keepdim=True)
            yield int(fed)

    return generate


ENGINES: dict[str, Load] = {"llama_edu": load_llama_edu, "transformers": load_transformers}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("engine", choices=ENGINES)
    parser.add_argument("directory", type=Path)
    parser.add_argument("--prompt", type=json.loads, required=True, help="token ids, a JSON list")
    parser.add_argument("--new-tokens", type=int, required=True)
    args = parser.parse_args()

    start = time.perf_counter()
    generate = ENGINES[args.engine](args.directory)
    loaded = time.perf_counter()
    first_id = next(generate(args.prompt, 1))
    first = time.perf_counter()
    # The loop again, warm: the first token is prefill, the others are decode.
    ids, stamps = [], []
    for token_id in generate(args.prompt, args.new_tokens):
        ids.append(token_id)
        stamps.append(time.perf_counter())
    assert ids[0] == first_id
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    result = {
        "load_s": loaded - start,
        "load_and_first_token_s": first - start,
        "decode_tokens_per_s": (len(ids) - 1) / (stamps[-1] - stamps[0]),
        "peak_bytes": peak if sys.platform == "darwin" else peak * 1024,
        "ids": ids,
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
