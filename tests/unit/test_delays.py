from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest

from onward.delays import due_micros, due_of, marked
from onward.errors import DelayError

NOW = 1_700_000_000.0
MICROS = 1_700_000_000_000_000


def test_without_a_time_an_event_is_published_at_once() -> None:
    assert due_micros(NOW, None, None) is None


@pytest.mark.parametrize(
    ("delay", "micros"),
    [(0, 0), (1.5, 1_500_000), (timedelta(hours=1), 3_600_000_000), (timedelta(days=366), 31_622_400_000_000)],
)
def test_a_delay_is_counted_from_now(delay: timedelta | float, micros: int) -> None:
    assert due_micros(NOW, None, delay) == MICROS + micros


def test_a_time_is_the_same_moment_in_every_time_zone() -> None:
    moment = datetime(2024, 1, 1, 12, 30, 0, 17, tzinfo=UTC)
    assert due_micros(NOW, moment, None) == 1_704_112_200_000_017
    assert due_micros(NOW, moment.astimezone(timezone(timedelta(hours=9))), None) == 1_704_112_200_000_017


def test_a_time_in_the_past_is_taken() -> None:
    due = due_micros(NOW, datetime(1969, 12, 31, 23, 59, 59, tzinfo=UTC), None)
    assert due == -1_000_000


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"at": datetime(2024, 1, 1)}, "time zone"),  # noqa: DTZ001 - what is refused
        ({"at": 1_700_000_100}, "time zone"),
        ({"at": "2024-01-01T00:00:00Z"}, "time zone"),
        ({"delay": -0.001}, "zero or more"),
        ({"delay": timedelta(seconds=-1)}, "zero or more"),
        ({"delay": float("nan")}, "zero or more"),
        ({"delay": True}, "zero or more"),
        ({"delay": "5"}, "zero or more"),
        ({"delay": float("inf")}, "366 days"),
        ({"delay": timedelta(days=366, microseconds=1)}, "366 days"),
        ({"at": datetime(2025, 1, 1, tzinfo=UTC)}, "366 days"),
        ({"at": datetime(2024, 1, 1, tzinfo=UTC), "delay": 5}, "one of them"),
    ],
)
def test_a_time_that_cannot_be_waited_for_is_refused_with_a_remedy(given: dict[str, Any], says: str) -> None:
    with pytest.raises(DelayError, match=f"nothing was published.*{says}|{says}.*nothing was published"):
        due_micros(NOW, given.get("at"), given.get("delay"))


def test_a_delayed_event_says_for_when_it_was_published() -> None:
    assert marked(None, MICROS) == b'{"delayeduntil":"2023-11-14T22:13:20+00:00"}'
    assert marked(b'{"a":"b"}', MICROS + 1) == b'{"a":"b","delayeduntil":"2023-11-14T22:13:20.000001+00:00"}'


@pytest.mark.parametrize("extra", [None, b"", b'{"a":"b"}', b'{"a":"delayeduntil"}'])
def test_an_event_that_was_not_delayed_says_nothing_of_it(extra: bytes | None) -> None:
    assert due_of(extra) is None


@pytest.mark.parametrize("due", [MICROS, MICROS + 1, 0, -1])
def test_what_a_delayed_event_says_is_when_it_was_due(due: int) -> None:
    assert due_of(marked(b'{"a":"b"}', due)) == due
