"""The server's numbers: each counted by hand, by a clock that goes when it is told to."""

from __future__ import annotations

import pytest
from tiny_served import tiny

from llama_edu.serve.http.metrics import Metrics
from llama_edu.serve.job import Limits, Request
from llama_edu.serve.scheduler import Scheduler

MODEL, TOKENIZER = tiny()
IDS = (5, 6, 7, 8, 9, 10)


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def numbers(metrics: Metrics) -> dict[str, float]:
    """What is not nothing, without the times at which a counter was made."""
    lines = [line.rsplit(" ", 1) for line in metrics.text().decode().splitlines()]
    return {
        name.removeprefix("llama_edu_"): float(value)
        for name, value in lines
        if name[:1] != "#" and "_created{" not in name and float(value)
    }


def test_every_number_is_what_happened() -> None:
    clock = Clock()
    one = Scheduler(MODEL, TOKENIZER, Limits(prefill_tokens=4), clock)
    metrics = Metrics({"tiny": one})
    first = one.submit(Request(IDS, 3, n=2))
    assert numbers(metrics) == {'waiting{model="tiny"}': 2}
    clock.now += 0.5
    metrics.observe_step("tiny", one.step(), 0.25)  # four of the six tokens of the prompt
    assert numbers(metrics)['live{model="tiny"}'] == 2
    clock.now += 0.5
    while first.ended is None:
        metrics.observe_step("tiny", one.step(), 0.25)
    second = one.submit(Request((*IDS, 11), 1))
    clock.now += 2.0
    metrics.observe_step("tiny", one.step(), 0.75)
    gone = one.submit(Request(IDS, 1))
    gone.cancel()
    metrics.observe_step("tiny", one.step(), 0.0)
    for status in (200, 200, 404):
        metrics.observe_answer("/v1/models/{model}", status)
    assert (second.reused, second.n_generated, first.n_generated) == (6, 1, 6)
    found = numbers(metrics)
    assert found.pop('prefix_bytes{model="tiny"}') == one.prefixes.nbytes
    assert {name: value for name, value in found.items() if "_bucket{" not in name} == {
        'tokens_total{kind="computed",model="tiny"}': 6 + 1,
        'tokens_total{kind="reused",model="tiny"}': 6,
        'tokens_total{kind="generated",model="tiny"}': 6 + 1,
        'choices_total{model="tiny",reason="length"}': 3,
        'choices_total{model="tiny",reason="cancelled"}': 1,
        'http_requests_total{route="/v1/models/{model}",status="200"}': 2,
        'http_requests_total{route="/v1/models/{model}",status="404"}': 1,
        # Two steps for the prompt, of which the second brought the first tokens; two for the rest.
        'step_seconds_count{model="tiny"}': 6,
        'step_seconds_sum{model="tiny"}': 4 * 0.25 + 0.75,
        'batch_rows_count{model="tiny"}': 5,
        'batch_rows_sum{model="tiny"}': 1 + 1 + 2 + 2 + 1,
        'queued_seconds_count{model="tiny"}': 2,
        'queued_seconds_sum{model="tiny"}': 0.5 + 2.0,
        'first_token_seconds_count{model="tiny"}': 2,
        'first_token_seconds_sum{model="tiny"}': 1.0 + 2.0,
        'job_seconds_count{model="tiny"}': 3,
        'job_seconds_sum{model="tiny"}': 1.0 + 2.0,
    }


@pytest.mark.parametrize(
    ("name", "edges"),
    [
        ("batch_rows", 7),
        ("step_seconds", 11),
        ("queued_seconds", 14),
        ("first_token_seconds", 14),
        ("job_seconds", 14),
    ],
)
def test_a_histogram_has_edges_of_its_own_and_all_beyond(name: str, edges: int) -> None:
    one = Scheduler(MODEL, TOKENIZER)
    metrics = Metrics({"tiny": one})
    one.submit(Request(IDS, 1))
    metrics.observe_step("tiny", one.step(), 0.1)
    start = f'llama_edu_{name}_bucket{{le="'
    found = [line for line in metrics.text().decode().splitlines() if line.startswith(start)]
    assert len(found) == edges + 1
    assert found[-1].startswith(f'{start}+Inf"')
