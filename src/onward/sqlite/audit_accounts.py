"""Does what became of the events add up to how many there were, for each subscription and partition?

Each event that a subscription is past was skipped by all its handlers, was a dead letter before any of them was
chosen, or counts once with each of them: it succeeded, died, was discarded, or was skipped by this one, being of a
type for others or older than the handler. So the sums are exact whatever types a handler takes, and since when.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from onward.errors import StoreCorruptError
from onward.ledger import HandlerTally, IntervalSet, Lost, Position, Tally, lost_on_log
from onward.sqlite.accounts import Account, Subscribed, subscriptions
from onward.sqlite.audit_log import Lane
from onward.sqlite.inspection import Inspection


class Counts(NamedTuple):
    """One row of tallies."""

    succeeded: int = 0
    dead: int = 0
    discarded: int = 0
    skipped: int = 0

    @property
    def done(self) -> int:
        return self.succeeded + self.dead + self.discarded


Place = tuple[int, int]  # subscription, partition


@dataclass(frozen=True, slots=True)
class Audited:
    """One account: its sums, what it lost beyond what the log itself lacks, and what is wrong with the row."""

    subscription: Subscribed
    partition: int
    tally: Tally | None
    lost: Lost | None
    damage: str = ""


Marks = dict[Place, list[int]]
Sums = dict[Place, dict[str, Counts]]


@dataclass(frozen=True, slots=True)
class Accounts:
    """What the subscriptions of a file say they have done, all at one moment: by subscription and partition."""

    live: list[Subscribed]
    sums: Sums
    marks: Marks


def accounts(inspection: Inspection) -> Accounts:
    """Read inside one snapshot, with the bounds of the log."""
    sums: Sums = {}
    for subscription, partition, handler, *numbers in inspection.rows(
        "SELECT subscription, partition, handler, succeeded, dead, discarded, skipped FROM onward_tally"
    ):
        sums.setdefault((subscription, partition), {})[handler] = Counts(*numbers)
    marks: Marks = {}
    for subscription, partition, offset in inspection.rows("SELECT subscription, partition, offset FROM onward_done"):
        marks.setdefault((subscription, partition), []).append(offset)
    return Accounts(subscriptions(inspection), sums, marks)


def audited(said: Accounts, lanes: Mapping[tuple[str, int], Lane]) -> Iterator[Audited]:
    """Every account beside what was found of the log behind it; `lanes` by topic and partition, looked at later."""
    for each in said.live:
        for account in each.accounts:
            place = (each.id, account.partition)
            lane = lanes[each.topic, account.partition]
            yield _audit(each, account, said.sums.get(place, {}), said.marks.get(place, []), lane)


def _audit(
    subscription: Subscribed, account: Account, counts: dict[str, Counts], marks: list[int], lane: Lane
) -> Audited:
    first, end = lane.bounds.first, lane.bounds.end
    try:
        position = account.position
        position = position.finish([offset for offset in set(marks) if not position.done(offset)])
    except (StoreCorruptError, ValueError) as error:
        return Audited(subscription, account.partition, None, None, str(error))
    lost = lost_on_log(subscription.topic, account.partition, position, lane.stored, end)
    tally = _tally(subscription, account.partition, position, counts, lost.numbers.count, end)
    pruned = (range(each.start, min(each.stop, first)) for each in lost.numbers.intervals())
    beyond_log = IntervalSet.of_ranges(each for each in pruned if each)
    damage = ""
    if position.next > end:
        damage = f"it is at offset {position.next}, and the log of this partition ends at {end}"
    only_here = Lost(subscription.topic, account.partition, beyond_log) if beyond_log else None
    return Audited(subscription, account.partition, tally, only_here, damage)


def _tally(
    subscription: Subscribed, partition: int, position: Position, counts: dict[str, Counts], lost: int, end: int
) -> Tally:
    unrouted = counts.get("", Counts())
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
        skipped=unrouted.skipped,
        in_flight=position.in_flight(end) - lost,
        lost=lost,
        handlers={
            name: HandlerTally(
                done=owed - each.skipped, succeeded=each.succeeded, dead=each.dead, discarded=each.discarded
            )
            for name, each in on_record.items()
        },
    )
