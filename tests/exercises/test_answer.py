"""Whatever a learner's function does, judging it ends with an outcome, and soon."""

import codecs
import functools
import sys
import threading
import time

import numpy as np
import pytest

from llama_edu.exercises.framework.answer import (
    LONGEST_ERROR,
    Calls,
    TooSlowError,
    called,
    error_text,
    function_of,
    is_of_the_package,
    plain_call,
)


def outcome(function, *args, seconds=10.0):
    return called(function, args, plain_call, seconds)


class WordlessError(Exception):
    def __str__(self):
        raise RuntimeError("no words for this")


def fails_below(x):
    half = x / 2
    return helper(half)


def helper(x):
    raise ValueError("deeper")


@pytest.mark.parametrize(
    ("function", "text"),
    [
        (lambda x: 1 / 0, "ZeroDivisionError: division by zero"),
        (lambda x: sys.exit(), "SystemExit"),
        (lambda x: sys.exit("enough"), "SystemExit: enough"),
        (lambda x: (_ for _ in ()).throw(GeneratorExit), "GeneratorExit"),
        (lambda x: (_ for _ in ()).throw(ValueError), "ValueError"),
        (lambda x: (_ for _ in ()).throw(ValueError("")), "ValueError"),
        (lambda x: (_ for _ in ()).throw(WordlessError), "WordlessError"),
    ],
)
def test_every_way_to_fail_is_an_outcome(function, text):
    found = outcome(function, 3)
    assert found.value is None
    assert error_text(found.error, function).splitlines()[0] == text


def test_the_text_of_an_error_is_short():
    def long(x):
        raise ValueError("a" * 100_000)

    text = error_text(outcome(long, 3).error, long)
    assert text.startswith("ValueError: aaaa")
    assert len(text.splitlines()[0]) == len("ValueError: ") + LONGEST_ERROR
    just, more = (error_text(ValueError("a" * n), len) for n in (LONGEST_ERROR, LONGEST_ERROR + 1))
    assert just == "ValueError: " + "a" * LONGEST_ERROR
    assert more == "ValueError: " + "a" * (LONGEST_ERROR - 1) + "…"
    assert LONGEST_ERROR == 200


def test_an_error_names_the_learners_line():
    text = error_text(outcome(fails_below, 3).error, fails_below)
    number = helper.__code__.co_firstlineno + 1
    assert text == f'ValueError: deeper\n  in your line {number}: raise ValueError("deeper")'
    source = "def mine(x):\n    return len(x)\n"  # no file and no cell: the number alone
    space = {}
    exec(compile(source, "<typed>", "exec"), space)
    assert error_text(outcome(space["mine"], 3).error, space["mine"]).endswith("in your line 2")
    for other in ("<another>", "<zero>"):  # wherever what it calls is kept
        exec(compile("\n\ndef below(x):\n    return len(x)\n", other, "exec"), space)
        exec(compile("def mine(x):\n    return below(x)\n", "<typed>", "exec"), space)
        assert error_text(outcome(space["mine"], 3).error, space["mine"]).endswith("in your line 2")
    # The lines of a library say nothing about an answer that is a library's function.
    text = error_text(outcome(np.linalg.inv, np.ones(3)).error, functools.partial(len))
    assert "line" not in text


def test_ctrl_c_is_no_answer(monkeypatch):
    """The learner's own `raise` is an outcome; what is pressed while waiting comes through."""

    def raised(x):
        raise KeyboardInterrupt

    assert isinstance(outcome(raised, 3).error, KeyboardInterrupt)
    ended = threading.Event()

    def long(x):
        try:
            time.sleep(0.2)
            while True:
                x += 1
        finally:
            ended.set()

    def pressed(run, seconds):
        raise KeyboardInterrupt

    monkeypatch.setattr("llama_edu.exercises.framework.limited._Run.wait", pressed)
    with pytest.raises(KeyboardInterrupt):
        outcome(long, 3)
    assert ended.wait(10)  # and what ran does not run on


def spins(x):
    while True:
        x += 1


def catches_all(x):
    while True:
        try:
            time.sleep(0.001)
            sum(range(100))
        except:  # noqa: E722  the point of it
            pass


def catches_twice(x):
    while True:
        try:
            catches_all(x)
        except BaseException:
            continue


ENDLESS = [spins, catches_all, catches_twice, lambda x: time.sleep(3)]


