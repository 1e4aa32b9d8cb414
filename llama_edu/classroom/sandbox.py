"""The process in which somebody else's notebook runs and is judged. Started by `judge`.

It takes a job from standard input, one JSON object, and writes a line of JSON for every exercise.
Before the first line of the notebook runs, doors are closed for good: Python tells of what it is
about to do (`sys.addaudithook`, which nothing can take back), and the hook refuses to write,
move or delete files, to read any but Python's own and the models, to start programs, to use the
network, and to import the exercises. On systems that have them, limits of memory and of the size
of files come on top.

Memory is shared with the judge, as it must be for answers that take whole models and functions.
So this keeps out accidents and what students try. Somebody who knows CPython's insides well can
still change the judge; where that matters, grade in a container, and read what was handed in.
"""

import ast
import contextlib
import io
import json
import linecache
import os
import sys
import threading
import time
import types
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn

import llama_edu
from llama_edu.classroom.stubs import python_of
from llama_edu.exercises import Check, check
from llama_edu.exercises.framework.answer import error_text
from llama_edu.exercises.framework.limited import limited
from llama_edu.exercises.framework.printed import is_printed
from llama_edu.hub import home

__all__ = ["main"]

NOTEBOOK_SECONDS = 60.0  # for all cells together
MEMORY = 4 << 30  # bytes of address space; NumPy reserves much and uses little
PRINTED = (
    "{name}: right, and word for word the solution that the book prints. Now write yours: it "
    "counts."
)
# What the chapters import from the exercises for their own use.
SHARED = {"llama_edu.exercises.chat": ("decode_toy", "encode_toy")}
CLOSED = "is not possible while answers are graded"

PACKAGE = Path(llama_edu.__file__).resolve().parent
HIDDEN = ("llama_edu.exercises", "llama_edu.classroom", "ctypes", "_ctypes")
REFUSED = (
    "os.remove os.rmdir os.rename os.mkdir os.link os.symlink os.truncate os.chmod os.chown "
    "os.utime os.system os.exec os.fork os.forkpty os.posix_spawn os.spawn os.startfile os.kill "
    "os.chdir os.setxattr os.removexattr os.lockf fcntl.fcntl signal.pthread_kill pty.spawn "
    "sys.addaudithook gc.get_objects gc.get_referrers gc.get_referents"
).split()
REFUSED_KINDS = ("shutil", "subprocess", "socket", "winreg", "msvcrt", "sqlite3", "ftplib")
WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND


def main() -> None:
    """Judge one notebook."""
    job = json.load(sys.stdin)
    say = _line_writer(job["nonce"])
    checks = {item.exercise.name: item for item in check}
    if job["seconds"] is not None:
        for item in checks.values():
            item.exercise = replace(item.exercise, seconds=job["seconds"])
    _warm_up(checks, job["tasks"])
    space = _stage()
    _limit_memory()
    _close_doors()
    errors = _run_cells(job["cells"], space)
    say({"started": True})
    for name, seed in job["tasks"].items():
        say(_judged(checks[name], space.get(f"{name}_mine"), seed, errors))
    os._exit(0)  # whatever still runs


def _line_writer(nonce: str) -> Callable[[dict[str, Any]], None]:
    """Writes lines that only who started this process takes for ours; prints go nowhere."""
    out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for number in (1, 2):
        os.dup2(nowhere, number)

    def say(what: dict[str, Any]) -> None:
        out.write("\n" + json.dumps({"nonce": nonce} | what) + "\n")
        out.flush()

    return say


def _warm_up(checks: dict[str, Check], tasks: dict[str, int]) -> None:
    """Judge a stub of each exercise, so that what is read and imported for it has been."""

    def stub(*args: Any) -> NoReturn:
        raise NotImplementedError

    for name in tasks:
        item = checks[name]
        item(stub)
        item(item.exercise.correct[1])


def _stage() -> dict[str, Any]:
    """The notebook's own namespace, and stand-ins for what it imports and may not look into."""
    shared = {
        module: {name: getattr(sys.modules[module], name) for name in names}
        for module, names in SHARED.items()
    }
    for name in [name for name in sys.modules if _is_hidden(name)]:
        del sys.modules[name]
    stand_ins: dict[str, dict[str, Any]] = {
        "llama_edu.exercises": {
            "check": _NotHere(),
            "question": _ignored,
            "use_operators": contextlib.nullcontext,
        },
        "llama_edu.classroom": {"must": _ignored, "hand_in": _ignored},
        "llama_edu.viz": {"__getattr__": lambda name: _ignored},  # no figure is drawn
        **shared,
    }
    for name, content in stand_ins.items():
        module = types.ModuleType(name)
        module.__path__ = []
        module.__dict__.update(content)
        sys.modules[name] = module
        parent, _, own = name.rpartition(".")
        setattr(sys.modules[parent], own, module)
    main_module = types.ModuleType("__main__")
    sys.modules["__main__"] = main_module
    return vars(main_module)


class _NotHere:
    """Stands for `check`: answers are judged after the notebook has run."""

    def __getattr__(self, name: str) -> Any:
        return _NotHereEither()


class _NotHereEither:
    """Stands for `check.NAME`."""

    def __call__(self, answer: Any, seed: int | None = None) -> None:
        return None

    def __getattr__(self, name: str) -> NoReturn:
        raise PermissionError(f"looking into a check {CLOSED}")


def _ignored(*args: Any, **kwargs: Any) -> None:
    return None


