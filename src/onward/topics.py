"""A topic as declared: what it is called, how many partitions it has, how long it is kept."""

from __future__ import annotations

from dataclasses import dataclass, field

from onward.errors import DeclarationError

DEFAULT_PARTITIONS = 8
MAX_PARTITIONS = 1024
DAY_S = 86_400.0
GIB = 1 << 30


@dataclass(frozen=True, slots=True)
class Retention:
    """How long events that everybody has handled are kept, and how much may wait unhandled.

    Nothing unhandled is ever pruned: when unhandled events reach `backlog_bytes`, publishing is refused.
    """

    age_s: float = 7 * DAY_S
    bytes: int = GIB
    backlog_bytes: int = 64 * GIB

    def __post_init__(self) -> None:
        if self.age_s < 0 or self.bytes < 0 or self.backlog_bytes < 1:
            raise DeclarationError(
                f"Retention({self.age_s=}, {self.bytes=}, {self.backlog_bytes=}): ages and sizes can't be negative,"
                " and backlog_bytes must be at least 1."
            )


UNSAID = Retention()
"""Of a topic that is declared without one: by identity, since one may well declare what is the default."""


@dataclass(frozen=True, slots=True)
class Topic:
    """A named log of events, cut into partitions; order holds within one partition.

    Where a name is enough, an event's `topic="orders"` declares it with the defaults. The number of
    partitions is fixed when the topic is created; a retention that is declared holds from the next start on.
    """

    name: str
    partitions: int = DEFAULT_PARTITIONS
    retention: Retention = UNSAID
    declared: bool = field(default=True, init=False, compare=False, repr=False)  # False for one made `by_name`

    @property
    def says_retention(self) -> bool:
        """Whether it is to be kept so even where it is there already, and is kept otherwise."""
        return self.retention is not UNSAID

    @classmethod
    def by_name(cls, name: str) -> Topic:
        """Of which an event says no more than the name: where it is there already, it is right as it is."""
        topic = cls(name)
        object.__setattr__(topic, "declared", False)
        return topic

    def __post_init__(self) -> None:
        if not 1 <= self.partitions <= MAX_PARTITIONS:
            raise DeclarationError(
                f"Topic({self.name!r}, partitions={self.partitions}): give it 1 to {MAX_PARTITIONS} partitions."
            )
