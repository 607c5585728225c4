import sys
from pathlib import Path
from typing import Any

import pytest

from onward.errors import MissingExtraError
from onward.telemetry.prometheus import METRICS, render

DOCS = Path(__file__).parents[3] / "docs" / "operations.md"

STATE: dict[str, Any] = {
    "name": "inventory",
    "state": "running",
    "restarts": 2,
    "lags": {"orders": 5},
    "delayed": {"orders": 3},
    "outbox": {"age_s": 31.5, "led": False},
    "counts": {
        "handled": {"reserve": 7},
        "retries": {"reserve": 3},
        "dead": {"reserve": 1},
        "parked": {"reserve": 6},
        "published": 4,
        "batch_counts": [1, 0, 2, *[0] * 9],
        "batch_seconds": 0.125,
    },
}


def lines(state: dict[str, Any]) -> list[str]:
    return [line for line in render([state]).decode().splitlines() if not line.startswith("#")]


def test_counters_of_a_service_come_with_its_name_and_handler() -> None:
    found = lines(STATE)
    assert 'onward_events_handled_total{handler="reserve",service="inventory"} 7.0' in found
    assert 'onward_retries_total{handler="reserve",service="inventory"} 3.0' in found
    assert 'onward_dead_letters_total{handler="reserve",service="inventory"} 1.0' in found
    assert 'onward_parked_total{handler="reserve",service="inventory"} 6.0' in found
    assert 'onward_published_total{service="inventory"} 4.0' in found
    assert 'onward_restarts_total{service="inventory"} 2.0' in found
    assert 'onward_lag_events{service="inventory",topic="orders"} 5.0' in found
    assert 'onward_delayed_events{service="inventory",topic="orders"} 3.0' in found


def test_an_outbox_shows_its_age_and_whether_it_is_led() -> None:
    found = lines(STATE)
    assert 'onward_outbox_age_seconds{service="inventory"} 31.5' in found
    assert 'onward_outbox_led{service="inventory"} 0.0' in found
    assert not any(line.startswith("onward_outbox") for line in lines({**STATE, "outbox": None}))


def test_the_batch_histogram_is_cumulative() -> None:
    found = lines(STATE)
    assert 'onward_batch_seconds_bucket{le="0.001",service="inventory"} 1.0' in found
    assert 'onward_batch_seconds_bucket{le="0.0025",service="inventory"} 1.0' in found
    assert 'onward_batch_seconds_bucket{le="0.005",service="inventory"} 3.0' in found
    assert 'onward_batch_seconds_bucket{le="+Inf",service="inventory"} 3.0' in found
    assert 'onward_batch_seconds_sum{service="inventory"} 0.125' in found


def test_a_service_that_does_not_work_is_not_ready() -> None:
    assert 'onward_ready{service="inventory"} 1.0' in lines(STATE)
    assert 'onward_ready{service="inventory"} 0.0' in lines({**STATE, "state": "unready"})


def test_a_service_that_has_not_reported_yet_has_empty_metrics() -> None:
    found = lines({**STATE, "counts": {}, "lags": {}, "delayed": {}})
    assert 'onward_published_total{service="inventory"} 0.0' in found
    assert 'onward_batch_seconds_bucket{le="+Inf",service="inventory"} 0.0' in found


def test_every_metric_of_the_table_is_collected() -> None:
    text = render([STATE]).decode()
    for metric in METRICS:
        assert f"# HELP {metric.name} {metric.help}" in text
        assert f"# TYPE {metric.name} {metric.kind}" in text


def test_the_docs_have_the_table_of_metrics_and_no_other() -> None:
    rows = [line for line in DOCS.read_text().splitlines() if line.startswith("| `onward_")]
    assert rows == [
        f"| `{metric.name}` | {metric.kind} | {', '.join(f'`{label}`' for label in metric.labels)} | {metric.help} |"
        for metric in METRICS
    ]


def test_without_the_extra_the_error_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "prometheus_client", None)
    with pytest.raises(MissingExtraError, match=r"onward\[metrics\]"):
        render([STATE])
