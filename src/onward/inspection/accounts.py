"""What a store says of every subscription: its handlers, its accounts, and the ends of its partitions."""

from __future__ import annotations

from dataclasses import dataclass, field

from onward.errors import StoreCorruptError
from onward.ledger import IntervalSet, Position


@dataclass(frozen=True, slots=True)
class Registered:
    """A handler on record; `joined` is the first offset it is owed, per partition."""

    name: str
    kind: str
    start: str
    types: tuple[str, ...]
    joined: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Account:
    """One partition of a subscription; `end` is the next offset of the log there, None where nobody knows it."""

    partition: int
    start: int
    next: int
    beyond: bytes | None
    owner: str | None
    end: int | None

    @property
    def position(self) -> Position:
        """Raises StoreCorruptError for a row that no sequence of commits leads to."""
        try:
            beyond = IntervalSet.from_bytes(self.beyond) if self.beyond else IntervalSet()
            return Position(self.start, self.next, beyond)
        except ValueError as error:
            raise StoreCorruptError(f"The account of partition {self.partition} is damaged: {error}") from error

    @property
    def lag(self) -> int | None:
        """Events published here that are not handled yet."""
        if self.end is None:
            return None
        try:
            return self.position.in_flight(self.end)
        except StoreCorruptError:
            return max(0, self.end - self.next)

    @property
    def handled(self) -> int:
        """Events done from its start on."""
        try:
            return self.position.handled_count
        except StoreCorruptError:
            return max(0, self.next - self.start)


@dataclass(frozen=True, slots=True)
class Subscribed:
    """A subscription that is not retired. `elsewhere` is one to a topic whose log is not in the store."""

    id: int
    service: str
    name: str
    topic: str
    handlers: tuple[Registered, ...]
    accounts: list[Account] = field(default_factory=list)
    elsewhere: bool = False

    @property
    def group(self) -> str:
        """The name its partitions are leased under."""
        return self.service if self.name == "transactional" else f"{self.service}.{self.name}"

    @property
    def title(self) -> str:
        return f"{self.service}/{self.name} on {self.topic}"

    @property
    def lag(self) -> int | None:
        """Over all partitions; None where the end of one is not known."""
        lags = [account.lag for account in self.accounts]
        return None if None in lags else sum(lag for lag in lags if lag is not None)
