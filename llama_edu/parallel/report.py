"""What a run on several ranks takes, measured: `mpiexec -n 2 python -m llama_edu.parallel.report`.

    mpiexec -n 2 python -m llama_edu.parallel.report story tensor "Once upon a time" --tokens 20

Every rank continues the text, and rank 0 prints one JSON object: the ids, and what each rank
holds, sent and waited for. The likeliest token is taken each time, so that runs can be compared.
"""

import argparse
import json
import re
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from llama_edu.engine.generate import prefill
from llama_edu.errors import LlamaEduError
from llama_edu.parallel.llama import SPLITS, split_llama
from llama_edu.parallel.mpi import MPIWorld, leave
from llama_edu.parallel.world import World
from llama_edu.text.tokenizer import Tokenizer

__all__ = ["main", "measured"]

SMAPS = Path("/proc/self/smaps_rollup")


def measured(
    world: World, split: str, name: str, text: str, *, tokens: int = 20, precision: str = "f32"
) -> dict[str, Any]:
    """Continue a text by `tokens` ids on every rank; what it took, of all ranks, on every one.

    `private_nbytes` is the memory that the system gave the process for the weights and for nobody
    else, where it says so (Linux); None elsewhere.
    """
    before = private_nbytes()
    model = split_llama(split, name, world, precision=precision)
    after = private_nbytes()
    prompt = Tokenizer.from_pretrained(name).encode(text)
    cache = model.new_cache(len(prompt) + tokens)
    sent, start = [world.sent_nbytes], time.perf_counter()
    logits = [prefill(model, prompt, cache)[-1]]
    sent, decoding = [*sent, world.sent_nbytes], time.perf_counter()
    for _ in range(tokens - 1):
        logits.append(model.forward([int(logits[-1].argmax())], cache)[-1])
    end = time.perf_counter()
    mine = {
        "weight_nbytes": model.weights.nbytes,
        "private_nbytes": None if before is None or after is None else after - before,
        "cache_nbytes": cache.nbytes,
        "prefill_sent_nbytes": sent[1] - sent[0],
        "decode_sent_nbytes": world.sent_nbytes - sent[1],
        "prefill_s": decoding - start,
        "decode_s": end - decoding,
    }
    told = [json.dumps(mine).encode() if world.rank == rank else None for rank in range(world.size)]
    return {
        "split": split,
        "prompt_ids": prompt,
        "ids": [int(row.argmax()) for row in logits],
        "largest": [float(np.max(row)) for row in logits],
        "ranks": [json.loads(world.told(message, rank)) for rank, message in enumerate(told)],
    }


def private_nbytes() -> int | None:
    """Bytes of this process that it shares with no other; None where the system does not say."""
    if not SMAPS.is_file():
        return None
    found = re.findall(r"^Private_\w+:\s+(\d+) kB", SMAPS.read_text("ascii"), re.MULTILINE)
    return 1024 * sum(map(int, found))


def main(argv: Sequence[str] | None = None) -> None:
    """Run under mpiexec, or alone as one rank."""
    parser = argparse.ArgumentParser(prog="python -m llama_edu.parallel.report")
    parser.add_argument("model")
    parser.add_argument("split", choices=SPLITS)
    parser.add_argument("text")
    parser.add_argument("--tokens", type=int, default=20)
    parser.add_argument("--precision", default="f32")
    args = parser.parse_args(argv)
    world = MPIWorld()
    options = {"tokens": args.tokens, "precision": args.precision}
    try:
        told = measured(world, args.split, args.model, args.text, **options)
    except LlamaEduError as problem:
        leave(world.rank, 1, f"error: {problem}")
    if world.rank == 0:
        json.dump(told, sys.stdout)
        print()


if __name__ == "__main__":
    main()
