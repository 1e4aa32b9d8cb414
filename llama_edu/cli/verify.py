"""`llama-edu verify`: its options, and what happens with them."""

import argparse
import json
import sys
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

from llama_edu.errors import InputError

if TYPE_CHECKING:
    from llama_edu.verify.report import Report

__all__ = ["EPILOG", "SUMMARY", "add_arguments"]

SUMMARY = "prove an engine of yours right, or name its mistake"
EPILOG = """\
examples:
  llama-edu verify --program ./my_engine
  llama-edu verify --program "node engine.mjs" --model story --stage forward
  llama-edu verify --program ./my_engine --json --junit report.xml > report.json
  llama-edu verify --url http://127.0.0.1:8080/v1 --model story
  llama-edu verify --dump my_arrays --model story
  llama-edu verify --init rust my_engine      a starter: the protocol is there, stages to fill
  llama-edu verify --export vectors           tests for any language, as JSON and safetensors

The program is started with a model's directory as its only argument. It reads requests and writes
answers, one JSON object a line:
  {"op":"hello","protocol":1}               {"name":"…","protocol":1,"ops":["forward",…]}
  {"op":"forward","ids":[…],"past":N}       {"logits":[…]}
  {"op":"encode","text":"…"}                {"ids":[…]}
  {"op":"decode","ids":[…]}                 {"text":"…"}
  {"op":"probabilities","logits":[…],"temperature":t,"top_k":k,"top_p":p}
                                            {"probabilities":[…]}
What it cannot do it answers with {"error":"…"}. Only forward is needed.

Beyond protocol 1, and only if hello offers them: tensor, stream, chat and trace; docs/vectors.md
and the starters say what they are. An engine that rounds on purpose says so in its hello
("dtype", "cache_dtype": float16 or bfloat16), and is measured against that.

exit codes: 0 right; 1 a mistake; 2 wrong usage; 3 not examined, as when it does not start.
"""
LANGUAGES = ("rust", "cpp", "python", "go", "zig", "js")
STARTERS = {
    "rust": "engine.rs",
    "cpp": "engine.cpp",
    "python": "engine.py",
    "go": "engine.go",
    "zig": "engine.zig",
    "js": "engine.mjs",
}
STARTER_FILES = {
    "rust": "rust.rs",
    "cpp": "cpp.cpp",
    "python": "python.txt",
    "go": "go.go",
    "zig": "zig.zig",
    "js": "js.mjs",
}
MODELS = ("story", "chat")  # as in `verify.run`
STAGES = ("bytes", "tokens", "forward", "cache", "sampling", "chat")  # as in `verify.report`


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What the command takes. Importing this costs nothing; the kit is imported when it runs."""
    add = parser.add_argument
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--program", metavar="CMD", help="a program that speaks protocol 1")
    what.add_argument("--url", help="an OpenAI-style server that gives log-probabilities")
    what.add_argument("--dump", metavar="FOLDER", help="arrays in safetensors files, by case")
    what.add_argument("--cases", action="store_true", help="list the cases, for --dump")
    what.add_argument("--init", metavar="LANGUAGE", choices=LANGUAGES, help=", ".join(LANGUAGES))
    what.add_argument("--export", metavar="FOLDER", help="write the cases as files")
    add("folder", nargs="?", default=".", help="with --init: where to write (default: here)")
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
    """Do what the options ask for, and return the exit code."""
    if args.init:
        return _init(args.init, Path(args.folder))
    if args.export:
        from llama_edu.verify.export import export

        print(export(Path(args.export), tuple(args.model or MODELS)))
        return 0
    if args.cases:
        return _cases(args.model or MODELS)
    return _print(_examined(args), args)


def _examined(args: argparse.Namespace) -> "Report":
    """The report on a program, a server or a folder."""
    if args.timeout <= 0:
        raise InputError(f"expected a timeout above 0, got {args.timeout}")
    if args.url:
        from llama_edu.verify.evidence import Declared
        from llama_edu.verify.http import verify_url

        names = tuple(args.model or MODELS[:1])
        dtype = args.dtype or "f32"
        return verify_url(
            args.url,
            names,
            limit=args.timeout,
            naming_seconds=args.naming_seconds,
            declared=Declared(dtype, args.cache_dtype or dtype),
        )
    if args.dump:
        from llama_edu.verify.dump import verify_dump

        names = tuple(args.model or MODELS[:1])
        return verify_dump(Path(args.dump), names, naming_seconds=args.naming_seconds)
    from llama_edu.verify.protocol import command_of
    from llama_edu.verify.run import Options, verify_program

    chosen = set(args.stage or ("all",))
    options = Options(
        models=tuple(args.model or MODELS),
        stages=STAGES if "all" in chosen else tuple(s for s in STAGES if s in chosen),
        limit=args.timeout,
        naming_seconds=args.naming_seconds,
        tiny=not args.no_tiny,
        dtype=args.dtype,
        cache_dtype=args.cache_dtype,
        sampling_order=args.sampling_order,
    )
    return verify_program(command_of(args.program), options, _progress)


def _print(report: "Report", args: argparse.Namespace) -> int:
    from llama_edu.cli.terminal import may_colour

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


def _init(language: str, folder: Path) -> int:
    """Write the starter of a language; what is there already is left alone."""
    name = STARTERS[language]
    target = folder / name
    if target.exists():
        raise InputError(f"expected no {target} yet, got one; it was left as it is")
    folder.mkdir(parents=True, exist_ok=True)
    source = files("llama_edu.verify") / "starters" / STARTER_FILES[language]
    target.write_text(source.read_text(encoding="utf-8"), encoding="utf-8")
    print(target)
    return 0


def _cases(names: Sequence[str]) -> int:
    """Every case of some models: one JSON object a line."""
    from llama_edu import hub
    from llama_edu.verify.dump import list_cases

    for name in names:
        for case in list_cases(Path(hub.locate(name)), name):
            print(json.dumps({"model": name} | case))
    return 0


def _progress(text: str) -> None:
    """A line that the next one writes over, for people only."""
    if sys.stderr.isatty():
        print(f"\r\x1b[K… {text}", end="", file=sys.stderr, flush=True)
