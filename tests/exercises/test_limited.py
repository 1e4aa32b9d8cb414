"""What is noted of the calls that a learner's code makes, and a call that is stopped."""

import inspect
import io
import math
import threading
import time
from types import SimpleNamespace

import numpy as np
import pytest

from llama_edu.exercises.framework.limited import Calls, TooSlowError, direct, limited

BANNED, BOOKS = ("banned", "math", "_io"), ("llama_edu.ops.norm.rms_norm",)


def of_module(name, source, **known):
    """The function `f` of a module that is called so."""
    space = {"__name__": name, **known}
    exec(source, space)
    return space["f"]


def noted(function):
    """What is seen and what is borrowed while a function runs."""
    calls = Calls(tuple("".join(list(name)) for name in BANNED), BOOKS)  # equal, not the same
    value, error = limited(function, 10.0, calls)
    assert (value, error) == (7, None)
    return calls.seen, calls.borrowed


SEVEN = "def f():\n    return 7\n"
CALLS = "def f():\n    return inner()\n"
RMS_NORM = "def rms_norm():\n    return 7\nf = rms_norm\n"


@pytest.mark.parametrize(
    ("module", "seen"),
    [
        ("banned", ["banned.f"]),
        ("banned.deep", ["banned.deep.f"]),
        ("_io", ["io.f"]),
        ("banned_not", []),
        ("not.banned", []),
        ("codecs", []),
    ],
)
def test_a_forbidden_module_is_seen_with_all_it_holds(module, seen):
    inner = of_module(module, SEVEN)
    assert noted(of_module("__main__", CALLS, inner=inner)) == (seen, [])


@pytest.mark.parametrize(
    ("caller", "seen"),
    [
        ("banned", ["banned.f"]),  # the learner's own call of it, and no more
        ("math.deep", ["math.deep.f"]),
        ("llama_edu.ops", []),
        ("numpy", []),
        ("numpy.lib", []),
        ("numpy_like", ["banned.f"]),
    ],
)
def test_what_a_library_calls_in_turn_is_its_own_affair(caller, seen):
    between = of_module(caller, CALLS, inner=of_module("banned", SEVEN))
    assert noted(of_module("__main__", CALLS, inner=between)) == (seen, [])


def test_importing_is_no_call():
    between = of_module("_frozen_importlib", CALLS, inner=of_module("banned", SEVEN))
    assert noted(of_module("__main__", CALLS, inner=between)) == ([], [])


@pytest.mark.parametrize("checker", ["jaxtyping", "beartype.claw"])
@pytest.mark.parametrize(
    ("caller", "borrowed"),
    [("__main__", list(BOOKS)), ("llama_edu.engine.llama", []), ("llama_edu_mine", list(BOOKS))],
)
def test_the_books_function_is_borrowed_by_a_learner_and_not_by_the_book(caller, borrowed, checker):
    inner = of_module("llama_edu.ops.norm", RMS_NORM)
    assert noted(of_module(caller, CALLS, inner=inner)) == ([], borrowed)
    between = of_module(checker, CALLS, inner=of_module(checker, CALLS, inner=inner))
    assert noted(of_module(caller, CALLS, inner=between)) == ([], borrowed)
    other = of_module("llama_edu.ops.mlp", RMS_NORM)
    assert noted(of_module(caller, CALLS, inner=other)) == ([], [])


def test_compiled_functions_are_known_by_their_module_or_their_owners():
    root = of_module("__main__", "import math\ndef f():\n    return int(math.sqrt(49))\n")
    assert noted(root) == (["math.sqrt"], [])
    buffer = io.BytesIO(b"seven")
    read = of_module("__main__", "def f():\n    return len(buffer.read()) + 2\n", buffer=buffer)
    assert noted(read) == (["io.read"], [])
    failing = "def f():\n    try:\n        root(-1)\n    except ValueError:\n        return 7\n"
    by_name = of_module("__main__", f"from math import sqrt as root\n{failing}")
    assert noted(by_name) == (["math.sqrt"], [])


