"""What splitting a model over ranks costs and brings, and when it pays.

    python benchmarks/parallel.py --json benchmarks/results/parallel.json

Three things. *The exchange*: how long a message takes between two ranks, through shared memory and
through TCP on this machine's loopback, which is the price of the software without a wire. *Runs*:
tokens per second on 1 to 4 ranks of one thread each, in turn, several rounds; what was sent,
counted, by the formula, and by the loopback's own counter (headers and the start included, and
whatever else talks meanwhile). *The model*: tokens per second that `llama_edu.parallel.cost` makes
of memory and network for 1 to 64 machines, with the latency measured here and the bytes per second
that a link is sold with. It is printed and not recorded, since nothing in it is measured. Needs the
extra `parallel`.
"""

import argparse
import json
import os
import statistics
import time
from pathlib import Path
from typing import Any

import numpy as np
from table import machine

from llama_edu.formats.config import LlamaConfig
from llama_edu.hub import locate
from llama_edu.parallel.cost import (
    Link,
    llama_config,
    pipeline_seconds,
    pipeline_wire_nbytes,
    tensor_seconds,
    tensor_wire_nbytes,
)
from llama_edu.parallel.launch import run_ranks
from llama_edu.parallel.mpi import MPIWorld

CARRIERS = {  # what MPICH is told
    "shared memory": {},
    "TCP": {"MPIR_CVAR_NOLOCAL": "1", "MPIR_CVAR_CH4_NETMOD": "ucx", "UCX_TLS": "tcp,self"},
}
NBYTES = (4, 2304, 65_536, 1 << 20, 8 << 20)  # 2,304: one token's row of SmolLM2
RUNS = (("tensor", 1), ("tensor", 2), ("tensor", 3), ("tensor", 4), ("pipeline", 2))
TOKENS = {"story": 200, "smollm2-135m-instruct": 24}
TEXT = "Once upon a time there was a cat"
GBIT = {"1 Gbit/s": 125e6, "10 Gbit/s": 1.25e9, "100 Gbit/s": 12.5e9}
MEMORY = 33.8e9  # bytes a second that a machine of the model reads, as one of our computers did
MACHINES = (1, 2, 4, 8, 16, 32, 64)


def models() -> dict[str, LlamaConfig]:
    """The sizes of SmolLM2, and of three Llamas."""
    return {
        "135 M": LlamaConfig.from_directory(locate("smollm2-135m-instruct")),
        **{name: llama_config(name) for name in ("1 B", "8 B", "70 B")},
    }


def exchange_here() -> None:
    """One of two ranks: messages there and back, of each size; rank 0 prints the seconds of one."""
    world = MPIWorld()
    other = 1 - world.rank
    found = {}
    for nbytes in NBYTES:
        out, into = np.zeros(nbytes, np.uint8), np.zeros(nbytes, np.uint8)
        times = max(10, int(1e8 / (nbytes + 1e5)))
        rounds = []
        for _ in range(7):
            start = time.perf_counter()
            for _ in range(times):
                if world.rank == 0:
                    world.exchange(out, other, None, other)
                world.exchange(None, other, into, other)
                if world.rank == 1:
                    world.exchange(out, other, None, other)
            rounds.append((time.perf_counter() - start) / times / 2)
        found[nbytes] = sorted(rounds)
    if world.rank == 0:
        print(json.dumps(found))


def ran(size: int, carrier: str, *arguments: str) -> Any:
    """What a run on ranks prints, as JSON."""
    written: list[bytes] = []
    os.environ.update(CARRIERS[carrier])
    try:
        if run_ranks(size, arguments, written.append):
            raise SystemExit("a rank has failed")
    finally:
        for name in CARRIERS[carrier]:
            del os.environ[name]
    return json.loads(b"".join(written))


def wire_nbytes() -> int | None:
    """What the loopback has carried since the machine started; None where Linux does not say."""
    path = Path("/proc/net/dev")
    if not path.is_file():
        return None
    lines = [
        line for line in path.read_text("ascii").splitlines() if line.strip().startswith("lo:")
    ]
    return int(lines[0].split(":")[1].split()[8])


def measure_exchange() -> list[dict[str, Any]]:
    rows = []
    print("The exchange between two ranks\n")
    print(f"{'carrier':14} {'bytes':>10} {'µs, median [range]':>26} {'GB/s':>6}")
    for carrier in CARRIERS:
        found = ran(2, carrier, __file__, "--exchange")
        for nbytes, seconds in found.items():
            middle = statistics.median(seconds)
            speed = int(nbytes) / middle / 1e9
            spread = f"{middle * 1e6:.1f} [{seconds[0] * 1e6:.1f}–{seconds[-1] * 1e6:.1f}]"
            print(f"{carrier:14} {int(nbytes):10,} {spread:>26} {speed:6.2f}")
            rows.append({"carrier": carrier, "nbytes": int(nbytes), "seconds": seconds})
    return rows


