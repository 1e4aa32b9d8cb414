"""Run the project's checks, and stop at the first failure with a readable reason.

    python -m tools.check                 everything, in the order below (this is `make test`)
    python -m tools.check lint types      only these
    python -m tools.check book            build the book, where there is no `make`

Outside a virtual environment it makes `.venv` first and goes on in there. The order goes from the
cheapest answer to the dearest: a missing import is told in a second, not after the notebooks ran.
Some keep one core busy, and two of those run side by side; all others run alone.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from tools import branches, environment

ROOT = Path(__file__).resolve().parent.parent
HTML = ROOT / "_build" / "html"
MODEL = "smollm2-135m-instruct"

# Two workers, each with one thread of linear algebra: the same sums in the same order everywhere.
PARALLEL = ["-n", "2", "--dist", "loadfile"]
# Pages are opened by whichever worker is free: some take ten times as long as others.
WHOEVER_IS_FREE = ["-n", "2", "--dist", "worksteal"]
ONE_THREAD = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "VECLIB_MAXIMUM_THREADS": "1",
}
NOT_A_READER = {"LLAMA_EDU_PROGRESS": "off"}  # what the checks solve is nobody's progress
# A check starts a hundred processes of Python, and each would compile the same modules again.
# Containers often ask for that; an empty word asks for nothing.
KEPT_BYTECODE = {"PYTHONDONTWRITEBYTECODE": ""}
# Modules here are found before those that are installed: see the one that is there.
SOONER = ROOT / "tools" / "sooner"

# The tests of the arithmetic also check every annotated shape, on every call but for the later
# examples of a property (tests/conftest.py). That takes up to ten times as long as the call; the
# other rooms call the same functions, so there it would find nothing more.
SHAPED = tuple(f"tests/{room}" for room in "formats text ops analysis engine".split())
TEMPLATE = "tests/chat/test_template.py"  # of a chat, whose functions have shapes of their own
UNSHAPED = tuple(
    f"tests/{room}"
    for room in "chat project exercises classroom cli parallel serve training hub viz".split()
)
# The engines written in JavaScript, Rust and C++, held beside the one in NumPy.
PORTS = ("tests/page", "tests/verify")
# Files that take long come first, so that no worker is left alone with one at the end.
IN_THIS_ORDER = "--no-loadscope-reorder"
EVERY_SHAPE = "--jaxtyping-packages=llama_edu,beartype.beartype"

# Jupyter Book is no runnable module, and its script breaks when the folder moves.
JUPYTER_BOOK = "from jupyter_book.cli.main import main; main()"


# Nor is import-linter.
IMPORT_LINTER = (
    "from importlinter.cli import lint_imports_command as main; main(['--no-cache', '--no-logo'])"
)


@dataclass(frozen=True)
class Check:
    """One step of `make test`: what runs, and what to do when it fails."""

    title: str
    arguments: tuple[str, ...]  # of the Python that runs this file
    advice: str
    one_core: bool = False  # needs nothing that the check before it makes, and may run beside it
    before: Callable[[], None] = lambda: None
    quiet: bool = False  # keep only what it writes to stderr
    on_request: bool = False  # not part of `make test`


def remove_old_book() -> None:
    """Forget the last build, so that no page of a removed chapter stays behind."""
    for folder in (HTML, ROOT / "_build" / ".doctrees"):
        shutil.rmtree(folder, ignore_errors=True)


CHECKS = {
    "lint": Check(
        "Lint",
        ("-m", "ruff", "check", "--quiet", "."),
        "`make format` repairs what can be repaired by machine.",
        one_core=True,
    ),
    "format": Check(
        "Formatting",
        ("-m", "ruff", "format", "--check", "--quiet", "--diff", "."),
        "Run `make format`.",
        one_core=True,
    ),
    "types": Check("Types", ("-m", "mypy"), "mypy's words are above.", one_core=True),
    "layers": Check(
        "Layers",
        ("-c", IMPORT_LINTER),
        "docs/architecture.md says which folder may import which, and why.",
        one_core=True,
    ),
    "model": Check(
        f"Model {MODEL}",
        ("-m", "llama_edu", "fetch", MODEL),
        "The notebooks and some tests read this model; fetching it once needs a package index.",
        one_core=True,
    ),
    "book": Check(
        "Book, warnings as errors",
        ("-c", JUPYTER_BOOK, "build", str(ROOT), "-W", "-n", "--keep-going", "--all", "-q"),
        "Sphinx names the page and the line above.",
        before=remove_old_book,
        quiet=True,
        one_core=True,
    ),
    "shapes": Check(
        "Tests of the arithmetic, every shape checked",
        ("-m", "pytest", "-q", EVERY_SHAPE, *PARALLEL, IN_THIS_ORDER, *SHAPED, TEMPLATE),
        f"Run one again with: .venv/bin/python -m pytest {EVERY_SHAPE} tests/…/test_….py",
    ),
    "unit": Check(
        "All other unit and property tests",
        ("-m", "pytest", "-q", *PARALLEL, IN_THIS_ORDER, f"--ignore={TEMPLATE}", *UNSHAPED),
        "Run one again with: .venv/bin/python -m pytest tests/…/test_….py",
    ),
    "ports": Check(
        "Engines in other languages, beside the one in NumPy",
        ("-m", "pytest", "-q", *PARALLEL, IN_THIS_ORDER, *PORTS),
        "Those whose compiler or Node is not here are skipped; the others say what differs.",
    ),
    "notebooks": Check(
        "Notebooks, executed again and compared with what they show",
        (
            *("-m", "pytest", "-q", "-p", "nbval.plugin", "--nbval", "--nbval-current-env"),
            "--nbval-cell-timeout=280",
            *("--nbval-sanitize-with=tests/nbval_sanitize.cfg", *PARALLEL, IN_THIS_ORDER),
            *("tests/notebooks", "book"),
        ),
        "In the report above, '+' is what the notebook stores and '-' what running it gave now.\n"
        "If the new output is right, `make notebooks` stores it.",
    ),
    "browser": Check(
        "Pages in a browser",
        ("-m", "pytest", "-q", *WHOEVER_IS_FREE, "tests/e2e"),
        "The pages are under _build/html; the messages above name the page and the element.",
    ),
    "pdf": Check(
        "The book as a PDF",
        ("-m", "tools.editions", "pdf"),
        "It is printed by Chromium or Chrome from the pages that `make book` built.",
        on_request=True,
    ),
    "epub": Check(
        "The book as an EPUB",
        ("-m", "tools.editions", "epub"),
        "It is made of the pages that `make book` built.",
        on_request=True,
    ),
    "coverage": Check(
        "Unit and property tests again, and which lines and branches they reach",
        (
            *("-m", "pytest", "-q", *PARALLEL, "--cov", "--cov-report=term"),
            *(f"--cov-report=json:{branches.REPORT}", "tests"),
        ),
        "The table above has the lines and branches that no test reaches.",
        on_request=True,  # tracing nearly doubles the time of the tests
    ),
    "branches": Check(
        "Lines and branches that were reached, each by itself",
        ("-m", "tools.branches"),
        "The table of the check before this one has those that no test reaches.",
        on_request=True,  # needs what `coverage` has written
    ),
}


@dataclass
class Run:
    """A check at work."""

    check: Check
    process: subprocess.Popen[bytes]
    output: IO[bytes] | None  # what it has written; None: that went straight to the screen
    start: float = field(default_factory=time.perf_counter)

    def report(self) -> None:
        """Show how it ended, and leave with its status if it failed."""
        seconds = time.perf_counter() - self.start
        if self.output is not None:
            self.output.seek(0)
            print(self.output.read().decode("utf-8", "replace"), end="")
        status = self.process.returncode
        if status != 0:
            failed = f"✗ {self.check.title}: failed after {seconds:.0f} s."
            print(f"\n{failed}\n{self.check.advice}", flush=True)
            sys.exit(status if status > 0 else 128 - status)
        print(f"✓ {self.check.title} ({seconds:.0f} s)", flush=True)


@contextmanager
def started(check: Check) -> Iterator[Run]:
    """The check at work. What is still at work when the block ends, ends with it.

    One that may run beside another writes to a file, so that their words do not mix.
    """
    print(f"\n── {check.title}", flush=True)
    check.before()
    with tempfile.TemporaryFile() as file:
        output = file if check.one_core else None
        process = subprocess.Popen(
            [sys.executable, *check.arguments],
            cwd=ROOT,
            env=os.environ | ONE_THREAD | NOT_A_READER | KEPT_BYTECODE | {"PYTHONPATH": found_in()},
            stdout=subprocess.DEVNULL if check.quiet else output,
            stderr=output,
        )
        try:
            yield Run(check, process, output)
        finally:
            process.terminate()
            process.wait()


def found_in() -> str:
    """Where a check looks for modules first, then where it would have looked anyway."""
    return os.pathsep.join(filter(None, (str(SOONER), os.environ.get("PYTHONPATH"))))


def run_checks(checks: list[Check]) -> None:
    """Run the checks in their order, side by side where they may; leave when one has failed."""
    waiting, at_work = checks.copy(), list[Run]()
    with ExitStack() as all_started:
        while waiting or at_work:
            for run in [run for run in at_work if run.process.poll() is not None]:
                run.report()
                at_work.remove(run)
            if waiting and fits(waiting[0], [run.check for run in at_work]):
                at_work.append(all_started.enter_context(started(waiting.pop(0))))
            else:
                time.sleep(0.05)


def fits(check: Check, at_work: list[Check]) -> bool:
    """Whether the check may start beside those at work: alone, or as the second of one core."""
    return not at_work or (len(at_work) < 2 and check.one_core and at_work[0].one_core)


def main(names: list[str]) -> None:
    """Run the named checks, or all that `make test` has, in the order of `CHECKS`."""
    unknown = [name for name in names if name not in CHECKS]
    if unknown:
        sys.exit(f"no check called {unknown[0]!r}; there are: {', '.join(CHECKS)}")
    wanted = names or [name for name, check in CHECKS.items() if not check.on_request]
    start = time.perf_counter()
    run_checks([CHECKS[name] for name in wanted])
    if len(wanted) > 1:
        seconds = time.perf_counter() - start
        print(f"\nAll {len(wanted)} checks passed in {seconds:.0f} s.")
    if wanted == ["book"]:
        print(f"\nThe book is ready. Open {HTML / 'index.html'}")


def in_environment(names: list[str]) -> int:
    """The same command, run by the Python of `.venv`, which is made if need be."""
    status = environment.main()
    if status == 0:
        command = [str(environment.PYTHON), "-m", "tools.check", *names]
        status = subprocess.run(command, cwd=ROOT).returncode
    return status


if __name__ == "__main__":
    try:
        if sys.prefix == sys.base_prefix:
            sys.exit(in_environment(sys.argv[1:]))
        main(sys.argv[1:])
    except KeyboardInterrupt:
        sys.exit(130)
