"""`llama-edu verify`: its options, and what happens with them."""

import argparse
import sys
from pathlib import Path

from llama_edu.errors import InputError

__all__ = ["EPILOG", "SUMMARY", "add_arguments"]

SUMMARY = "prove an engine of yours right, or name its mistake"
EPILOG = """\
examples:
  llama-edu verify --program ./my_engine
  llama-edu verify --program "node engine.mjs" --model story --stage forward
  llama-edu verify --program ./my_engine --json > report.json --junit report.xml

The program is started with a model's directory as its only argument. It reads requests and writes
answers, one JSON object a line:
  {"op":"hello","protocol":1}               {"name":"…","protocol":1,"ops":["forward",…]}
  {"op":"forward","ids":[…],"past":N}       {"logits":[…]}
  {"op":"encode","text":"…"}                {"ids":[…]}
  {"op":"decode","ids":[…]}                 {"text":"…"}
  {"op":"probabilities","logits":[…],"temperature":t,"top_k":k,"top_p":p}
                                            {"probabilities":[…]}
What it cannot do it answers with {"error":"…"}. Only forward is needed.

exit codes: 0 right; 1 a mistake; 2 wrong usage; 3 not examined, as when it does not start.
"""
STAGES = ("bytes", "tokens", "forward", "cache", "sampling", "chat")  # as in `verify.report`


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What the command takes. Importing this costs nothing; the kit is imported when it runs."""
    add = parser.add_argument
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--program", metavar="CMD", help="a program that speaks protocol 1")
    add(
        "--model",
        action="append",
        metavar="NAME",
        help="a known model or a directory; may be given again (default: story and chat)",
    )
    add(
        "--stage",
        action="append",
        choices=(*STAGES, "all"),
        help="what to examine; may be given again (default: all)",
    )
    add("--no-tiny", action="store_true", help="leave out the small random checkpoints")
    add("--timeout", type=float, default=60.0, metavar="S", help="for one answer (default: 60)")
    add(
        "--naming-seconds",
        type=float,
        default=8.0,
        metavar="S",
        help="for the search in the catalogue (default: 8)",
    )
    add("--dtype", choices=("f32", "f16", "bf16"), default="", help="what it computes in")
    add("--cache-dtype", choices=("f32", "f16", "bf16"), default="", help="what its cache keeps")
    add(
        "--sampling-order",
        choices=("book", "llama.cpp"),
        default="",
        help="whether the temperature comes first (book) or last (llama.cpp)",
    )
    add("--json", action="store_true", help="print the report as JSON")
    add("--junit", metavar="FILE", help="also write it as JUnit XML")
    parser.set_defaults(run=run, parser=parser)


def run(args: argparse.Namespace) -> int:
    """Examine what the options name, print the report, and return the exit code."""
    from llama_edu.cli.terminal import may_colour
    from llama_edu.verify.protocol import command_of
    from llama_edu.verify.run import MODELS, Options, verify_program

    if args.timeout <= 0:
        raise InputError(f"expected a timeout above 0, got {args.timeout}")
    stages = tuple(s for s in STAGES if s in (args.stage or ())) or STAGES
    if args.stage and "all" in args.stage:
        stages = STAGES
    options = Options(
        models=tuple(args.model or MODELS),
        stages=stages,
        limit=args.timeout,
        naming_seconds=args.naming_seconds,
        tiny=not args.no_tiny,
        dtype=args.dtype,
        cache_dtype=args.cache_dtype,
        sampling_order=args.sampling_order,
    )
    report = verify_program(command_of(args.program), options, _progress)
    if sys.stderr.isatty():
        print("\r\x1b[K", end="", file=sys.stderr)
    if args.junit:
        report.write_junit(Path(args.junit))
    if args.json:
        print(report.json())
    else:
        for line in report.text(colour=may_colour(sys.stdout)):
            print(line)
    return report.exit_code


def _progress(text: str) -> None:
    """A line that the next one writes over, for people only."""
    if sys.stderr.isatty():
        print(f"\r\x1b[K… {text}", end="", file=sys.stderr, flush=True)
