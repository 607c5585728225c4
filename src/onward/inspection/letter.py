"""A dead letter as people see it, and an event that its broker refused beside it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from onward import ids
from onward.errors import StoreError
from onward.ports import Outgoing

MOST_LISTED = 1000
REFUSED = "refused"
"""State and cause of an event that its broker will never take as it is."""


@dataclass(frozen=True, slots=True)
class Letter:
    """A dead letter with its event. `handler` is "" when the event failed before one was chosen.

    `first_at` and `died_at` are seconds since the epoch. `offset` is below 0 where the log it was in is no more.
    `waiting` later events of its key are parked until it is decided.

    An event that its broker refused has the state REFUSED and an `id` below 0; it is in no log and has no handler.
    """

    id: int
    service: str
    handler: str
    topic: str
    partition: int
    offset: int
    state: str
    cause: str
    error: str
    detail: str
    fingerprint: str
    attempts: int
    first_at: float
    died_at: float
    event_id: str
    event_type: str
    event_version: int
    event_source: str
    event_time: datetime
    event_key: str | None
    value: bytes | None
    waiting: int


def refused_event(row_id: int, service: str, refused_at: float, why: str, event: Outgoing) -> Letter:
    """Of a row of what the broker refused."""
    assert event.id is not None
    assert event.source is not None
    return Letter(
        id=-row_id,
        service=service,
        handler="",
        topic=event.topic,
        partition=-1,
        offset=-1,
        state=REFUSED,
        cause=REFUSED,
        error=why,
        detail="",
        fingerprint="",
        attempts=0,
        first_at=refused_at,
        died_at=refused_at,
        event_id=ids.text(event.id) if len(event.id) == 16 else event.id.decode(),
        event_type=event.type,
        event_version=event.version,
        event_source=event.source,
        event_time=datetime.fromtimestamp(refused_at, UTC),
        event_key=event.key,
        value=event.value,
        waiting=0,
    )


def name_of(letter_id: int) -> str:
    """What people call it by: `7`, or `r7` for an event that its broker refused."""
    return str(letter_id) if letter_id > 0 else f"r{-letter_id}"


def divided(letter_ids: Sequence[int] | None) -> tuple[list[int] | None, list[int] | None]:
    """Dead letters, and what brokers refused; None, all of a kind, for both where it is for all."""
    if letter_ids is None:
        return None, None
    return [each for each in letter_ids if each > 0], [each for each in letter_ids if each < 0]


def unknown_letter(letter_id: int) -> StoreError:
    return StoreError(
        f"There is no dead letter {name_of(letter_id)}. Nothing was changed; see `onward dead-letters list"
        " --all-states`.",
        id=letter_id,
    )


def refused_letter(letter_id: int, verb: str, state: str, *, retired: bool) -> StoreError:
    """For one that is there, and can't be "retried" or "discarded"."""
    why = "its subscription is retired" if retired else f"it is {state} already"
    return StoreError(f"Dead letter {name_of(letter_id)} can't be {verb}: {why}. Nothing was changed.", id=letter_id)
