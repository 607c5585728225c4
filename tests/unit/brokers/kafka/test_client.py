"""What the client library says in the log."""

import logging

import pytest

from onward.brokers.kafka.address import parse
from onward.brokers.kafka.client import AGAIN_S, LIBRARY_LOG, MOST_SAID, Client

REFUSED = (
    "127.0.0.1:9092/bootstrap: Connect to ipv4#127.0.0.1:9092 failed: Connection refused (after %dms in state CONNECT)"
)


@pytest.fixture(autouse=True)
def client(monkeypatch: pytest.MonkeyPatch) -> Client:
    monkeypatch.setattr(LIBRARY_LOG, "filters", [])
    return Client(parse("kafka://127.0.0.1:9092"), "till")


def says(message: str, at: float) -> bool:
    record = logging.LogRecord(LIBRARY_LOG.name, logging.INFO, "", 0, message, (), None)
    record.created = at
    return bool(LIBRARY_LOG.filter(record))


def test_the_same_line_is_logged_once_in_a_minute_whatever_time_it_took() -> None:
    assert [says(REFUSED % number, at=100.0 + number) for number in range(5)] == [True, False, False, False, False]
    assert says(REFUSED % 7, at=100.0 + AGAIN_S)


def test_other_lines_are_logged_beside_it() -> None:
    assert says(REFUSED % 0, at=100.0)
    assert says("Broker transport failure: retrying", at=100.0)


@pytest.mark.parametrize(
    "line",
    [
        "CONFWARN: Configuration property linger.ms is a producer property",
        "Failed to acquire idempotence PID from broker 1: Broker: Coordinator load in progress: retrying",
    ],
)
def test_what_is_no_news_is_dropped(line: str) -> None:
    assert not says(line, at=100.0)


def test_the_lines_that_are_remembered_are_bounded() -> None:
    assert all(says(f"line {number}", at=100.0) for number in range(MOST_SAID + 1))
    assert says("line 0", at=100.0)
