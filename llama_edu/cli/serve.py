"""`python -m llama_edu serve`: its options, and what happens with them.

Importing this costs nothing; the web libraries are imported when a server is asked for.
"""

import argparse
import contextlib
import errno
import ipaddress
import os
import sys
from typing import TYPE_CHECKING

from llama_edu.engine.backends.select import BACKENDS
from llama_edu.errors import ServeError
from llama_edu.formats.precision import PRECISIONS

if TYPE_CHECKING:
    from llama_edu.serve.http.policy import Policy
    from llama_edu.serve.job import Limits

__all__ = ["EPILOG", "SUMMARY", "add_arguments"]

SUMMARY = "answer many readers at once, over HTTP, and serve the page"
EPILOG = """\
examples:
  python -m llama_edu serve
  python -m llama_edu serve smollm2-135m-instruct --backend numba --port 8080
  curl http://127.0.0.1:8000/v1/completions -H 'Content-Type: application/json' \\
    -d '{"model": "story", "prompt": "Once upon a time", "max_tokens": 40}'

The addresses are OpenAI's: any client of theirs works with the base URL …/v1. /openapi.json
describes them; /healthz, /readyz and /metrics are for whoever looks after the server. Set
LLAMA_EDU_API_KEY to ask every client for that key. One line of JSON per request goes to standard
error, without a word of its text. Ctrl-C lets what runs finish, a second one does not.
"""
KEY_VARIABLE = "LLAMA_EDU_API_KEY"  # not an option: everyone on a machine sees those
SWITCH_SECONDS = 0.0005  # see `_run`


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What the command takes."""
    add = parser.add_argument
    add(
        "models",
        nargs="*",
        default=["story", "chat"],
        metavar="model",
        help="known models or directories (default: story chat)",
    )
    add("--host", default="127.0.0.1", help="address to listen at (default: 127.0.0.1)")
    add("--port", type=int, default=8000, help="0 takes a free one (default: 8000)")
    add(
        "--allowed-host",
        action="append",
        default=[],
        metavar="NAME",
        help="another name this server is reached by; may be given again",
    )
    add(
        "--allowed-origin",
        action="append",
        default=[],
        metavar="ORIGIN",
        help="a site whose pages may ask, such as https://chat.example; may be given again",
    )
    add(
        "--max-connections-per-address",
        type=int,
        default=128,
        metavar="N",
        help="open at a time; behind a proxy, all are the proxy's (default: 128)",
    )
    add(
        "--threads",
        type=int,
        default=None,
        metavar="N",
        help="of NumPy's products (default: one for a small model, else as many as cores are free)",
    )
    add(
        "--replicas",
        type=int,
        default=None,
        metavar="N",
        help="that many processes with every model in each, on Ray Serve (needs the extra `ray`)",
    )
    _add_limits(parser)
    parser.set_defaults(run=_run, parser=parser)


def _add_limits(parser: argparse.ArgumentParser) -> None:
    """How the models compute, and how much may be asked of them."""
    add = parser.add_argument
    add("--precision", choices=tuple(PRECISIONS), default="f32", help="default: f32")
    add("--backend", choices=BACKENDS, default="numpy", help="default: numpy")
    add(
        "--max-num-seqs",
        type=int,
        default=32,
        metavar="N",
        help="sequences at a time (default: 32)",
    )
    add(
        "--max-queue",
        type=int,
        default=64,
        metavar="N",
        help="sequences in the queue (default: 64)",
    )
    add("--max-seconds", type=float, default=300.0, metavar="S", help="per request (default: 300)")
    add(
        "--prefix-mb",
        type=int,
        default=256,
        metavar="MB",
        help="memory for prompts that begin like an earlier one, per model (default: 256)",
    )
    add(
        "--guess",
        action="store_true",
        help="while one text is written alone, guess from the text itself and check several tokens "
        "in one pass: sooner where it repeats itself, with the same tokens",
    )
    add(
        "--grace",
        type=float,
        default=20.0,
        metavar="S",
        help="seconds to finish what runs, at the end (default: 20)",
    )


def _run(args: argparse.Namespace) -> None:
    _check(args)
    try:
        from llama_edu.engine.guess import PromptLookup
        from llama_edu.serve import job, threads
        from llama_edu.serve.http import logs, policy, served, server
    except ImportError as problem:
        raise ServeError(
            "internal", f'{problem}; serving needs: pip install "llama_edu[serve]"'
        ) from problem
    limits = job.Limits(
        max_num_seqs=args.max_num_seqs,
        max_queue=args.max_queue,
        max_seconds=args.max_seconds,
        prefix_nbytes=args.prefix_mb * 2**20,
        most_guesses=PromptLookup.most if args.guess else 0,
    )
    key = os.environ.get(KEY_VARIABLE) or None
    rules = policy.Policy(
        args.host,
        tuple(args.allowed_host),
        tuple(args.allowed_origin),
        key,
        max_connections_per_address=args.max_connections_per_address,
    )
    if args.replicas is not None:
        _run_replicas(args, limits, rules)
        return
    models = served.load(args.models, limits, precision=args.precision, backend=args.backend)
    # While the model computes in Python, the event loop waits its turn: 5 ms, by default, for
    # every piece it sends.
    sys.setswitchinterval(SWITCH_SECONDS)
    logs.set_up()

    def ready(url: str) -> None:
        print(f"Serving {', '.join(args.models)} at {url}", flush=True)

    try:
        listening = server.listen(args.host, args.port)
    except OSError as problem:
        raise ServeError("internal", _why_no_port(problem, args.host, args.port)) from problem
    server.run(
        served.Serving(models, threads.BlasThreads(args.threads)),
        rules,
        listening,
        grace=args.grace,
        ready=ready,
    )


def _run_replicas(args: argparse.Namespace, limits: "Limits", rules: "Policy") -> None:
    """Serve through replicas until SIGINT or SIGTERM."""
    from llama_edu import hub
    from llama_edu.serve.http import logs, replicas, server

    for name in args.models:
        hub.locate(name)  # here, and not in a process of Ray's, where nobody would read why not
    logs.set_up()
    try:
        listening = server.listen(args.host, args.port)
    except OSError as problem:
        raise ServeError("internal", _why_no_port(problem, args.host, args.port)) from problem
    threads = 1 if args.threads is None else args.threads
    setup = replicas.Setup(args.models, limits, rules, args.precision, args.backend, threads)
    with replicas.started(setup, args.replicas) as handle:
        url = server.address(listening)
        print(f"Serving {', '.join(args.models)} at {url}, {args.replicas} replicas", flush=True)
        with contextlib.suppress(KeyboardInterrupt):  # how one ends a server, not an accident
            replicas.server_of(replicas.Entrance(handle, rules), rules).run(sockets=[listening])


def _why_no_port(problem: OSError, host: str, port: int) -> str:
    """What the system has against an address, and the way out."""
    if problem.errno == errno.EADDRINUSE:
        return (
            f"expected a free port, got {port}, which another program uses; "
            "--port 0 takes one that is free"
        )
    if isinstance(problem, PermissionError):
        return f"expected a port that may be used, got {port}; --port 0 takes one that is"
    return f"expected --host to be an address of this computer, got {host}: {problem.strerror}"


def _check(args: argparse.Namespace) -> None:
    names = {"max_num_seqs": 1, "max_queue": 1, "max_seconds": 1, "prefix_mb": 1, "grace": 0}
    names["max_connections_per_address"] = 1
    for name in ("threads", "replicas"):
        if getattr(args, name) is not None:
            names[name] = 1
    for name, least in names.items():
        if not getattr(args, name) >= least:  # so that NaN is refused too
            given = getattr(args, name)
            args.parser.error(f"expected {name} of at least {least}, got {given}")
    if not 0 <= args.port <= 65535:
        args.parser.error(f"expected a port from 0 to 65535, got {args.port}")
    try:
        open_to_others = not ipaddress.ip_address(args.host).is_loopback
    except ValueError:
        open_to_others = args.host != "localhost"
    if open_to_others and not os.environ.get(KEY_VARIABLE):
        print(
            f"note: {args.host} can be reached from other machines, and no key is asked for; "
            f"set {KEY_VARIABLE} to ask for one",
            file=sys.stderr,
        )
