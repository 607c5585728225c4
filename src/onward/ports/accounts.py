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


class Retried(NamedTuple):
    """A dead letter on its way back: `id` names it in the store."""

    id: int
    letter: DeadLetter


@dataclass(slots=True)
class Settlement:
    """What one commit says about an account, beside the handlers' effects."""

    position: Position
    succeeded: dict[str, int] = field(default_factory=dict)  # handler -> events
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
    still_dead: list[Retried] = field(default_factory=list)  # about to run again, or failed again: as they are from now
