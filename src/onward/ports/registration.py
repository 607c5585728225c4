"""What a store keeps on record of a service, as its code declares it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple


class HandlerEntry(NamedTuple):
    """A handler as the store has it on record; `joined` is the first offset it is owed, per partition, if new."""

    name: str
    kind: str
    start: str
    types: tuple[str, ...]
    joined: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class SubscriptionEntry:
    """What the store must know of a subscription before it hands out claims.

    `starts` has one offset per partition, used when the subscription is new to the store, and so is `chosen`: where
    all its handlers begin then, whatever they say themselves. `ordered` is False where events may be done beyond a gap.
    """

    name: str
    topic: str
    ordered: bool
    handlers: tuple[HandlerEntry, ...]
    starts: tuple[int, ...]
    chosen: tuple[int, ...] | None = None

    def anew(self) -> SubscriptionEntry:
        """What a store puts on record when it does not know this subscription."""
        if self.chosen is None:
            return self
        handlers = tuple(handler._replace(joined=self.chosen) for handler in self.handlers)
        return replace(self, handlers=handlers, starts=self.chosen)


@dataclass(frozen=True, slots=True)
class ServiceEntry:
    """One service as its code declares it: `schema` is SQL that may run at every start without harm."""

    name: str
    schema: tuple[str, ...]
    invariants: Mapping[str, str]
    subscriptions: tuple[SubscriptionEntry, ...]
