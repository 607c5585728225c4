"""Counters as Prometheus reads them, from what the services report. Needs the extra `metrics`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from onward.errors import MissingExtraError


@dataclass(frozen=True, slots=True)
class Metric:
    """A metric of the table in the docs: `field` is where its value is in a service's state."""

    name: str
    kind: str
    help: str
    field: str


METRICS = (
    Metric("onward_events_handled_total", "counter", "Handler calls whose effects are durable.", "handled"),
    Metric("onward_dead_letters_total", "counter", "Events that a handler gave up.", "dead"),
    Metric("onward_restarts_total", "counter", "Processes that were replaced.", "restarts"),
    Metric("onward_lag_events", "gauge", "Events that wait to be handled, on the partitions held.", "lag"),
)


def render(states: Sequence[Mapping[str, Any]]) -> bytes:
    """The text format. Raises MissingExtraError without prometheus-client."""
    try:
        from prometheus_client import CollectorRegistry, generate_latest
        from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
        from prometheus_client.registry import Collector
    except ImportError as error:
        raise MissingExtraError("Metrics need the extra `metrics`: pip install 'onward[metrics]'.") from error

    class Services(Collector):
        def collect(self) -> Iterable[CounterMetricFamily | GaugeMetricFamily]:
            for metric in METRICS:
                family = CounterMetricFamily if metric.kind == "counter" else GaugeMetricFamily
                found = family(metric.name, metric.help, labels=["service"])
                for state in states:
                    found.add_metric([state["name"]], state[metric.field])
                yield found

    registry = CollectorRegistry()
    registry.register(Services())
    return generate_latest(registry)
