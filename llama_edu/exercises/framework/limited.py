"""A limit of time for somebody else's code, in any thread and on every system.

The code runs in a thread of its own, and who called waits for it. When the time is over, an
exception is raised in that thread, as Ctrl-C would raise one in the main thread, and raised again
if it is caught. Code that catches everything for ever, `while True: try: … except: …`, is put to
sleep: the exception that it catches never comes to the end of being made. What it costs from then
on is its memory, until the program ends. Closures, a notebook's own variables and unsaved cells
are there as everywhere, which in another process they would not be on every system.

What it cannot do: a call into compiled code ends when it ends (a large `@`, `time.sleep`). The
verdict comes in time all the same, and the thread is stopped when the call returns. Only code
that never lets another thread run holds up the verdict as well (`10 ** 10 ** 10`, a regular
expression that goes astray): there the kernel has to be restarted.
"""

import contextvars
import ctypes
import sys
import threading
import time
from collections.abc import Callable
from types import FrameType
from typing import Any

__all__ = ["Calls", "TooSlowError", "direct", "limited"]

SLICE = 0.05  # seconds: on Windows, a wait cannot be interrupted before its end
TRIES = 20  # exceptions raised before the thread is put to sleep
PATIENCE = 0.02  # seconds between them
PACKAGE = ("llama_edu",)
CHECKERS = ("jaxtyping", "beartype")


class TooSlowError(Exception):
    """Raised in place of a function that did not come to an end."""


class _Stop(BaseException):
    """Raised in the thread: nobody catches it by its name."""


class _Sleep(BaseException):
    """Never comes to the end of being made, whoever would catch it."""

    def __init__(self) -> None:
        while True:
            time.sleep(3600)


class Calls:
    """Notes what a learner's code calls: forbidden modules, and the book's functions for the task.

    A module is named with all it holds: "codecs" is `codecs.lookup` and `codecs.X.decode` alike.
    The book's functions are named in full, "llama_edu.ops.norm.rms_norm". What this package or
    NumPy calls in turn is its own affair.
    """

    def __init__(self, modules: tuple[str, ...] = (), books: tuple[str, ...] = ()) -> None:
        self.modules = modules
        self.books = books
        self.seen: list[str] = []
        self.borrowed: list[str] = []

    def profile(self, frame: FrameType, event: str, arg: Any) -> None:
        """What `sys.setprofile` takes: called for every function that is called."""
        if event == "call" and frame.f_back is not None:
            module, caller = _module(frame), _caller(frame)
            name = frame.f_code.co_name
            full = f"{module}.{frame.f_code.co_qualname}"
            if _is_within(full, self.books) and not _is_within(caller, PACKAGE):
                self.borrowed.append(full)
        elif event == "c_call":
            owner = getattr(arg, "__self__", None)
            module = getattr(arg, "__module__", None) or type(owner).__module__
            caller, name = _module(frame), getattr(arg, "__name__", "")
        else:
            return
        if (
            _is_within(module, self.modules)
            and not _is_within(caller, (*self.modules, *PACKAGE, "numpy"))
            and "importlib" not in caller
        ):
            self.seen.append(f"{module.lstrip('_')}.{name}")


def _is_within(name: str, places: tuple[str, ...]) -> bool:
    """Whether a dotted name is one of some others, or stands below one."""
    return any(name == one or name.startswith(one + ".") for one in places)


def _module(frame: FrameType) -> str:
    return str(frame.f_globals.get("__name__", ""))


def _caller(frame: FrameType) -> str:
    """The module that called, not counting what looks at shapes between a call and its function."""
    back = frame.f_back
    while back is not None and _is_within(_module(back), CHECKERS):
        back = back.f_back
    return "" if back is None else _module(back)


class _Run:
    """One call in its thread: what it returned or raised, and whether it is over."""

    def __init__(self, function: Callable[[], Any], calls: Calls | None) -> None:
        self.value: Any = None
        self.error: BaseException | None = None
        self.over = threading.Event()
        self._function = function
        self._calls = calls
        self._lock = threading.Lock()
        context = contextvars.copy_context()  # settings such as np.errstate come along
        self.thread = threading.Thread(target=context.run, args=(self._body,), daemon=True)

    def _body(self) -> None:
        try:
            self._call()
            with self._lock:
                self.over.set()
        except BaseException:  # stopped between the end of the call and here
            self.over.set()

    def _call(self) -> None:
        try:
            if self._calls is not None:
                sys.setprofile(self._calls.profile)
            try:
                self.value = self._function()
            finally:
                sys.setprofile(None)
        except BaseException as raised:  # sys.exit() as well: the answer ends, the lesson goes on
            self.error = raised

    def wait(self, seconds: float) -> bool:
        """Whether it is over within so many seconds; Ctrl-C comes through at any time."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            if self.over.wait(min(SLICE, left)):
                return True
        return self.over.is_set()

    def stop(self) -> None:
        """Make it end; if it will not, make it sleep."""
        for _ in range(TRIES):
            self._raise(_Stop)
            if self.over.wait(PATIENCE):
                return
        self._raise(_Sleep)

    def _raise(self, kind: type[BaseException]) -> None:
        with self._lock:
            if not self.over.is_set() and self.thread.ident is not None:
                thread = ctypes.c_ulong(self.thread.ident)
                ctypes.pythonapi.PyThreadState_SetAsyncExc(thread, ctypes.py_object(kind))


def direct(function: Callable[[], Any]) -> tuple[Any, BaseException | None]:
    """As `limited`, without a limit and in this thread."""
    try:
        return function(), None
    except KeyboardInterrupt:
        raise
    except BaseException as raised:
        return None, raised


def limited(
    function: Callable[[], Any], seconds: float, calls: Calls | None = None
) -> tuple[Any, BaseException | None]:
    """Call a function in a thread, and give what it returned and raised: one of them is None.

    The error is a `TooSlowError` where it did not end in so many seconds. What Ctrl-C raises while
    waiting is raised, and the function is stopped.
    """
    run = _Run(function, calls)
    run.thread.start()
    try:
        in_time = run.wait(seconds)
    except BaseException:
        run.stop()
        raise
    if in_time:
        return run.value, run.error
    run.stop()
    return None, TooSlowError(f"it was still running after {seconds:g} s")
