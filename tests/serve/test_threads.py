"""How many threads NumPy's products get: as many as cores are free, one for a small model."""

import os
import subprocess
import sys
import time
import types

import pytest
import threadpoolctl  # type: ignore[import-untyped]

from llama_edu.ops.threads import VARIABLES, helper
from llama_edu.serve.threads import LOOK_SECONDS, SMALL_NBYTES, BlasThreads, busy_elsewhere

LARGE = SMALL_NBYTES + 1


@pytest.fixture(autouse=True)
def no_number_in_the_environment(monkeypatch):
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)


class Machine:
    """A clock, and the work of other processes, that only move when they are told to."""

    def __init__(self):
        self.now = self.work = 0.0

    def pass_time(self, seconds, busy_cores):
        self.now += seconds
        self.work += seconds * busy_cores

    def threads(self, **options):
        return BlasThreads(elsewhere=lambda: self.work, clock=lambda: self.now, **options)


@pytest.mark.parametrize(
    ("most", "n_all", "busy_cores", "wanted"),
    [
        (2, 2, 0.0, 2),
        (2, 2, 0.2, 2),
        (2, 2, 1.0, 1),
        (2, 2, 2.0, 1),
        (8, 8, 3.0, 5),
        (8, 8, 3.5, 4),
        (2, 8, 3.0, 2),
        (2, 8, 7.0, 1),
    ],
)
def test_a_large_model_gets_what_is_free(most, n_all, busy_cores, wanted):
    machine = Machine()
    threads = machine.threads(most=most, n_all=n_all)
    machine.pass_time(LOOK_SECONDS, busy_cores)
    assert threads.wanted(LARGE) == wanted
    assert threads.wanted(SMALL_NBYTES) == 1


def test_it_follows_what_goes_on():
    machine = Machine()
    threads = machine.threads(most=4, n_all=4)
    seen = []
    for busy_cores in (0, 3, 3, 1, 0):
        machine.pass_time(LOOK_SECONDS, busy_cores)
        seen.append(threads.wanted(LARGE))
    assert seen == [4, 1, 1, 3, 4]


def test_it_does_not_look_at_every_step():
    machine = Machine()
    threads = machine.threads(most=4, n_all=4)
    machine.pass_time(LOOK_SECONDS * 0.9, 4)
    assert threads.wanted(LARGE) == 4


def test_a_fixed_number_is_fixed(monkeypatch):
    machine = Machine()
    assert machine.threads(fixed=3, most=8).wanted(SMALL_NBYTES) == 3
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", "2")
    threads = machine.threads(most=8)
    machine.pass_time(LOOK_SECONDS, 8)
    assert threads.wanted(LARGE) == 2
    assert machine.threads(fixed=3, most=8).wanted(LARGE) == 3


NUMBERS = """
import numpy, threadpoolctl
from llama_edu.serve.threads import BlasThreads
for number in (2, 1, 2):
    BlasThreads(number).set_for(0)
    pools = [one for one in threadpoolctl.threadpool_info() if one["user_api"] == "blas"]
    print([pool["num_threads"] for pool in pools])
"""


def test_numpy_uses_that_many():
    """In a process of its own, where nothing else sets the number."""
    if not threadpoolctl.ThreadpoolController().select(user_api="blas").lib_controllers:
        pytest.skip("this NumPy's products cannot be told how many threads to use")
    done = subprocess.run(
        [sys.executable, "-c", NUMBERS], capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["[2]", "[1]", "[2]"]


def test_what_others_take_is_measured_from_the_last_look_on():
    """Half a core for others is not seen as one; less than nothing is nothing."""
    machine = Machine()
    machine.now, machine.work = 1000.0, 500.0
    threads = machine.threads(most=4, n_all=4)
    for seconds, busy_cores, wanted in ((2.0, 1.5, 2), (4.0, 0.0, 4), (2.0, -3.0, 4), (8.0, 3, 1)):
        machine.pass_time(seconds, busy_cores)
        assert threads.wanted(LARGE) == wanted
    machine.pass_time(LOOK_SECONDS / 2, 0)
    assert threads.wanted(LARGE) == 1, "it is looked at again when its time has come"


def test_cores_are_those_of_this_process_and_of_a_machine_that_does_not_say_its_own(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 2, 5}, raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 8)
    machine = Machine()
    threads = machine.threads()
    machine.pass_time(1.0, 4.0)
    assert threads.wanted(LARGE) == 3, "of eight, four are free"
    machine.pass_time(1.0, 6.0)
    assert threads.wanted(LARGE) == 2
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert machine.threads().wanted(LARGE) == 1
    assert machine.threads(most=4).wanted(LARGE) == 4, "there are at least those we may use"


@pytest.mark.parametrize(("nice", "seconds"), [({}, 107.0), ({"nice": 5.0}, 112.0)])
def test_what_others_have_taken_is_all_work_but_ours(monkeypatch, nice, seconds):
    times = types.SimpleNamespace(user=100.0, system=10.0, idle=1000.0, **nice)
    monkeypatch.setattr("psutil.cpu_times", lambda: times)
    monkeypatch.setattr(time, "process_time", lambda: 3.0)
    assert busy_elsewhere() == seconds


@pytest.mark.parametrize("name", VARIABLES)
def test_a_number_in_the_environment_is_one_if_it_is_a_number(monkeypatch, name):
    monkeypatch.setenv(name, "many")
    assert Machine().threads(most=3).wanted(LARGE) == 3
    monkeypatch.setenv(name, "2")
    assert Machine().threads(most=3).wanted(LARGE) == 2
    monkeypatch.setenv(VARIABLES[0], "5")
    assert Machine().threads(most=3).wanted(LARGE) == 5, "the first of them counts"


def test_numpy_is_told_only_what_is_new(monkeypatch):
    told = []
    machine = Machine()
    threads = machine.threads(most=4, n_all=4)
    monkeypatch.setattr(helper, "threads", 0)
    monkeypatch.setattr(threads._controller, "limit", lambda **given: told.append(given))
    for nbytes in (LARGE, LARGE, SMALL_NBYTES, 0, LARGE):
        threads.set_for(nbytes)
        assert helper.threads == told[-1]["limits"], "nor do our own products take more"
    assert told == [{"limits": number, "user_api": "blas"} for number in (4, 1, 4)]


def test_what_is_measured_is_there():
    before = busy_elsewhere()
    sum(range(2_000_000))  # our own work is none of others'
    assert busy_elsewhere() >= before - 0.5
