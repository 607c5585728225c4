"""Does what became of the events add up to how many there were, for each subscription and partition?

Each event that a subscription is past was skipped by all its handlers, was a dead letter before any of them was
chosen, or counts once with each of them: it succeeded, died, was discarded, is parked behind a dead letter of its key,
or was skipped by this one, being of a type for others or older than the handler. So the sums are exact whatever types
a handler takes, and since when.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from onward.errors import StoreCorruptError
from onward.inspection.accounts import Account, Subscribed
from onward.ledger import HandlerTally, IntervalSet, Lost, Position, Tally, lost_on_log


class Counts(NamedTuple):
    """One row of tallies, and how many events are parked."""

    succeeded: int = 0
    dead: int = 0
    discarded: int = 0
    skipped: int = 0
    parked: int = 0

    @property
    def done(self) -> int:
        return self.succeeded + self.dead + self.discarded + self.parked


class Moved(NamedTuple):
    """An account that went on where no handling led it: `lost` events, None where they can't be counted.

    `anew` is in another log of the same name; otherwise the sums have the lost among the skipped. `at` is for people,
    as is `accepted`: when somebody accepted it under its `id`, "" where nobody has.
    """

    subscription: str
    partition: int
    from_offset: int
    to_offset: int
    anew: bool
    lost: int | None
    why: str
    at: str
    id: int
    accepted: str = ""


class Came(NamedTuple):
    """A producer's numbers on a partition, of what a subscription has done there: `done`, an interval set.

    Every number from `owed_from` on is owed. A producer's numbers rise in the log, so where nothing is done beyond the
    position, one that lacks below another is in no log any more. There is one for each term of a relay, for good, and
    nearly all are whole, from 1 on without a gap: stores leave those out by how `done` is written.
    """

    incarnation: str
    owed_from: int
    done: bytes

    def lost(self, topic: str, partition: int) -> Lost:
        """Raises ValueError for a damaged row."""
        done = IntervalSet.from_bytes(self.done)
        missing = done.missing(done.bounds[-1], base=self.owed_from) if done else ()
        return Lost(topic, partition, IntervalSet.of_ranges(missing), self.incarnation)


class Kept(NamedTuple):
    """What was found of a partition's log: from `first` to `end`, and which offsets in between are `stored`."""

    first: int
    end: int
    stored: IntervalSet


Place = tuple[int, int]  # subscription, partition
Sums = dict[Place, dict[str, Counts]]  # by handler


@dataclass(frozen=True, slots=True)
class Accounts:
    """What the subscriptions of a store say they have done, all at one moment: by subscription and partition.

    `marks` are offsets done that the account does not have yet; what `came` whole may be left out.
    """

    live: list[Subscribed]
    sums: Sums
    marks: dict[Place, list[int]] = field(default_factory=dict)
    moved: dict[Place, list[Moved]] = field(default_factory=dict)
    came: dict[Place, list[Came]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Audited:
    """One account: its sums, what it lost beyond what the log itself lacks, and what is wrong with the row."""

    subscription: Subscribed
    partition: int
    tally: Tally | None
    lost: Lost | None
    damage: str = ""


def sums_of(tallies: Iterable[Sequence[Any]], parked: Iterable[Sequence[Any]]) -> Sums:
    """Of rows that begin with subscription, partition and handler; who has parked events may have no tally."""
    sums: Sums = {}
    for subscription, partition, handler, *numbers in tallies:
        sums.setdefault((subscription, partition), {})[handler] = Counts(*numbers)
    for subscription, partition, handler, count in parked:
        counts = sums.setdefault((subscription, partition), {})
        counts[handler] = counts.get(handler, Counts())._replace(parked=count)
    return sums


def audited(said: Accounts, kept: Callable[[Subscribed, int], Kept | None]) -> Iterator[Audited]:
    """Every account beside what was found of the log behind it, later; None where that is not known."""
    for each in said.live:
        for account in each.accounts:
            place = (each.id, account.partition)
            yield _audit(each, account, said, kept(each, account.partition), said.marks.get(place, []))


def _audit(
    subscription: Subscribed, account: Account, said: Accounts, kept: Kept | None, marks: Sequence[int]
) -> Audited:
    try:
        position = account.position
        position = position.finish([offset for offset in set(marks) if not position.done(offset)])
    except (StoreCorruptError, ValueError) as error:
        return Audited(subscription, account.partition, None, None, str(error))
    kept = kept or _as_far_as_known(position)
    lost = lost_on_log(subscription.topic, account.partition, position, kept.stored, kept.end)
    tally = _tally(subscription, account.partition, position, said, lost.numbers.count, kept.end)
    pruned = (range(each.start, min(each.stop, kept.first)) for each in lost.numbers.intervals())
    beyond_log = IntervalSet.of_ranges(each for each in pruned if each)
    damage = ""
    if position.next > kept.end:
        damage = f"it is at offset {position.next}, and the log of this partition ends at {kept.end}"
    only_here = Lost(subscription.topic, account.partition, beyond_log) if beyond_log else None
    return Audited(subscription, account.partition, tally, only_here, damage)


def _as_far_as_known(position: Position) -> Kept:
    """The log as this account alone has seen it."""
    end = position.beyond.bounds[-1] if position.beyond else position.next
    return Kept(0, end, IntervalSet((0, end)) if end else IntervalSet())


def _tally(subscription: Subscribed, partition: int, position: Position, said: Accounts, lost: int, end: int) -> Tally:
    place = (subscription.id, partition)
    counts = said.sums.get(place, {})
    unrouted = counts.get("", Counts())
    passed_over = sum(each.lost or 0 for each in said.moved.get(place, ()) if not each.anew)
    owed = position.handled_count - unrouted.done - unrouted.skipped
    on_record = {handler.name: counts.get(handler.name, Counts()) for handler in subscription.handlers}
    sums = {each.done + each.skipped for each in on_record.values()}
    if len(on_record) > 1 and len(sums) == 1:
        # All handlers agree: if this is not what is owed, the position is off and not each of them.
        (owed,) = sums
    return Tally(
        subscription=subscription.title,
        partition=partition,
        published=end - position.start,
        done=owed + unrouted.done,
        skipped=unrouted.skipped - passed_over,
        in_flight=position.in_flight(end) - lost,
        lost=lost + passed_over,
        handlers={
            name: HandlerTally(
                done=owed - each.skipped,
                succeeded=each.succeeded,
                parked=each.parked,
                dead=each.dead,
                discarded=each.discarded,
            )
            for name, each in on_record.items()
        },
    )