def _is_hidden(module: str) -> bool:
    return any(module == name or module.startswith(name + ".") for name in HIDDEN)


def _limit_memory() -> None:
    if sys.platform == "win32":
        return
    import resource

    for what, most in ((resource.RLIMIT_AS, MEMORY), (resource.RLIMIT_FSIZE, 0)):
        hard = resource.getrlimit(what)[1]
        if hard != resource.RLIM_INFINITY:
            most = min(most, hard)
        resource.setrlimit(what, (most, most))


def _close_doors() -> None:
    """From here on, this process only computes."""
    shared = os.environ.get("LLAMA_EDU_MODELS")
    # In a checkout the folder above the package holds the book, with its solutions.
    libraries = [one for one in sys.path if one and Path(one).resolve() != PACKAGE.parent]
    if PACKAGE.parent.name in ("site-packages", "dist-packages"):
        libraries.append(str(PACKAGE.parent))
    places = (sys.prefix, sys.base_prefix, PACKAGE, home(), *libraries, shared or PACKAGE)
    readable = {_normal(place) for place in places}
    secret = {_normal(PACKAGE / part) for part in ("exercises", "classroom")}
    judge = threading.get_ident()

    def is_answer() -> bool:
        return threading.get_ident() != judge

    def refuse(what: str) -> NoReturn:
        raise PermissionError(f"{what} {CLOSED}")

    def hook(event: str, args: tuple[Any, ...]) -> None:
        if event == "open":
            path, _, flags = args
            if isinstance(flags, int) and flags & WRITES:
                refuse("writing a file")
            if isinstance(path, int):
                if is_answer():
                    refuse("opening a file by its number")
                return
            full = _normal(os.fsdecode(path))
            if not _lies_in(full, readable) or (is_answer() and _lies_in(full, secret)):
                refuse("reading this file")
        elif event == "import":
            if is_answer() and _is_hidden(args[0]):
                refuse(f"importing {args[0]}")
        elif event.startswith("ctypes."):
            if is_answer():  # the judge stops answers by it
                refuse("ctypes")
        elif event in REFUSED or event.partition(".")[0] in REFUSED_KINDS:
            refuse(event)

    sys.addaudithook(hook)


def _normal(path: str | Path) -> str:
    return os.path.normcase(os.path.realpath(path))


def _lies_in(path: str, folders: set[str]) -> bool:
    return any(path == folder or path.startswith(folder + os.sep) for folder in folders)


def _run_cells(cells: list[dict[str, Any]], space: dict[str, Any]) -> list[tuple[set[str], str]]:
    """Run the notebook; for each statement that failed, the names it would have made, and why.

    Of a cell that the book gave, only imports, definitions and plain constants run: what they
    compute and draw is not needed for an answer.
    """
    errors: list[tuple[set[str], str]] = []
    end = time.monotonic() + NOTEBOOK_SECONDS
    for number, cell in enumerate(cells, 1):
        source = python_of(cell["source"])
        name = f"<cell {number}>"
        linecache.cache[name] = (len(source), None, source.splitlines(keepends=True), name)
        try:
            statements = ast.parse(source, name).body
        except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
            errors.append((set(_defined_in(source)), _told(error, name)))
            continue
        if cell["given"]:
            statements = [one for one in statements if _is_definition(one)]
        for statement in statements:
            left = max(end - time.monotonic(), 0.1)
            code = compile(ast.Module([statement], []), name, "exec")
            with contextlib.redirect_stdout(io.StringIO()):
                _, raised = limited(lambda code=code: exec(code, space), left)  # type: ignore[misc]
            if raised is not None:
                errors.append((set(_names(statement)), _told(raised, name)))
    return errors


def _told(error: BaseException, cell: str) -> str:
    def stands_for_cell() -> None:  # has the file name that `error_text` looks for
        return None

    stands_for_cell.__code__ = stands_for_cell.__code__.replace(co_filename=cell)
    stands_for_cell.__module__ = "__main__"
    return error_text(error, stands_for_cell)


def _is_definition(statement: ast.stmt) -> bool:
    """Whether a statement of a given cell is needed, and costs nothing."""
    if isinstance(statement, ast.Assign | ast.AnnAssign):
        return not any(isinstance(node, ast.Call) for node in ast.walk(statement))
    return isinstance(statement, ast.Import | ast.ImportFrom | ast.FunctionDef | ast.ClassDef)


def _names(statement: ast.stmt) -> Iterator[str]:
    for node in ast.walk(statement):
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            yield node.name
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id


def _defined_in(source: str) -> Iterator[str]:
    """The functions of a cell that is no Python."""
    for line in source.splitlines():
        if line.startswith("def ") and "(" in line:
            yield line[4 : line.index("(")].strip()


def _judged(
    item: Check, answer: Any, seed: int, errors: list[tuple[set[str], str]]
) -> dict[str, Any]:
    """One line of the report."""
    name = item.exercise.name
    if answer is None:
        text = f"{name}: expected a function {name}_mine, and the notebook makes none."
        why = [said for names, said in errors if f"{name}_mine" in names]
        if why:
            text += f"\n  The cell it stands in failed: {why[-1]}"
        return {"name": name, "ok": False, "message": text}
    verdict = item(answer, seed)
    if verdict.ok and is_printed(name, answer):
        return {"name": name, "ok": False, "message": PRINTED.format(name=name)}
    return {"name": name, "ok": verdict.ok, "message": verdict.message}


if __name__ == "__main__":
    main()
