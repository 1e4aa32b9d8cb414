"""The server's numbers in Prometheus' text format, kept in a registry of their own."""

from collections.abc import Iterator, Mapping, Sequence

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from llama_edu.serve.scheduler import Scheduler, Step

__all__ = ["Metrics"]

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120)
STEP_SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1)
ROWS = (1, 2, 4, 8, 16, 32, 64)


class Metrics:
    """Counters and histograms. Safe to use from several threads."""

    def __init__(self, schedulers: Mapping[str, Scheduler]) -> None:
        """`schedulers` by the name of their model."""
        self.registry = CollectorRegistry()
        self.registry.register(_Gauges(schedulers))

        def counter(name: str, text: str, *labels: str) -> Counter:
            return Counter(f"llama_edu_{name}", text, labels, registry=self.registry)

        def histogram(name: str, text: str, buckets: Sequence[float | int]) -> Histogram:
            return Histogram(
                f"llama_edu_{name}", text, ["model"], buckets=buckets, registry=self.registry
            )

        self._requests = counter("http_requests", "Answers.", "route", "status")
        self._tokens = counter("tokens", "Tokens of jobs that ended.", "model", "kind")
        self._ends = counter("choices", "Choices that ended.", "model", "reason")
        self._step = histogram("step_seconds", "One step of the model.", STEP_SECONDS)
        self._rows = histogram("batch_rows", "Sequences in a step.", ROWS)
        self._queued = histogram("queued_seconds", "From arrival to the first step.", SECONDS)
        self._first = histogram("first_token_seconds", "From arrival to the first token.", SECONDS)
        self._whole = histogram("job_seconds", "From arrival to the last token.", SECONDS)

    def observe_answer(self, route: str, status: int) -> None:
        """An HTTP answer. `route` is one of ours, never an address as it was asked for."""
        self._requests.labels(route, str(status)).inc()

    def observe_step(self, model: str, step: Step, seconds: float) -> None:
        """A step, and the jobs that ended in it."""
        self._step.labels(model).observe(seconds)
        if step.n_sequences:
            self._rows.labels(model).observe(step.n_sequences)
        for job in step.ended:
            computed = len(job.request.token_ids) - job.reused if job.first_token is not None else 0
            for kind, count in (
                ("reused", job.reused),
                ("computed", computed),
                ("generated", job.n_generated),
            ):
                self._tokens.labels(model, kind).inc(count)
            for choice in job.choices:
                self._ends.labels(model, choice.reason).inc()
            for histogram, end in (
                (self._queued, job.started),
                (self._first, job.first_token),
                (self._whole, job.ended),
            ):
                if end is not None:
                    histogram.labels(model).observe(end - job.submitted)

    def text(self) -> bytes:
        """All of it, as Prometheus reads it."""
        return generate_latest(self.registry)


class _Gauges(Collector):
    """What can be read off the schedulers at the moment somebody asks."""

    def __init__(self, schedulers: Mapping[str, Scheduler]) -> None:
        self._schedulers = schedulers

    def collect(self) -> Iterator[Metric]:
        gauges = {
            "live": GaugeMetricFamily("llama_edu_live", "Sequences that grow.", labels=["model"]),
            "waiting": GaugeMetricFamily(
                "llama_edu_waiting", "Sequences queued.", labels=["model"]
            ),
            "prefix": GaugeMetricFamily(
                "llama_edu_prefix_bytes", "Keys and values kept.", labels=["model"]
            ),
        }
        for name, scheduler in self._schedulers.items():
            gauges["live"].add_metric([name], scheduler.n_running)
            gauges["waiting"].add_metric([name], scheduler.n_waiting)
            gauges["prefix"].add_metric([name], scheduler.prefixes.nbytes)
        yield from gauges.values()
