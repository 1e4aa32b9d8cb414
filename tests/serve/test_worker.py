"""The thread that steps: it answers, stops in time, and a fault does not leave anyone waiting."""

import math
import threading
import time
import types

import pytest
from tiny_served import tiny

from llama_edu import Llama
from llama_edu.errors import ServeError
from llama_edu.serve.job import Failed, Finished, Limits, Request
from llama_edu.serve.scheduler import Scheduler
from llama_edu.serve.worker import Worker

MODEL, TOKENIZER = tiny()
PATIENCE_S = 120.0  # a loaded machine is slow, not wrong


class Office:
    """A worker, its post, and what it complained about."""

    def __init__(self, **limits):
        self.events, self.complaints = [], []
        self.news = threading.Condition()
        self.scheduler = Scheduler(MODEL, TOKENIZER, Limits(**limits))
        self.worker = Worker(self.scheduler, self._report, self.complaints.append)
        self._step, self._steps_left = self.scheduler.step, math.inf
        self._stands, self._go_on = threading.Event(), threading.Event()
        self.scheduler.step = self._held_step

    def hold(self, steps):
        """Make the worker stand still after so many more steps, until `go_on`."""
        self._steps_left = steps

    def wait_until_it_stands(self):
        assert self._stands.wait(PATIENCE_S), "it goes on"

    def go_on(self):
        self._go_on.set()

    def _held_step(self):
        if self._steps_left <= 0:
            self._stands.set()
            assert self._go_on.wait(PATIENCE_S), "nobody said to go on"
        self._steps_left -= 1
        return self._step()

    def _report(self, step, seconds):
        assert seconds >= 0
        with self.news:
            self.events += step.events
            self.news.notify()

    def last_event(self, job):
        def last():
            mine = [event for choice, event in self.events if choice.job is job]
            return mine[-1] if mine and isinstance(mine[-1], Finished | Failed) else None

        with self.news:
            assert self.news.wait_for(last, PATIENCE_S), "no last event came"
            return last()


@pytest.fixture
def office():
    made = Office()
    made.worker.start()
    yield made
    made.go_on()
    made.worker.stop(grace=0.0)
    made.worker.join()
    assert not made.worker.is_running


def request(new=5):
    return Request((5, 6, 7), new)


def test_jobs_are_done_without_anyone_stepping(office):
    jobs = [office.worker.submit(request()) for _ in range(3)]
    assert [type(office.last_event(job)) for job in jobs] == [Finished] * 3
    assert [job.n_generated for job in jobs] == [5, 5, 5]


def test_a_cancelled_job_ends_and_the_next_is_served(office):
    office.hold(3)
    job = office.worker.submit(request(200))
    office.wait_until_it_stands()
    office.worker.cancel(job)
    office.go_on()
    assert office.last_event(office.worker.submit(request())) == Finished("length")
    assert job.ended is not None
    assert 0 < job.n_generated < 200


def test_stopping_finishes_what_runs_and_takes_nothing_new(office):
    job = office.worker.submit(request(30))
    office.worker.stop(grace=PATIENCE_S)
    with pytest.raises(ServeError, match="one that stops") as seen:
        office.worker.submit(request())
    assert seen.value.code == "shutting_down"
    assert office.last_event(job) == Finished("length")
    office.worker.join()


def test_stopping_ends_what_does_not_finish_in_time(office):
    office.hold(3)
    job = office.worker.submit(request(250))
    office.wait_until_it_stands()
    office.worker.stop(grace=0.0)
    office.go_on()
    last = office.last_event(job)
    assert isinstance(last, Failed)
    assert getattr(last.problem, "code", "") == "shutting_down"
    office.worker.join()


def test_a_fault_of_ours_ends_the_jobs_and_not_the_worker(office, monkeypatch):
    def fault(*_, **__):
        raise RuntimeError("a bug")

    with monkeypatch.context() as patched:
        patched.setattr(Llama, "forward_chunks", fault)
        last = office.last_event(office.worker.submit(request()))
    assert getattr(last.problem, "code", "") == "internal"
    assert [str(problem) for problem in office.complaints] == ["a bug"]
    assert office.last_event(office.worker.submit(request())) == Finished("length")


def test_an_idle_worker_sleeps(office):
    office.last_event(office.worker.submit(request()))
    used = time.process_time()
    time.sleep(0.3)
    assert time.process_time() - used < 0.2


def test_every_step_is_prepared_and_timed_and_nothing_keeps_a_process_alive(monkeypatch):
    steps, prepared = [], []

    def prepare():
        prepared.append((len(steps), threading.current_thread()))

    one = Scheduler(MODEL, TOKENIZER)
    worker = Worker(one, lambda *told: steps.append(told), [].append, "tiny", prepare)
    now = iter(range(0, 1000, 7))
    clock = types.SimpleNamespace(perf_counter=lambda: next(now), monotonic=time.monotonic)
    monkeypatch.setattr("llama_edu.serve.worker.time", clock)
    assert not worker.is_running
    one.submit(request(3))
    worker.start()
    worker.stop(grace=PATIENCE_S)
    worker.join()
    assert [seconds for _, seconds in steps] == [7, 7, 7]
    assert [number for number, _ in prepared] == [0, 1, 2]
    (thread,) = {thread for _, thread in prepared}
    assert (thread.name, thread.daemon) == ("llama_edu tiny", True)
    assert not worker.is_running


def test_a_preparation_that_fails_is_a_fault_of_ours_too():
    complaints, ends = [], []

    def broken():
        raise RuntimeError("no threads")

    one = Scheduler(MODEL, TOKENIZER)
    worker = Worker(one, lambda step, _: ends.extend(step.events), complaints.append, "x", broken)
    one.submit(request(3))
    worker.start()
    worker.stop(grace=PATIENCE_S)
    worker.join()
    assert [event.problem.code for _, event in ends] == ["internal"]
    assert [str(problem) for problem in complaints] == ["no threads"]
