"""When a delayed event is due."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import msgspec

from onward.errors import DelayError

Delay = timedelta | float
"""How much later; a number is of seconds."""

LONGEST_DELAY = timedelta(days=366)
DELAYED = "(delayed)"
"""Told among the topics that grew when an event was put off that is due before all others."""

EXTENSION = "delayeduntil"
"""The CloudEvents attribute that says for when a delayed event was published."""


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


def micros_of(seconds: float) -> int:
    """Whole microseconds: what times are compared in."""
    return round(seconds * 1e6)


def moment_of(micros: int) -> datetime:
    """In UTC, from microseconds since the epoch."""
    return _EPOCH + micros * _MICROSECOND


def micros_at(moment: datetime) -> int:
    """Microseconds since the epoch, of an aware datetime."""
    return (moment - _EPOCH) // _MICROSECOND


def due_micros(now: float, at: datetime | None, delay: Delay | None) -> int | None:
    """When an event published now is due, in microseconds since the epoch; None for at once. Raises DelayError."""
    if at is not None and delay is not None:
        raise DelayError("An event was published with at= and delay=, and nothing was published: give one of them.")
    if at is not None:
        return _due_at(micros_of(now), at)
    if delay is not None:
        return micros_of(now) + _micros_later(delay)
    return None


def _due_at(now: int, at: datetime) -> int:
    if not isinstance(at, datetime) or at.utcoffset() is None:
        raise DelayError(
            f"at={at!r} is no moment, and nothing was published: give a datetime with a time zone, such as"
            " datetime.now(UTC) + timedelta(hours=1)."
        )
    due = micros_at(at)
    _refuse_far(due - now, f"at={at.isoformat()}")
    return due


def _micros_later(delay: Delay) -> int:
    seconds = delay.total_seconds() if isinstance(delay, timedelta) else delay
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not seconds >= 0:
        raise DelayError(
            f"delay={delay!r} can't be waited for, and nothing was published: give a timedelta, or a number of seconds,"
            " of zero or more."
        )
    _refuse_far(seconds * 1e6, f"delay={delay!r}")
    return micros_of(seconds)


def _refuse_far(micros: float, given: str) -> None:
    if micros > LONGEST_DELAY // _MICROSECOND:
        raise DelayError(
            f"{given} is further ahead than the {LONGEST_DELAY.days} days that an event may be delayed, and nothing was"
            " published. Publish it nearer to its time: keep the time in a table of yours until then."
        )


def marked(extra: bytes | None, due: int) -> bytes:
    """A delayed event's extensions, with the time that it was published for."""
    extensions = msgspec.json.decode(extra, type=dict[str, str]) if extra else {}
    return msgspec.json.encode({**extensions, EXTENSION: moment_of(due).isoformat()})


def due_of(extra: bytes | None) -> int | None:
    """When an event of the log was due, by its extensions; None for one that was not delayed."""
    if not extra or EXTENSION.encode() not in extra:
        return None
    due = msgspec.json.decode(extra, type=dict[str, str]).get(EXTENSION)
    return None if due is None else micros_at(datetime.fromisoformat(due))
