"""What the command line needs to behave on a terminal, and off one. Knows nothing about models."""

import errno
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol, runtime_checkable

__all__ = [
    "LEAVES",
    "Stream",
    "may_colour",
    "one_line",
    "printable",
    "progress_line",
    "reads_codes",
    "write_now",
]

BAR = "{bar:24} {percentage:3.0f}% {desc}"

READ_CODES = 0x0004  # ENABLE_VIRTUAL_TERMINAL_PROCESSING
LEAVES = "Ctrl-D" if sys.platform != "win32" else "Ctrl-Z and Enter"  # how input ends

# Control characters except tab and line break → their pictures: ESC becomes ␛.
CONTROL_PICTURES = {
    **{code: 0x2400 + code for code in range(0x20) if chr(code) not in "\t\n"},
    **dict.fromkeys(range(0x7F, 0xA0), 0xFFFD),
}


@runtime_checkable
class Stream(Protocol):
    """As much of a text stream as is used here."""

    def write(self, text: str, /) -> int:
        """Write, and say how many characters."""
        ...

    def flush(self) -> None:
        """Let nothing wait."""
        ...

    def isatty(self) -> bool:
        """True if somebody is looking."""
        ...

    def fileno(self) -> int:
        """The system's number of it."""
        ...


def may_colour(stream: Stream) -> bool:
    """True on a terminal that has colours and whose user has not asked for none."""
    wanted = not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
    return wanted and stream.isatty() and reads_codes(stream)


def reads_codes(stream: Stream) -> bool:
    """True if escape codes steer this terminal. A console of Windows must be told to read them."""
    reads = True
    if sys.platform == "win32":
        import ctypes
        import msvcrt

        try:
            handle = msvcrt.get_osfhandle(stream.fileno())
            mode = ctypes.c_ulong()
            console = ctypes.windll.kernel32
            found = console.GetConsoleMode(handle, ctypes.byref(mode))
            reads = bool(found and console.SetConsoleMode(handle, mode.value | READ_CODES))
        except (AttributeError, OSError, ValueError):  # no console after all
            reads = False
    return reads


def one_line(problem: BaseException) -> str:
    """A message without line breaks or escape codes: parts of it may come out of a file.

    What the system says of files and ports is put into words; an error's number helps nobody.
    """
    return printable(_in_words(problem))


def _in_words(problem: BaseException) -> str:
    if isinstance(problem, MemoryError):
        return "expected more memory than this computer has left, got none"
    if not isinstance(problem, OSError) or problem.strerror is None:
        return str(problem) or type(problem).__name__
    what = problem.filename if isinstance(problem.filename, str | os.PathLike) else ""
    if isinstance(problem, FileNotFoundError):
        return f"{what}: expected a file or a folder there, got none"
    if isinstance(problem, PermissionError):
        return f"{what}: expected leave to use it, got a refusal of the system"
    if isinstance(problem, IsADirectoryError):
        return f"{what}: expected a file, got a folder"
    if isinstance(problem, NotADirectoryError):
        return f"{what}: expected a folder, got a file"
    if problem.errno == errno.ENOSPC:
        return f"{what or 'the disk'}: expected room for what is written, got a full disk"
    return f"{what}: {problem.strerror}" if what else problem.strerror


def printable(text: str) -> str:
    """A text of anybody's as one line that only shows, with codes for what does not print."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def write_now(text: str) -> None:
    """Write to standard output without waiting for a full line."""
    if sys.stdout.isatty():
        # A model can say anything, but it does not get to steer the terminal.
        text = text.translate(CONTROL_PICTURES)
    sys.stdout.write(text)
    sys.stdout.flush()


@contextmanager
def progress_line(stream: Stream) -> Iterator[Callable[[str, float], None]]:
    """A function to call with what is being done and which part of it is, 0.0 to 1.0.

    On a terminal that is drawn in one line, which is empty again at the end. Elsewhere each stage
    is named once, in a line of its own.
    """
    if not stream.isatty():
        named: list[str] = []

        def name(stage: str, done: float) -> None:
            if stage not in named[-1:]:
                print(stage, file=stream, flush=True)
                named.append(stage)

        yield name
        return
    from tqdm import tqdm  # takes a while, and most commands need none

    with tqdm(total=1.0, file=stream, leave=False, bar_format=BAR) as bar:

        def draw(stage: str, done: float) -> None:
            bar.set_description_str(stage, refresh=False)
            bar.n = done
            bar.refresh()

        yield draw
