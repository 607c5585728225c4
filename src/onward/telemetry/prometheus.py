"""Counters as Prometheus reads them, from what the services report. Needs the extra `metrics`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

from onward.errors import MissingExtraError
from onward.telemetry.meter import BATCH_SECONDS

State = Mapping[str, Any]
Samples = Callable[[State], Iterator[tuple[tuple[str, ...], float]]]


@dataclass(frozen=True, slots=True)
class Metric:
    """A metric of the table in the docs. `samples` gives, for a service, values beside labels after the first.

    A histogram has no samples of its own: its buckets are read from `batch_counts` and `batch_seconds`.
    """

    name: str
    kind: str
    labels: tuple[str, ...]
    help: str
    samples: Samples


def _by_handler(counter: str) -> Samples:
    def samples(state: State) -> Iterator[tuple[tuple[str, ...], float]]:
        for handler, count in sorted(state["counts"].get(counter, {}).items()):
            yield (handler,), count

    return samples


def _one(value: Callable[[State], float]) -> Samples:
    def samples(state: State) -> Iterator[tuple[tuple[str, ...], float]]:
        yield (), value(state)

    return samples


def _by_topic(gauge: str) -> Samples:
    def samples(state: State) -> Iterator[tuple[tuple[str, ...], float]]:
        for topic, count in sorted(state[gauge].items()):
            yield (topic,), count

    return samples


def _of_outbox(value: str) -> Samples:
    def samples(state: State) -> Iterator[tuple[tuple[str, ...], float]]:
        if state["outbox"] is not None:
            yield (), state["outbox"][value]

    return samples


METRICS = (
    Metric(
        "onward_events_handled_total",
        "counter",
        ("service", "handler"),
        "Handler calls whose effects are durable.",
        _by_handler("handled"),
    ),
    Metric(
        "onward_retries_total",
        "counter",
        ("service", "handler"),
        "Failed attempts that are followed by another.",
        _by_handler("retries"),
    ),
    Metric(
        "onward_dead_letters_total",
        "counter",
        ("service", "handler"),
        "Events that a handler gave up; the handler is empty where none was chosen yet.",
        _by_handler("dead"),
    ),
    Metric(
        "onward_parked_total",
        "counter",
        ("service", "handler"),
        "Events that were parked behind a dead letter of their key.",
        _by_handler("parked"),
    ),
    Metric(
        "onward_published_total",
        "counter",
        ("service",),
        "Events that handlers published, durably.",
        _one(lambda state: state["counts"].get("published", 0)),
    ),
    Metric(
        "onward_batch_seconds",
        "histogram",
        ("service",),
        "Seconds from taking a batch to its commit.",
        lambda _: iter(()),
    ),
    Metric(
        "onward_lag_events",
        "gauge",
        ("service", "topic"),
        "Events that wait to be handled, looked at every second.",
        _by_topic("lags"),
    ),
    Metric(
        "onward_delayed_events",
        "gauge",
        ("service", "topic"),
        "Delayed events that are to come to a topic that the service reads, looked at every second.",
        _by_topic("delayed"),
    ),
    Metric(
        "onward_outbox_age_seconds",
        "gauge",
        ("service",),
        "How long the oldest event in the service's outbox has waited to leave; 0 where none does.",
        _of_outbox("age_s"),
    ),
    Metric(
        "onward_outbox_led",
        "gauge",
        ("service",),
        "1 while a relay leads at the service's outbox, in whichever process, else 0.",
        _of_outbox("led"),
    ),
    Metric(
        "onward_restarts_total",
        "counter",
        ("service",),
        "Processes that were replaced.",
        _one(lambda state: state["restarts"]),
    ),
    Metric(
        "onward_ready",
        "gauge",
        ("service",),
        "1 when the service does its work, else 0; /ready says why.",
        _one(lambda state: state["state"] == "running"),
    ),
)
"""Every metric there is: what is collected, and the table in the docs."""


def render(states: Sequence[State]) -> bytes:
    """The text format. Raises MissingExtraError without prometheus-client."""
    try:
        from prometheus_client import CollectorRegistry, generate_latest
        from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
        from prometheus_client.metrics_core import Metric as Family
        from prometheus_client.registry import Collector
    except ImportError as error:
        raise MissingExtraError("Metrics need the extra `metrics`: pip install 'onward[metrics]'.") from error

    class Services(Collector):
        def collect(self) -> Iterable[Family]:
            for metric in METRICS:
                if metric.kind == "histogram":
                    histogram = HistogramMetricFamily(metric.name, metric.help, labels=metric.labels)
                    for state in states:
                        histogram.add_metric([state["name"]], *_buckets(state))
                    yield histogram
                    continue
                kind = CounterMetricFamily if metric.kind == "counter" else GaugeMetricFamily
                family = kind(metric.name, metric.help, labels=metric.labels)
                for state in states:
                    for labels, value in metric.samples(state):
                        family.add_metric([state["name"], *labels], value)
                yield family

    registry = CollectorRegistry()
    registry.register(Services())
    return generate_latest(registry)


def _buckets(state: State) -> tuple[list[tuple[str, float]], float]:
    """Cumulative counts by upper bound, and the sum of seconds, as the text format wants them."""
    bounds = [*map(str, BATCH_SECONDS), "+Inf"]
    counts = state["counts"].get("batch_counts") or [0] * len(bounds)
    return list(zip(bounds, accumulate(counts), strict=True)), state["counts"].get("batch_seconds", 0.0)
