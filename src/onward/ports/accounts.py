"""The account of a subscription on a partition: who may move it, and what one commit says of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from onward.ports.records import Outgoing, Shift

if TYPE_CHECKING:
    from onward.events import Envelope
    from onward.ledger import Arrivals, Position


class Attempt(NamedTuple):
    """Tries of one (offset, handler) so far; handler "" counts marks set before a suspect event ran."""

    attempts: int
    error: str
    fingerprint: str
    first_at: float
    last_at: float


@dataclass(slots=True)
class Claim:
    """The right to move one account, as long as nobody claimed it after us.

    Held by one task. `position`, `revision` and `arrivals` are memory's copy, right as long as every settle succeeds;
    after an error the claim is thrown away and taken again.
    """

    subscription: int
    topic: str
    partition: int
    token: bytes
    revision: int
    position: Position
    unclean: int
    suspect_until: int
    attempts: dict[tuple[int, str], Attempt] = field(default_factory=dict)
    joined: dict[str, int] = field(default_factory=dict)  # handler -> first offset it is owed
    mark: str = ""  # stored beside the position by the next settle; "" leaves what is there
    marked: int | None = None  # the suspect event it set a mark for last
    blocked: set[tuple[str, str]] = field(default_factory=set)  # (handler, key): its events are parked, not run
    begun: dict[int, Parked] = field(default_factory=dict)  # parked events in hand by id, as they were before the try
    arrivals: Arrivals = field(kw_only=True)  # of it a settle stores what is done by its position


class DeadLetter(NamedTuple):
    """An event that a handler gives up, with its bytes. `handler` is "" when none was chosen yet."""

    offset: int
    handler: str
    cause: str
    error: str
    detail: str
    fingerprint: str
    attempts: int
    first_at: float
    envelope: Envelope
    value: bytes | None
    blocks: bool = False  # what comes later in its key is parked for its handler, until somebody has decided

    @property
    def place(self) -> tuple[str, str] | None:
        """The (handler, key) that it blocks."""
        key = self.envelope.key
        return (self.handler, key) if self.blocks and key is not None else None


class Retried(NamedTuple):
    """A dead letter on its way back: `id` names it in the store."""

    id: int
    letter: DeadLetter


class Parked(NamedTuple):
    """An event that waits in the store for its key, as one handler meets it; `id` names it there, 0 for a new one.

    `attempts` failed, the last of them of `error`; `begun` are tries since, of which nobody knows that they ended.
    """

    handler: str
    offset: int
    envelope: Envelope
    value: bytes | None
    attempts: int = 0
    error: str = ""
    fingerprint: str = ""
    first_at: float = 0.0
    begun: int = 0
    id: int = 0

    @property
    def place(self) -> tuple[str, str]:
        key = self.envelope.key
        assert key is not None
        return self.handler, key


class Queues(NamedTuple):
    """What is parked on a claim's partition and may run now, and the (handler, key)s with nothing parked any more."""

    due: list[Parked]
    empty: list[tuple[str, str]]


@dataclass(slots=True)
class Settlement:
    """What one commit says about an account, beside the handlers' effects."""

    position: Position
    succeeded: dict[str, int] = field(default_factory=dict)  # handler -> events, but for those that were parked
    skipped: int = 0  # events that no handler here is for
    passed: dict[str, int] = field(default_factory=dict)  # handler -> events for others alone, or before it joined
    dead: list[DeadLetter] = field(default_factory=list)
    attempts: dict[tuple[int, str], Attempt] = field(default_factory=dict)  # to write
    forget: list[tuple[int, str]] = field(default_factory=list)  # attempts to delete
    outputs: list[Outgoing] = field(default_factory=list)
    suspect_until: int | None = None
    shift: Shift | None = None  # why the position is where no handling led it
    clears_unclean: bool = True  # False for an attempt mark: the event has not run yet
    revived: list[int] = field(default_factory=list)  # ids of dead letters that succeeded on retry
    parked: list[Parked] = field(default_factory=list)  # to wait behind what waits in their keys already
    unparked: list[Parked] = field(default_factory=list)  # over: succeeded, or dead letters of this commit
    put_off: list[tuple[Parked, float | None]] = field(default_factory=list)  # as they are now; not due before
    freed: list[tuple[str, str]] = field(default_factory=list)  # found empty in this transaction
    still_dead: list[Retried] = field(default_factory=list)  # about to run again, or failed again: as they are from now
