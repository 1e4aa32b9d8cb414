"""Tokens a second by model, readers and threads of NumPy's products, idle and beside busy loops.

    python benchmarks/serve_threads.py                   (about two minutes)
    python benchmarks/serve_threads.py --seconds 0.2     (a short one, to see that it runs)

Prints a table. Its last column is the server's own policy (`llama_edu.serve.threads`), asked before
every step as the server asks it, and how many threads it came to. Wants an otherwise idle machine,
and no OPENBLAS_NUM_THREADS or its kin, which would fix the number.
"""

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Callable

import threadpoolctl  # type: ignore[import-untyped]

from llama_edu import Llama, Sampling, Tokenizer
from llama_edu.ops.threads import VARIABLES, n_cores
from llama_edu.serve.job import Request
from llama_edu.serve.scheduler import Scheduler
from llama_edu.serve.threads import LOOK_SECONDS, BlasThreads

MODELS = {"story": 1.0, "smollm2-135m-instruct": 2.0}  # and for how long, beside each other
READERS = (1, 8, 32)
BUSY_LOOPS = (0, 2)


def rate(
    model: Llama,
    tokenizer: Tokenizer,
    readers: int,
    seconds: float,
    before: Callable[[], object] = lambda: None,
) -> float:
    """New tokens a second, once every reader's prompt is computed; `before` comes before a step."""
    scheduler = Scheduler(model, tokenizer)
    ids = tokenizer.encode("Once upon a time there was")
    room = min(400, model.config.max_position_embeddings - len(ids))
    for number in range(readers):
        scheduler.submit(Request(ids, room, Sampling(), number))
    while scheduler.n_waiting or not scheduler.n_running:
        scheduler.step()
    count, start = 0, time.perf_counter()
    while time.perf_counter() - start < seconds and not scheduler.is_idle:
        before()
        count += len(scheduler.step().chosen)
    return count / (time.perf_counter() - start)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=1.2, help="for each number")
    seconds = parser.parse_args().seconds
    fixed = [name for name in VARIABLES if name in os.environ]
    if fixed:
        parser.error(f"expected {', '.join(fixed)} unset, got a number of threads that it fixes")
    models = {
        name: (Llama.from_pretrained(name), Tokenizer.from_pretrained(name)) for name in MODELS
    }
    columns = ("1 thread", f"{n_cores()} threads", "the server's own")
    print(f"| busy loops | model | readers | {' | '.join(columns)} |")
    print("|---|---|" + "---:|" * (1 + len(columns)))
    for n_loops in BUSY_LOOPS:
        loops = [
            subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(n_loops)
        ]
        try:
            for name, (model, tokenizer) in models.items():
                for readers in READERS:
                    row = measured(model, tokenizer, readers, seconds * MODELS[name])
                    print(f"| {n_loops} | {name} | {readers} | {' | '.join(row)} |", flush=True)
        finally:
            for loop in loops:
                loop.kill()


def measured(model: Llama, tokenizer: Tokenizer, readers: int, seconds: float) -> list[str]:
    """Tokens a second with one thread, with all, and as the server chooses."""
    cells = []
    for threads in (1, n_cores()):
        with threadpoolctl.threadpool_limits(threads, user_api="blas"):
            cells.append(f"{rate(model, tokenizer, readers, seconds):,.0f}")
    policy, nbytes = BlasThreads(), model.weights.nbytes
    time.sleep(2 * LOOK_SECONDS)
    with threadpoolctl.threadpool_limits(None, user_api="blas"):  # set back afterwards
        own = rate(model, tokenizer, readers, seconds, lambda: policy.set_for(nbytes))
    return [*cells, f"{own:,.0f} ({policy.wanted(nbytes)})"]


if __name__ == "__main__":
    main()
