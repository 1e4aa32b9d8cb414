"""`--parallel`: a command on several ranks, started here or by the reader's own `mpiexec`."""

import argparse
import contextlib
import sys
from collections.abc import Iterator

from llama_edu.cli.terminal import one_line
from llama_edu.errors import InputError, LlamaEduError
from llama_edu.parallel.launch import run_ranks
from llama_edu.parallel.llama import SPLITS, PipelineLlama, TensorLlama
from llama_edu.parallel.mpi import MPIWorld, is_under_mpiexec, leave
from llama_edu.parallel.world import World

__all__ = ["add_arguments", "is_to_start", "joined", "report", "start"]

DEFAULT_RANKS = 2


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options that split a model."""
    parser.add_argument(
        "--parallel",
        choices=SPLITS,
        help='split the model over several ranks: "tensor" by KV groups, "pipeline" by layers '
        "(needs the extra `parallel`)",
    )
    parser.add_argument(
        "--ranks",
        type=int,
        metavar="N",
        help=f"how many to start (default: {DEFAULT_RANKS}, or those that mpiexec has started)",
    )


def is_to_start(args: argparse.Namespace) -> bool:
    """Whether ranks are asked for and this process is none of them."""
    return args.parallel is not None and not is_under_mpiexec()


def start(args: argparse.Namespace) -> int:
    """Run the command again on as many ranks as asked for; its exit code, as `run_ranks` has it."""
    ranks = DEFAULT_RANKS if args.ranks is None else args.ranks

    def write(data: bytes) -> None:
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()

    return run_ranks(ranks, ["-m", "llama_edu", *args.argv], write)


@contextlib.contextmanager
def joined(args: argparse.Namespace) -> Iterator[World | None]:
    """The ranks that this one belongs to, or None for a model that is not split.

    Inside, what goes wrong on one rank is told there, and ends all. Raises `InputError` for a
    number of ranks without a way to split.
    """
    if args.parallel is None:
        if args.ranks is not None:
            raise InputError(f"expected --parallel with --ranks {args.ranks}, got none")
        yield None
        return
    world = MPIWorld()
    try:
        if args.ranks not in (None, world.size):
            raise InputError(f"expected --ranks {world.size} under mpiexec, got {args.ranks}")
        yield world
    except KeyboardInterrupt:
        leave(world.rank, 130)
    except BrokenPipeError:
        leave(world.rank, 141)
    except (LlamaEduError, OSError, MemoryError) as problem:
        whose = f"rank {world.rank}: " if world.rank else ""
        leave(world.rank, 1, f"error: {whose}{one_line(problem)}")


def report(model: TensorLlama | PipelineLlama, split: str) -> str:
    """One line about a run: what each rank holds, what it sent, what was filled up."""
    world, whole = model.world, model.whole
    line = (
        f"{split} on {world.size} ranks: rank 0 holds {model.weights.nbytes / 1e6:.1f} MB of "
        f"weights and sent {world.sent_nbytes / 1e3:.1f} kB"
    )
    groups = model.config.num_key_value_heads * world.size
    if split == "tensor" and groups > whole.num_key_value_heads:
        line += f"; {whole.num_key_value_heads} KV groups were filled up to {groups}"
    return line
