"""Sixty-four clients, many of them badly behaved, and a kill in the middle: what comes of it?

    python benchmarks/serve_load.py
    python benchmarks/serve_load.py --seconds 20 --clients 16        (a short one)

Starts a server of its own on a free port of this machine and nothing else; needs Linux, whose
/proc says how much memory a process has. Each client picks, again and again, something to do: read
a text, in one piece or streamed; read it slowly; go away half-way; send a body that is too long,
no JSON, no UTF-8, or has a field nobody knows. Half-way the server is killed as if the power
failed, and started again on the same port.

Every text that arrives whole is greedy, and is compared with the one the engine computes alone for
that prompt. Prompts on which two tokens are nearly as likely are left out beforehand, since there
sums in another order may choose otherwise. Every refusal has to be one of
`llama_edu.serve.http.api_errors.CODES` with its own status. A lost connection counts as an error,
except around the kill. Prints a table; the exit code is 1 if anything was not as it should be.
"""

import argparse
import asyncio
import json
import random
import statistics
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from serving import JSON, Answer, Connection, Server, ask, events

from llama_edu import Llama, Tokenizer
from llama_edu.serve.http.api_errors import CODES

MODEL = "story"
NEW_TOKENS = 48
CLEAR = 1e-2  # between the two largest logits, far beyond what another order of sums changes
WORDS = (
    "the a one cat dog girl boy bird ran saw found liked big small red happy sad and but".split()
)
STALL_S = 3.0  # of a slow reader
SETTLE_S = 3.0  # after a start, before memory is noted
GONE = (ConnectionError, asyncio.IncompleteReadError, OSError)


@dataclass
class Run:
    """What the clients share: the port, what texts should read, and what was seen."""

    port: int
    texts: dict[str, str]
    rng: random.Random
    killed: bool = False
    life: int = 0  # of the server: a slow reader may notice a kill seconds after the restart
    seen: dict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    wrong: list[str] = field(default_factory=list)
    first_s: list[float] = field(default_factory=list)

    def complain(self, deed: str, what: str) -> None:
        self.seen[deed]["WRONG"] += 1
        self.wrong.append(f"{deed}: {what}")


def texts_alone(n: int, rng: random.Random) -> dict[str, str]:
    """Prompts and how the engine alone goes on, for prompts where every choice is clear."""
    model, tokenizer = Llama.from_pretrained(MODEL), Tokenizer.from_pretrained(MODEL)
    found: dict[str, str] = {}
    while len(found) < n:
        prompt = "Once upon a time " + " ".join(rng.choices(WORDS, k=rng.randint(1, 60)))
        ids, cache = tokenizer.encode(prompt), model.new_cache()
        new: list[int] = []
        logits = model.forward(ids, cache, last_only=True)[0]
        while len(new) < NEW_TOKENS and (not new or new[-1] not in tokenizer.eos_token_ids):
            second, first = np.partition(logits, -2)[-2:]
            if first - second < CLEAR:
                break
            new.append(int(np.argmax(logits)))
            logits = model.forward(new[-1:], cache)[0]
        else:
            stream = tokenizer.stream(continues=True)
            shown = [i for i in new if i not in tokenizer.eos_token_ids]
            found[prompt] = "".join(map(stream.push, shown)) + stream.finish()
    return found


def body(prompt: str, **more: object) -> bytes:
    fields = {"model": MODEL, "prompt": prompt, "max_tokens": NEW_TOKENS, "temperature": 0}
    return json.dumps(fields | more).encode()


# What a client may do. Each says what came of it, and complains if that was not right.


def check_text(run: Run, deed: str, prompt: str, text: str) -> str:
    if text != run.texts[prompt]:
        run.complain(deed, f"expected {run.texts[prompt]!r}, got {text!r}")
        return "another text"
    return "right"


def check_refusal(run: Run, deed: str, answer: Answer, *codes: str) -> str:
    code = answer.error["code"]
    if code not in codes or CODES[code][0] != answer.status:
        run.complain(deed, f"expected {codes}, got {answer.status} {answer.error}")
    if code == "queue_full" and "retry-after" not in answer.headers:
        run.complain(deed, "expected Retry-After beside queue_full, got none")
    return str(code)


BUSY = ("queue_full",)  # a full queue is an honest answer to anybody


async def read_whole(run: Run, deed: str) -> str:
    prompt = run.rng.choice(list(run.texts))
    async with Connection(run.port) as connection:
        await connection.send("/v1/completions", body(prompt), JSON)
        answer = await connection.answer()
    if answer.status != 200:
        return check_refusal(run, deed, answer, *BUSY)
    return check_text(run, deed, prompt, json.loads(answer.body)["choices"][0]["text"])