@pytest.mark.parametrize("checker", ["__main__", "jaxtyping._decorator"])
def test_each_event_is_noted_for_what_it_is(checker):
    """As the interpreter tells of them: no debugger or coverage sees the calls that it makes."""
    calls = Calls(("banned", "math"), ("banned.book",))

    def tell(event, arg=None):
        calls.profile(inspect.currentframe().f_back, event, arg)
        return 7

    source = (
        "def f():\n    return tell('call')\n"
        "def book():\n    return tell('call')\n"
        "def quiet():\n    return tell('return') and tell('c_return', print)\n"
        "def other():\n    return tell('call')\n"
    )
    space = {"__name__": "banned", "tell": tell}
    exec(source, space)
    between = of_module(checker, "def f(g):\n    return g()\n")
    for name in ("f", "book", "quiet"):
        between(space[name])
    assert (calls.seen, calls.borrowed) == (["banned.f", "banned.book"], ["banned.book"])
    learner = of_module("__main__", "def f():\n    return tell('c_call', arg)\n", tell=tell)
    for arg in (math.sqrt, len, io.BytesIO(b"").read):
        learner.__globals__["arg"] = arg
        learner()
    assert calls.seen[2:] == ["math.sqrt"]


def test_nothing_is_noted_after_the_call():
    calls = Calls(BANNED)
    inner = of_module("banned", SEVEN)
    limited(of_module("__main__", CALLS, inner=inner), 10.0, calls)
    of_module("__main__", CALLS, inner=inner)()
    assert limited(of_module("__main__", CALLS, inner=inner), 10.0) == (7, None)
    assert (calls.seen, calls.borrowed) == (["banned.f"], [])


def test_a_call_is_made_in_a_thread_that_the_program_does_not_wait_for():
    (mine, daemon), error = limited(
        lambda: (threading.current_thread(), threading.current_thread().daemon), 10.0
    )
    assert error is None
    assert mine is not threading.current_thread()
    assert daemon


def test_settings_come_along_and_do_not_come_back():
    def sets():
        before = np.geterr()["divide"]
        np.seterr(divide="ignore")
        return before

    with np.errstate(divide="raise"):
        assert limited(sets, 10.0) == ("raise", None)
        assert np.geterr()["divide"] == "raise"


@pytest.mark.parametrize("catches", [ValueError, BaseException])
def test_what_is_stopped_goes_no_further(catches):
    """Whether it catches what it is stopped by or not."""
    beats = []

    def endless():
        while True:
            try:
                beats.append(1)
                time.sleep(0.001)
            except catches:
                continue

    start = time.monotonic()
    value, error = limited(endless, 0.05)
    assert value is None
    assert isinstance(error, TooSlowError)
    assert str(error) == "it was still running after 0.05 s"
    assert 0.05 <= time.monotonic() - start < 5
    after = len(beats)
    assert after > 0
    time.sleep(0.1)
    assert len(beats) == after


def test_a_wait_is_made_of_short_ones_and_ends_on_time(monkeypatch):
    """Short ones, since on some systems Ctrl-C comes through between them alone."""
    now, waits = [0.0], []

    class NeverOver:
        def wait(self, seconds):
            waits.append(seconds)
            now[0] += max(seconds, 0.001)

        def set(self):
            pass

        def is_set(self):
            return False

    clock = SimpleNamespace(monotonic=lambda: now[0], sleep=time.sleep)
    threads = SimpleNamespace(Event=NeverOver, Lock=threading.Lock, Thread=threading.Thread)
    monkeypatch.setattr("llama_edu.exercises.framework.limited.time", clock)
    monkeypatch.setattr("llama_edu.exercises.framework.limited.threading", threads)
    _, error = limited(lambda: 7, 0.12)
    assert isinstance(error, TooSlowError)
    assert waits[:3] == pytest.approx([0.05, 0.05, 0.02])
    assert set(waits[3:]) == {0.02}  # for what was told to end


def test_what_ends_in_time_is_not_waited_for():
    start = time.monotonic()
    assert limited(lambda: 7, 60.0) == (7, None)
    assert time.monotonic() - start < 5
    value, error = limited(lambda: 1 // 0, 60.0)
    assert value is None
    assert isinstance(error, ZeroDivisionError)


@pytest.mark.parametrize("error", [ValueError, SystemExit, GeneratorExit])
def test_without_a_limit_an_error_is_an_outcome_but_for_ctrl_c(error):
    def raises(kind):
        raise kind

    assert direct(lambda: 7) == (7, None)
    value, raised = direct(lambda: raises(error))
    assert value is None
    assert isinstance(raised, error)
    with pytest.raises(KeyboardInterrupt):
        direct(lambda: raises(KeyboardInterrupt))
