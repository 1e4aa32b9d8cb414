"""Whatever a learner's function does, judging it ends with an outcome, and soon."""

import functools
import signal
import sys
import threading
import time

import numpy as np
import pytest

from llama_edu.exercises.framework.answer import (
    LONGEST_ERROR,
    TooSlowError,
    called,
    error_text,
    function_of,
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


def test_an_error_names_the_learners_line():
    text = error_text(outcome(fails_below, 3).error, fails_below)
    number = helper.__code__.co_firstlineno + 1
    assert text == f'ValueError: deeper\n  in your line {number}: raise ValueError("deeper")'
    source = "def mine(x):\n    return len(x)\n"  # no file and no cell: the number alone
    space = {}
    exec(compile(source, "<typed>", "exec"), space)
    assert error_text(outcome(space["mine"], 3).error, space["mine"]).endswith("in your line 2")
    # The lines of a library say nothing about an answer that is a library's function.
    text = error_text(outcome(np.linalg.inv, np.ones(3)).error, functools.partial(len))
    assert "line" not in text


def test_ctrl_c_is_no_answer():
    def pressed(x):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        outcome(pressed, 3)


def spins(x):
    while True:
        x += 1


@pytest.mark.parametrize("function", [spins, lambda x: time.sleep(60)], ids=["spins", "sleeps"])
def test_a_function_that_does_not_end_is_stopped(function):
    start = time.monotonic()
    found = outcome(function, 3, seconds=0.2)
    assert time.monotonic() - start < 20
    assert isinstance(found.error, TooSlowError)
    assert str(found.error) == "it was still running after 0.2 s"
    # And the clock is off again: nothing comes later.
    assert outcome(lambda x: time.sleep(0.4) or x, 3).value == 3


def test_without_a_clock_a_function_runs_as_it_does():
    found = []
    thread = threading.Thread(target=lambda: found.append(outcome(lambda x: x, 3, seconds=0.01)))
    thread.start()
    thread.join()
    assert found[0].value == 3
    handler = signal.signal(signal.SIGINT, lambda *_: None)
    try:
        found = outcome(lambda x: time.sleep(0.1) or x, 3, seconds=0.01)
        assert found.value == 3
    finally:
        signal.signal(signal.SIGINT, handler)


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