async def read_stream(run: Run, deed: str) -> str:
    prompt, start = run.rng.choice(list(run.texts)), time.perf_counter()
    async with Connection(run.port) as connection:
        await connection.send("/v1/completions", body(prompt, stream=True), JSON)
        answer = await connection.head()
        async for part in connection.chunks(answer):
            if not answer.body and answer.status == 200:
                run.first_s.append(time.perf_counter() - start)
            answer.body += part
    return check_stream(run, deed, prompt, answer)


def check_stream(run: Run, deed: str, prompt: str, answer: Answer) -> str:
    if answer.status != 200:
        return check_refusal(run, deed, answer, *BUSY)
    if not answer.body.endswith(b"data: [DONE]\n\n"):
        run.complain(deed, f"expected [DONE], got {answer.body[-200:]!r}")
    texts: dict[int, str] = defaultdict(str)
    for chunk in events(answer.body):
        texts[chunk["choices"][0]["index"]] += chunk["choices"][0]["text"]
    return "/".join({check_text(run, deed, prompt, text) for text in texts.values()})


async def read_slowly(run: Run, deed: str) -> str:
    """Nothing for a while, then all: several times what fits between the server and us."""
    prompt = run.rng.choice(list(run.texts))
    async with Connection(run.port, narrow=True) as connection:
        long = body(prompt, stream=True, n=4, logprobs=20)
        await connection.send("/v1/completions", long, JSON)
        await asyncio.sleep(STALL_S)
        answer = await connection.head()
        answer.body = b"".join([part async for part in connection.chunks(answer)])
    return check_stream(run, deed, prompt, answer)


async def go_away(run: Run, deed: str) -> str:
    prompt = run.rng.choice(list(run.texts))
    async with Connection(run.port) as connection:
        streamed = run.rng.random() < 0.5
        await connection.send("/v1/completions", body(prompt, stream=streamed, n=4), JSON)
        if streamed and (answer := await connection.head()).status == 200:
            parts = connection.chunks(answer)
            for _ in range(run.rng.randint(0, 5)):
                await anext(parts, None)
        else:
            await asyncio.sleep(run.rng.random() * 0.05)
    return "gone"


def sends(data: Callable[[Run], bytes], *codes: str) -> Callable[[Run, str], Awaitable[str]]:
    """A deed that sends a body, and is refused with one of `codes`."""

    async def deed(run: Run, name: str) -> str:
        async with Connection(run.port) as connection:
            await connection.send("/v1/completions", data(run), JSON)
            answer = await connection.answer()
        return check_refusal(run, name, answer, *codes)

    return deed


async def other_site(run: Run, deed: str) -> str:
    async with Connection(run.port) as connection:
        headers = {**JSON, "Origin": "https://evil.example"}
        await connection.send("/v1/completions", body("x"), headers)
        return check_refusal(run, deed, await connection.answer(), "cross_site")


DEEDS: dict[str, tuple[int, Callable[[Run, str], Awaitable[str]]]] = {
    "read a text": (5, read_whole),
    "read a stream": (6, read_stream),
    "read a stream slowly": (2, read_slowly),
    "go away half-way": (3, go_away),
    "oversized body": (1, sends(lambda run: b" " * 300_000, "body_too_large")),
    "malformed JSON": (1, sends(lambda run: body("x")[: run.rng.randint(1, 30)], "invalid_json")),
    "bad UTF-8": (1, sends(lambda run: body("x").replace(b"x", b"\xc3\x28"), "invalid_json")),
    "unknown field": (1, sends(lambda run: body("x", max_token=3), "unknown_parameter")),
    "prompt too long": (1, sends(lambda run: body("x " * 600), "context_length_exceeded")),
    "page of another site": (1, other_site),
}


async def client(run: Run, until: float) -> None:
    names = list(DEEDS)
    weights = [weight for weight, _ in DEEDS.values()]
    while time.monotonic() < until:
        name, life = run.rng.choices(names, weights)[0], run.life
        try:
            outcome = await DEEDS[name][1](run, name)
        except GONE as problem:
            if run.killed or run.life != life:
                run.seen[name]["lost at the kill"] += 1
                await asyncio.sleep(0.5)
            else:
                run.complain(name, f"lost: {problem!r}")
        else:
            run.seen[name][outcome] += 1
            if outcome in BUSY:
                await asyncio.sleep(0.2)


