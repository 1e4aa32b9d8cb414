"""Break the package in many small ways, and see whether the tests notice.

    python -m tools.mutation.run                     every group of groups.toml, one after another
    python -m tools.mutation.run ops text --count 60 --seed 3

Each mutant is one change of one line, made in a copy of the project. A process that has already
imported pytest and the libraries is forked for each, so that a mutant costs little more than its
tests. The mutant is killed if a test fails, or runs into its time limit; it survives if all pass.
Survivors that were read and judged are listed in `reviewed.toml`, with the reason; the others are
holes. What is found is printed, and takes the place of the group's section in `results.md`, unless
`--at` or `--unchecked` has left something out.

Needs `cosmic-ray`, from the dependency group `mutation`, and a system that can fork.
"""

import argparse
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import tomllib
import traceback
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")
os.environ |= dict.fromkeys(THREADS, "1") | {"LLAMA_EDU_PROGRESS": "off"}

from tools.mutation.mutants import files_of, sampled  # noqa: E402
from tools.mutation.quick import KNOWN, RECORD  # noqa: E402
from tools.mutation.results import Mutant, Outcome, keep, section  # noqa: E402

OPTIONS = (
    *("-x", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", "-p", "tools.mutation.quick"),
    "--no-header",
    "--tb=line",
    "-Wignore::pytest.PytestAssertRewriteWarning",  # the libraries are imported before
)
# In place of the options in pyproject.toml, which check every annotated shape.
UNCHECKED = ("-o", "addopts=--import-mode=importlib -p no:nbval -p no:schemathesis")
# Imported once, before the forks. Nothing of the package itself: that is what changes.
LIBRARIES = (
    *("numpy", "ml_dtypes", "hypothesis", "hypothesis.strategies", "beartype", "jaxtyping"),
    *("pytest", "tokenizers", "jinja2", "gguf", "safetensors", "fastapi", "uvicorn", "httpx"),
    *("openai", "schemathesis", "prometheus_client", "docutils.nodes"),
)
PASSED = (0, 5)  # pytest's codes where no test failed, and where none was there to run
TEST_TIMEOUT_S = 60  # for one test; `Group.limit` bounds all tests of a mutant


@dataclass
class Group:
    """A part of the package, and the tests that hold it."""

    name: str
    files: list[str]
    tests: list[str]
    count: int
    without: list[str] = field(default_factory=list)
    leave_out: list[str] = field(default_factory=list)
    limit: float = 600.0
    retries: bool = True  # whether survivors are tried once more with checks of shapes

    def own_tests(self, path: Path) -> list[str]:
        """The files of tests that have the file's own name."""
        return [
            str(test)
            for folder in self.tests
            for test in sorted(Path(folder).rglob(f"test_{path.stem}*.py"))
            if str(test) not in self.leave_out
        ]


def copied(to: Path) -> None:
    """The project as git sees it, with what is not committed."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        check=True,
    ).stdout.decode()
    for name in filter(None, listed.split("\0")):
        source, target = ROOT / name, to / name
        if source.is_file():
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, target)


def run_tests(tests: Sequence[str], options: Sequence[str], limit: float) -> tuple[int, str, float]:
    """Exit code, output and seconds of the tests in a fork; the code is −1 where time ran out."""
    with tempfile.TemporaryFile() as output:
        start = time.perf_counter()
        pid = os.fork()
        if pid == 0:
            os.setsid()
            os.dup2(output.fileno(), 1)
            os.dup2(output.fileno(), 2)
            code = 3
            try:
                import pytest

                sys.modules["numba"] = None  # type: ignore[assignment]  # compiling takes a minute
                code = int(pytest.main([*OPTIONS, *options, *tests]))
            except BaseException:  # the fork ends here, whatever happened in it
                traceback.print_exc()
            finally:
                sys.stdout.flush()
                sys.stderr.flush()
                os._exit(code)
        code = _waited(pid, limit)
        seconds = time.perf_counter() - start
        output.seek(0)
        return code, output.read().decode(errors="replace"), seconds


def _waited(pid: int, limit: float) -> int:
    deadline = time.monotonic() + limit
    while time.monotonic() < deadline:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            code = os.waitstatus_to_exitcode(status)
            _ended(pid)
            return code
        time.sleep(0.01)
    _ended(pid)
    os.waitpid(pid, 0)
    return -1


def _ended(group: int) -> None:
    """End what a fork may have left running; its process group is its own."""
    try:
        os.killpg(group, signal.SIGKILL)
    except ProcessLookupError:
        return


def judged(
    mutants: Sequence[Mutant], group: Group, reviewed: list[dict[str, str]]
) -> Iterator[Outcome]:
    """Run the tests on each mutant, in the working folder.

    First those in files of its own name, by themselves: where there are thousands, collecting them
    takes longer than running these. Then all, without the checks of shapes on every call, which
    take most of the time; what survives that is tried once more with them.
    """
    options = [
        f"--timeout={TEST_TIMEOUT_S}",
        *(f"--ignore={path}" for path in group.leave_out),
    ]
    quick_limit, full_limit = _as_they_are(group, options)
    for number, mutant in enumerate(mutants, 1):
        original = mutant.path.read_bytes()
        mutant.path.unlink()
        mutant.path.write_text(mutant.source, "utf-8")
        own, seconds = group.own_tests(mutant.path), 0.0
        runs: list[tuple[list[str], tuple[str, ...], float]] = []
        runs += [(own, UNCHECKED, quick_limit)] if own else []
        runs += [(group.tests, UNCHECKED, quick_limit)]
        runs += [(group.tests, (), full_limit)] if group.retries else []
        for tests, more, limit in runs:
            code, output, took = run_tests(tests, [*options, *more], limit)
            seconds += took
            if code not in PASSED:
                break
        mutant.path.write_bytes(original)
        stamp = time.time() + number  # no compiled file may look younger than this
        os.utime(mutant.path, (stamp, stamp))
        kind = "survived" if code in PASSED else "hangs" if code == -1 else "killed"
        found = re.search(r"^(?:FAILED|ERROR) (\S+)", output, re.MULTILINE)
        outcome = Outcome(mutant, kind, found[1] if found else f"exit code {code}", seconds)
        if kind == "survived":
            outcome.reason = _reason(mutant, reviewed)
        print(f"  {number:3} {_told(outcome)}", flush=True)
        yield outcome


def _as_they_are(group: Group, options: list[str]) -> tuple[float, float]:
    """Time the tests on the code as it is: limits without and with checks of shapes.

    Tests that fail here, without Numba or without checks, are left out: the two runs before the
    first mutant say which.
    """
    os.environ[KNOWN] = _known_file(group)
    os.environ[RECORD] = "yes"
    everything = [*options, "--maxfail=0"]
    ways = [UNCHECKED, ()] if group.retries else [UNCHECKED]
    seconds = []
    for more in ways:
        _, output, took = run_tests(group.tests, [*everything, *more], group.limit)
        if " passed" not in output:
            sys.exit(f"{group.name}: its tests do not run\n{output[-3000:]}")
        seconds.append(took)
    os.environ.pop(RECORD)
    # In another order, what fails now would take the credit for everything.
    for more in ways:
        code, output, _ = run_tests(group.tests, [*options, *more], group.limit)
        if code != 0:
            sys.exit(f"{group.name}: the tests fail in another order\n{output[-3000:]}")
    left_out = json.loads(Path(_known_file(group)).read_text("utf-8"))["failed"]
    told = " and ".join(f"{took:.0f}" for took in seconds)
    print(f"{group.name}: its tests take {told} s as they are, without and with checks", flush=True)
    print("".join(f"  left out: {name}\n" for name in left_out), end="", flush=True)
    return 3 * seconds[0] + 20, 3 * seconds[-1] + 20


def _known_file(group: Group) -> str:
    return str(Path.cwd() / f"known-{group.name}.json")


def _reason(mutant: Mutant, reviewed: list[dict[str, str]]) -> str:
    """Why a survivor is no hole, where somebody has read it."""
    change = f"{mutant.was} => {mutant.became}"
    for entry in reviewed:
        if entry["file"] not in ("*", str(mutant.path)):
            continue
        if "rule" in entry and re.search(entry["rule"], change):
            return entry["reason"]
        if (entry.get("was"), entry.get("became")) == (mutant.was, mutant.became):
            return entry["reason"]
    return ""


def _told(outcome: Outcome) -> str:
    mutant = outcome.mutant
    place = f"{mutant.path}:{mutant.line}"
    if outcome.is_killed:
        return f"{outcome.kind} in {outcome.seconds:.1f} s: {place}, by {outcome.by}"
    mark = "equivalent" if outcome.reason else "SURVIVED"
    return f"{mark}: {place}\n      - {mutant.was}\n      + {mutant.became}"


def drawn_from(seed: int) -> str:
    """The code that is copied, and the seed: what a run hangs on, beside how many mutants."""
    commit = _git("rev-parse", "--short=12", "HEAD")
    changed = ", with changes" if _git("status", "--porcelain", "llama_edu", "tests") else ""
    return f"Commit {commit}{changed}, seed {seed}"


def _git(*arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, check=True)
    return done.stdout.decode().strip()


def main() -> None:
    """Run the groups that are named."""
    settings = tomllib.loads((HERE / "groups.toml").read_text("utf-8"))
    reviewed = tomllib.loads((HERE / "reviewed.toml").read_text("utf-8")).get("survivor", [])
    known = {name: Group(name, **values) for name, values in settings["groups"].items()}
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("groups", nargs="*", help=f"of {', '.join(known)}; all of them if none")
    parser.add_argument("--count", type=int, help="mutants per group")
    parser.add_argument("--seed", type=int, default=settings["seed"])
    parser.add_argument("--at", help="only mutants in files whose path contains this")
    parser.add_argument("--unchecked", action="store_true", help="try no survivor once more")
    options = parser.parse_args()
    unknown = set(options.groups) - set(known)
    if unknown:
        parser.error(f"expected groups of {', '.join(known)}, got {', '.join(sorted(unknown))}")
    for library in LIBRARIES:
        __import__(library)
    drawn = drawn_from(options.seed)
    with tempfile.TemporaryDirectory() as copy:
        copied(Path(copy))
        os.chdir(copy)
        os.environ["PYTHONPATH"] = copy
        sys.path.insert(0, copy)
        for name in options.groups or known:
            group, start = known[name], time.perf_counter()
            group.retries = not options.unchecked
            files = list(files_of(Path(copy), group.files, group.without))
            files = [path for path in files if (options.at or "") in str(path)]
            mutants = sampled(Path(copy), files, options.count or group.count, options.seed)
            outcomes = list(judged(mutants, group, reviewed))
            found = section(name, drawn, outcomes)
            if not options.at and not options.unchecked:
                keep(HERE / "results.md", name, found, list(known))
            minutes = (time.perf_counter() - start) / 60
            print(f"\n{found}\n({minutes:.1f} min)", flush=True)


if __name__ == "__main__":
    main()
