"""How many tokens a second come out when several read at once, against one after another.

    python benchmarks/serve_throughput.py smollm2-135m-instruct
    python benchmarks/serve_throughput.py story --tokens 200 --streams 1 8 32

Starts a server of its own on a free port of this machine and streams from it over HTTP, k clients
at a time, in rounds. The line for 1 is one after another: each reader waits for the one before.
Every reader has a prompt of its own, so that little is known from an earlier one. Counted are the
tokens of the usage the server reports, over the time from the first request to the last answer.
Prints the median over rounds with its range. Run on an otherwise idle machine; OPENBLAS_NUM_THREADS
sets the threads of the server's linear algebra.
"""

import argparse
import asyncio
import json
import random
import statistics
import time
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from serving import JSON, Connection, Server, ask, events

WORDS = (
    "a small big red happy sad cat dog bird girl boy named Lily Tom and who lived in the".split()
)


@dataclass
class Reading:
    tokens: int
    first_s: float
    gaps_s: list[float]


async def read(port: int, body: dict[str, object]) -> Reading:
    """One streamed completion: its tokens, the wait for the first piece, and between pieces."""
    start = time.perf_counter()
    async with Connection(port) as connection:
        await connection.send("/v1/completions", json.dumps(body).encode(), JSON)
        answer = await connection.head()
        data, times = b"", []
        async for part in connection.chunks(answer):
            data += part
            times.append(time.perf_counter())
    if answer.status != 200 or not data.endswith(b"data: [DONE]\n\n"):
        raise RuntimeError(f"expected a whole stream, got {answer.status}, {data[-300:]!r}")
    gaps = [after - before for before, after in pairwise(times)]
    return Reading(events(data)[-1]["usage"]["completion_tokens"], times[0] - start, gaps)


def prompt(number: int, words: int) -> str:
    """The beginning of a story, one for each number."""
    return "Once upon a time there was " + " ".join(random.Random(number).choices(WORDS, k=words))


async def one_round(port: int, args: argparse.Namespace, k: int, first: int) -> list[Reading]:
    """`args.readers` requests, k at a time."""
    waiting = list(range(first, first + args.readers))
    done: list[Reading] = []

    async def reader() -> None:
        while waiting:
            number = waiting.pop()
            body = {
                "model": Path(args.model).name,
                "prompt": prompt(number, args.prompt_words),
                "temperature": 0.8,
                "max_tokens": args.tokens,
                "seed": number,
                "stream": True,
                "stream_options": {"include_usage": True},
            }
            done.append(await read(port, body))

    await asyncio.gather(*(reader() for _ in range(k)))
    return done


async def measure(port: int, args: argparse.Namespace) -> None:
    await one_round(port, argparse.Namespace(**{**vars(args), "readers": 2}), 2, 0)  # warm up
    rates: dict[int, list[float]] = {k: [] for k in args.streams}
    firsts: dict[int, list[float]] = {k: [] for k in args.streams}
    gaps: dict[int, list[float]] = {k: [] for k in args.streams}
    number = 1000
    for _ in range(args.rounds):
        for k in args.streams:
            start = time.perf_counter()
            readings = await one_round(port, args, k, number)
            seconds = time.perf_counter() - start
            number += args.readers
            rates[k].append(sum(one.tokens for one in readings) / seconds)
            firsts[k] += [one.first_s for one in readings]
            gaps[k] += [gap for one in readings for gap in one.gaps_s]
    alone = statistics.median(rates[args.streams[0]])
    print("| streams | tokens/s | range | × one after another | first token | between tokens |")
    print("|---|---|---|---|---|---|")
    for k in args.streams:
        rate = statistics.median(rates[k])
        print(
            f"| {k} | {rate:.0f} | {min(rates[k]):.0f}–{max(rates[k]):.0f} | {rate / alone:.2f} | "
            f"{1e3 * statistics.median(firsts[k]):.0f} ms | "
            f"{1e3 * statistics.median(gaps[k]):.1f} ms |"
        )
    metrics = (await ask(port, "/metrics")).body.decode()
    cached = [line for line in metrics.splitlines() if 'kind="reused"' in line]
    print(f"\nprompt tokens known from earlier requests: {cached[0].split()[-1] if cached else 0}")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("model", nargs="?", default="story", help="a known model or a directory (default: story)")
    add("--streams", type=int, nargs="+", default=[1, 2, 4, 8, 16], metavar="K")
    add("--tokens", type=int, default=64, help="new tokens per reader, at most (default: 64)")
    add("--prompt-words", type=int, default=10, help="per reader, after the first (default: 10)")
    add("--readers", type=int, default=16, help="requests per line and round (default: 16)")
    add("--rounds", type=int, default=3, help="default: 3")
    add("--backend", default="numpy", help="numpy or numba (default: numpy)")
    add("--precision", default="f32", help="default: f32")
    args = parser.parse_args()
    server = Server(args.model, "--backend", args.backend, "--precision", args.precision)
    try:
        asyncio.run(measure(server.port, args))
    finally:
        server.stop()


if __name__ == "__main__":
    main()