def measure_runs(rounds: int) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    for name in TOKENS:
        config = LlamaConfig.from_directory(locate(name))
        for split, size in RUNS:
            formula = (tensor_wire_nbytes if split == "tensor" else pipeline_wire_nbytes)(
                config, size
            )
            rows.append(
                {"model": name, "split": split, "size": size, "formula": formula, "rates": []}
            )
    for _ in range(rounds):
        for row in rows:
            tokens = TOKENS[row["model"]]
            arguments = ["-m", "llama_edu.parallel.report", row["model"], row["split"], TEXT]
            told = ran(row["size"], "shared memory", *arguments, "--tokens", str(tokens))
            row["rates"].append((tokens - 1) / max(rank["decode_s"] for rank in told["ranks"]))
            sent = sum(rank["decode_sent_nbytes"] for rank in told["ranks"])
            row["counted"] = sent // (tokens - 1)
            row["weight_nbytes"] = [rank["weight_nbytes"] for rank in told["ranks"]]
            row["private_nbytes"] = [rank["private_nbytes"] for rank in told["ranks"]]
            row["ids"] = told["ids"]
    print("\nRuns: one thread a rank; bytes of all ranks together for one token\n")
    print(
        f"{'model':22} {'split':9} {'ranks':>5} {'tokens/s [range]':>24} "
        f"{'counted':>11} {'formula':>11}"
    )
    for row in rows:
        rates = sorted(row["rates"])
        spread = f"{statistics.median(rates):.1f} [{rates[0]:.1f}–{rates[-1]:.1f}]"
        print(
            f"{row['model']:22} {row['split']:9} {row['size']:5} {spread:>24} "
            f"{row['counted']:11,} {row['formula']:11,}"
        )
    for name in TOKENS:
        texts = {tuple(row.pop("ids")) for row in rows if row["model"] == name}
        if len(texts) > 1:
            raise SystemExit(f"{name}: expected one text of every split, got {len(texts)}")
    return rows


def measure_wire() -> dict[str, Any]:
    """Bytes of a run over TCP: counted by us, and by the loopback."""
    before = wire_nbytes()
    arguments = ["-m", "llama_edu.parallel.report", "smollm2-135m-instruct", "tensor", TEXT]
    told = ran(2, "TCP", *arguments, "--tokens", "24")
    after = wire_nbytes()
    counted = sum(r["prefill_sent_nbytes"] + r["decode_sent_nbytes"] for r in told["ranks"])
    seen = None if before is None or after is None else after - before
    print(f"\nSmolLM2 on 2 ranks over TCP: counted {counted:,} bytes, on the loopback {seen}")
    return {"counted": counted, "loopback": seen}


def print_model(latency_s: float, bytes_per_s: float) -> None:
    print("\nThe model: tokens/s of one text, 16-bit weights, 1,000 positions in the cache")
    print(
        f"a message takes {latency_s * 1e6:.0f} µs, a machine reads {bytes_per_s / 1e9:.1f} GB/s\n"
    )
    print(f"{'parameters':10} {'link':10}" + "".join(f"{n:8}" for n in MACHINES) + "   best")
    for name, config in models().items():
        for speed, link_bytes in GBIT.items():
            link = Link(latency_s, link_bytes)
            rates = [1 / tensor_seconds(config, n, link, bytes_per_s).total for n in MACHINES]
            best = MACHINES[int(np.argmax(rates))]
            print(
                f"{name:10} {speed:10}" + "".join(f"{rate:8.1f}" for rate in rates) + f"   {best}"
            )
        stages = 8
        whole = pipeline_seconds(config, stages, Link(latency_s, 1.25e9), bytes_per_s).total
        print(f"{name:10} by layers on {stages} machines, 10 Gbit/s: {1 / whole:.1f}")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--exchange", action="store_true", help="be one of the ranks that talk")
    args = parser.parse_args()
    if args.exchange:
        exchange_here()
        return
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ[name] = "1"
    exchange = measure_exchange()
    runs = measure_runs(args.rounds)
    wire = measure_wire()
    small = next(r for r in exchange if r["carrier"] == "TCP" and r["nbytes"] == 4)
    latency_s = statistics.median(small["seconds"])
    where = machine(1, {})
    record = {
        "processor": where["processor"],
        "cores": where["cores"],
        "latency_s": latency_s,
        "exchange": exchange,
        "runs": runs,
        "wire": wire,
    }
    print_model(latency_s, MEMORY)
    if args.json is not None:
        args.json.write_text(json.dumps(record, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
