"""Tokens a second by model, readers and threads of NumPy's products, idle and beside busy loops.

    python benchmarks/serve_threads.py

The last column is what the server chooses by itself (`llama_edu.serve.threads`).
"""

import subprocess
import sys
import time

import threadpoolctl  # type: ignore[import-untyped]

from llama_edu import Llama, Sampling, Tokenizer
from llama_edu.serve.job import Request
from llama_edu.serve.scheduler import Scheduler
from llama_edu.serve.threads import LOOK_SECONDS, BlasThreads, n_cores

MODELS = {"story": 1.2, "smollm2-135m-instruct": 2.5}  # and seconds to measure each
READERS = (1, 8, 32)
BUSY_LOOPS = (0, 2)


def rate(model: Llama, tokenizer: Tokenizer, readers: int, seconds: float) -> float:
    """New tokens a second, once every reader's prompt is computed."""
    scheduler = Scheduler(model, tokenizer)
    ids = tokenizer.encode("Once upon a time there was")
    room = min(400, model.config.max_position_embeddings - len(ids))
    for number in range(readers):
        scheduler.submit(Request(ids, room, Sampling(), number))
    while scheduler.n_waiting or not scheduler.n_running:
        scheduler.step()
    count, start = 0, time.perf_counter()
    while time.perf_counter() - start < seconds and not scheduler.is_idle:
        count += len(scheduler.step().chosen)
    return count / (time.perf_counter() - start)


def main() -> None:
    models = {
        name: (Llama.from_pretrained(name), Tokenizer.from_pretrained(name)) for name in MODELS
    }
    for n_loops in BUSY_LOOPS:
        loops = [
            subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(n_loops)
        ]
        try:
            chosen = BlasThreads()
            time.sleep(2 * LOOK_SECONDS)
            for name, (model, tokenizer) in models.items():
                own = chosen.wanted(model.weights.nbytes)
                for readers in READERS:
                    rates = []
                    for threads in (1, n_cores()):
                        with threadpoolctl.threadpool_limits(threads, user_api="blas"):
                            rates.append(rate(model, tokenizer, readers, MODELS[name]))
                    print(
                        f"{n_loops} busy  {name:24} {readers:2} readers  1 thread {rates[0]:7.0f}"
                        f"  {n_cores()} threads {rates[1]:7.0f}  chosen: {own}",
                        flush=True,
                    )
        finally:
            for loop in loops:
                loop.kill()


if __name__ == "__main__":
    main()