@dataclass
class Life:
    """One server process: bytes of memory once it had settled and at its end, and open files."""

    settled: int
    end: int
    open_files: int


async def live(server: Server, seconds: float) -> Life:
    await asyncio.sleep(SETTLE_S)
    samples = []
    end = time.monotonic() + seconds - SETTLE_S
    while time.monotonic() < end:
        samples.append(server.memory_nbytes)
        await asyncio.sleep(0.5)
    # The first third is for what is only taken once: threads, buffers, the prefix cache filling.
    third = len(samples) // 3
    return Life(
        int(statistics.median(samples[third : 2 * third])),
        int(statistics.median(samples[2 * third :])),
        server.open_files,
    )


def start(args: argparse.Namespace, port: int = 0) -> Server:
    limits = ["--max-num-seqs", "16", "--max-queue", "32", "--prefix-mb", "4"]
    return Server(MODEL, *limits, port=port, log=args.log)


async def load(args: argparse.Namespace) -> tuple[Run, list[Life], Answer]:
    rng = random.Random(args.seed)
    texts = texts_alone(args.prompts, rng)
    server = start(args)
    run = Run(server.port, texts, rng)
    clients = []
    try:
        until = time.monotonic() + args.seconds
        clients = [asyncio.create_task(client(run, until)) for _ in range(args.clients)]
        lives = [await live(server, args.seconds / 2)]
        run.killed, run.life = True, run.life + 1
        server.kill()
        server = await asyncio.to_thread(start, args, run.port)
        await asyncio.sleep(1.0)  # for those whom the kill has cut off
        run.killed = False
        lives.append(await live(server, max(until - time.monotonic(), 3 * SETTLE_S)))
        await asyncio.gather(*clients)
        await asyncio.sleep(2.0)  # for what was cancelled last
        lives[-1].open_files = server.open_files
        return run, lives, await ask(run.port, "/metrics")
    finally:
        for task in clients:
            task.cancel()
        server.kill()


def report(run: Run, lives: list[Life], metrics: Answer, args: argparse.Namespace) -> bool:
    """Print what was seen; tell whether all of it was right."""
    print(f"{args.clients} clients, {args.seconds:g} s, model {MODEL}, killed half-way\n")
    print("| what clients did | how often | what came of it |\n|---|---|---|")
    for name in DEEDS:
        outcomes = ", ".join(f"{count} {what}" for what, count in run.seen[name].most_common())
        print(f"| {name} | {sum(run.seen[name].values())} | {outcomes} |")
    first = np.quantile(run.first_s, [0.5, 0.95, 0.99]) if run.first_s else [0, 0, 0]
    print(
        "\nfirst piece of a stream: "
        + ", ".join(
            f"{1e3 * value:.0f} ms ({name})"
            for value, name in zip(first, ("median", "95 %", "99 %"), strict=True)
        )
    )
    growth = []
    for name, life in zip(("before the kill", "after it"), lives, strict=True):
        growth.append(life.end / life.settled - 1)
        print(
            f"memory {name}: {life.settled / 1e6:.1f} MB in the second third, "
            f"{life.end / 1e6:.1f} MB in the last ({100 * growth[-1]:+.1f} %)"
        )
    lines = metrics.body.decode().splitlines()
    idle = [line for line in lines if line.startswith(("llama_edu_live{", "llama_edu_waiting{"))]
    print(f"when all had gone: {lives[-1].open_files} open files, {', '.join(idle)}")
    print(f"\nwrong: {len(run.wrong)}")
    for line in run.wrong[:20]:
        print(f"  {line[:300]}")
    rights = sum(run.seen[name]["right"] for name in DEEDS)
    print(f"{rights} texts arrived whole, each the one the engine gives alone")
    flat = all(one < args.flat for one in growth)
    return not run.wrong and rights > 0 and flat and all(line.endswith(" 0.0") for line in idle)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--seconds", type=float, default=120.0, help="in all; at least 20 (default: 120)")
    add("--clients", type=int, default=64, help="at the same time (default: 64)")
    add("--prompts", type=int, default=60, help="different ones (default: 60)")
    add("--seed", type=int, default=0, help="of what clients do (default: 0)")
    add("--flat", type=float, default=0.05, help="growth of memory let pass (default: 0.05)")
    add("--log", type=Path, help="where the server's log goes (default: nowhere)")
    args = parser.parse_args()
    if args.seconds < 20:
        parser.error("expected at least 20 seconds: less says nothing about memory")
    return 0 if report(*asyncio.run(load(args)), args) else 1


if __name__ == "__main__":
    sys.exit(main())
