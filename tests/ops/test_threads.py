"""A second thread for products: when it works, and that nothing is lost if it cannot."""

import os
import subprocess
import sys
import threading

import pytest

from llama_edu.ops.threads import VARIABLES, Helper, fixed_threads, n_cores


def names(helper):
    """The names of the threads that did the two parts."""
    done = {}

    def part(which):
        return lambda: done.update({which: threading.current_thread().name})

    helper.share(part("ours"), part("theirs"))
    return done["ours"], done["theirs"]


def test_each_part_has_a_thread_of_its_own():
    helper = Helper(2)
    here = threading.current_thread().name
    assert names(helper) == (here, "llama_edu product_0")
    assert names(helper) == (here, "llama_edu product_0"), "the same one again"


def test_with_one_thread_nothing_is_shared():
    here = threading.current_thread().name
    assert names(Helper(1)) == (here, here)


def test_both_parts_are_done_at_the_same_time():
    both = threading.Barrier(2, timeout=30)
    Helper(2).share(both.wait, both.wait)


def test_whoever_comes_while_it_works_does_both_parts():
    helper = Helper(2)
    begun, done = threading.Event(), threading.Event()

    def theirs():
        begun.set()
        assert done.wait(30)

    first = threading.Thread(target=lambda: helper.share(lambda: None, theirs))
    first.start()
    assert begun.wait(30)
    here = threading.current_thread().name
    assert names(helper) == (here, here)
    done.set()
    first.join(30)
    assert names(helper) == (here, "llama_edu product_0")


@pytest.mark.parametrize("which", ["ours", "theirs"])
def test_what_a_part_raises_arrives_and_the_next_goes_on(which):
    helper = Helper(2)

    def fail():
        raise ZeroDivisionError(which)

    parts = {"ours": lambda: None, "theirs": lambda: None, which: fail}
    with pytest.raises(ZeroDivisionError, match=which):
        helper.share(parts["ours"], parts["theirs"])
    assert names(helper)[1] == "llama_edu product_0"


ENDING = """
import atexit
from llama_edu.ops.threads import Helper
helper = Helper(2)
helper.share(lambda: print("ours"), lambda: None)
atexit.register(lambda: helper.share(lambda: print("late"), lambda: print("later")))
"""


def test_a_product_while_the_interpreter_ends_is_made_on_one_thread():
    run = [sys.executable, "-W", "error", "-c", ENDING]
    result = subprocess.run(run, capture_output=True, text=True, timeout=60)
    assert (result.stdout.split(), result.stderr) == (["ours", "late", "later"], "")


def test_where_no_thread_may_be_started_it_is_not_asked_again(monkeypatch):
    helper, asked = Helper(2), []

    def start(self):
        asked.append(self)
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", start)
    here = threading.current_thread().name
    assert names(helper) == names(helper) == (here, here)
    assert len(asked) == 1


FORKED = """
import os, threading
from llama_edu.ops.threads import Helper
helper, names = Helper(2), []
note = lambda: names.append(threading.current_thread().name)
helper.share(lambda: None, note)
if os.fork():
    raise SystemExit(os.waitstatus_to_exitcode(os.wait()[1]))
helper.share(lambda: None, note)
os._exit(names != ["llama_edu product_0"] * 2)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="nothing forks here")
def test_a_forked_process_has_a_helper_of_its_own():
    subprocess.run([sys.executable, "-c", FORKED], check=True, timeout=60)


def test_cores_are_those_of_this_process_or_of_a_machine_that_does_not_say_its_own(monkeypatch):
    assert n_cores() >= 1
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 2, 5}, raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 8)
    assert n_cores() == 3
    monkeypatch.delattr(os, "sched_getaffinity")
    assert n_cores() == 8
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert n_cores() == 1


def test_as_many_threads_as_the_environment_says_or_as_there_are_cores(monkeypatch):
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    assert fixed_threads() is None
    assert Helper().threads == n_cores()
    monkeypatch.setenv(VARIABLES[-1], "0")
    assert Helper().threads == n_cores()
    monkeypatch.setenv(VARIABLES[-1], "5")
    assert fixed_threads() == 5
    assert Helper().threads == 5
    assert Helper(3).threads == 3
