"""A dead letter as people see it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from onward.errors import StoreError

MOST_LISTED = 1000


@dataclass(frozen=True, slots=True)
class Letter:
    """A dead letter with its event. `handler` is "" when the event failed before one was chosen.

    `first_at` and `died_at` are seconds since the epoch. `offset` is below 0 where the log it was in is no more.
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


def unknown_letter(letter_id: int) -> StoreError:
    return StoreError(
        f"There is no dead letter {letter_id}. Nothing was changed; see `onward dead-letters list --all-states`.",
        id=letter_id,
    )


def refused_letter(letter_id: int, verb: str, state: str, *, retired: bool) -> StoreError:
    """For one that is there, and can't be "retried" or "discarded"."""
    why = "its subscription is retired" if retired else f"it is {state} already"
    return StoreError(f"Dead letter {letter_id} can't be {verb}: {why}. Nothing was changed.", id=letter_id)