@pytest.mark.parametrize("function", ENDLESS, ids=["spins", "catches", "twice", "sleeps"])
@pytest.mark.parametrize("in_thread", [False, True], ids=["main", "thread"])
def test_a_function_that_does_not_end_is_stopped(function, in_thread):
    found = []

    def judge():
        found.append(outcome(function, 3, seconds=0.1))

    start = time.monotonic()
    if in_thread:
        thread = threading.Thread(target=judge)
        thread.start()
        thread.join()
    else:
        judge()
    assert time.monotonic() - start < 10
    assert isinstance(found[0].error, TooSlowError)
    assert str(found[0].error) == "it was still running after 0.1 s"
    before = time.process_time()
    time.sleep(0.2)
    assert time.process_time() - before < 0.15  # nothing runs on
    # And the clock is off again: nothing comes later.
    assert outcome(lambda x: time.sleep(0.15) or x, 3).value == 3


def endless_recursion(x):
    return endless_recursion(x) + 1


def test_no_recursion_is_deep_enough():
    assert isinstance(outcome(endless_recursion, 3).error, RecursionError)


def test_settings_of_the_notebook_hold_in_the_answer():
    with np.errstate(divide="raise"):
        error = outcome(lambda x: np.float32(1) / np.float32(0), 3).error
    assert isinstance(error, FloatingPointError)


def test_forbidden_modules_are_seen():
    def by_codecs(data):
        return codecs.getincrementaldecoder("utf-8")().decode(data)

    def by_hand(data):
        return data.decode("utf-8", "replace")

    found = called(by_codecs, (b"a",), plain_call, 10.0, Calls(("codecs", "_codecs")))
    assert (found.value, found.calls[0]) == ("a", "codecs.getincrementaldecoder")
    assert called(by_hand, (b"a",), plain_call, 10.0, Calls(("codecs", "_codecs"))).calls == []


def test_arguments_are_copies_and_changes_are_seen():
    def changes(a, b, c):
        a[0], c["x"] = 9, 1
        return b

    args = (np.arange(3), [1], {})
    found = called(changes, args, plain_call, 10.0)
    assert found.touched == [0, 2]
    assert found.value == [1]
    assert args[0][0] == 0
    assert args[2] == {}


def test_a_harness_runs_the_answer():
    def twice(answer, x):
        return [answer(x), answer(x + 1)]

    assert called(lambda x: x * 2, (3,), twice, 10.0).value == [6, 8]


class Callable:
    def __call__(self, x):
        return x

    def method(self, x):
        return x


def test_the_function_behind_an_answer_is_found():
    def plain(x):
        return x

    @functools.wraps(plain)
    def wrapped(x):
        return plain(x)

    assert function_of(plain) is plain
    assert function_of(wrapped) is plain
    assert function_of(functools.partial(functools.partial(plain), 3)) is plain
    assert function_of(Callable().method) is Callable.method
    assert function_of(Callable()) is Callable.__call__
    assert function_of(len) is len
    plain.__wrapped__ = plain  # wrapped in a circle
    assert function_of(plain) is plain


@pytest.mark.parametrize(
    ("module", "is_ours"),
    [
        ("llama_edu", True),
        ("llama_edu.ops.norm", True),
        ("llama_edu_mine", False),
        ("mine.llama_edu", False),
        ("", False),
        (None, False),
    ],
)
def test_a_function_is_the_packages_by_its_module(module, is_ours):
    def answer(x):
        return 1 / 0

    answer.__module__ = module
    assert is_of_the_package(answer) is is_ours
    assert is_of_the_package(functools.partial(answer, 3)) is is_ours
    error = outcome(answer, 3, seconds=10.0).error
    assert ("in your line" in error_text(error, answer)) is not is_ours


def test_only_a_learners_function_has_a_limit():
    """The package's own run where they are called, and nothing notes what they call."""
    threads = []

    def answer(x):
        threads.append(threading.current_thread())
        return codecs.lookup("utf-8").name

    calls = Calls(("codecs", "_codecs"))
    assert called(answer, (3,), plain_call, 10.0, calls).calls == ["codecs.lookup"]
    answer.__module__ = "llama_edu.ops"
    calls = Calls(("codecs", "_codecs"))
    found = called(answer, (3,), plain_call, 10.0, calls)
    assert (found.value, found.calls, found.borrowed) == ("utf-8", [], [])
    assert threads[0] is not threading.current_thread()
    assert threads[1] is threading.current_thread()


def test_what_runs_on_has_changed_nothing_yet():
    def changes_and_spins(x):
        x[0] = 9
        spins(1)

    found = outcome(changes_and_spins, [1], seconds=0.1)
    assert isinstance(found.error, TooSlowError)
    assert (found.touched, found.calls, found.borrowed) == ([], [], [])

    def changes_and_fails(x):
        x[0] = 9
        raise ValueError

    assert outcome(changes_and_fails, [1]).touched == [0]


def test_an_error_of_other_code_names_no_line():
    assert error_text(ValueError("no"), fails_below) == "ValueError: no"
