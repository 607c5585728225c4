"""The sums that must come out even, a sentence for each that does not, and a name for each lost event."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import chain, islice

from onward.ledger.intervals import IntervalSet
from onward.ledger.position import Position
from onward.ledger.producers import ProducerLedger


@dataclass(frozen=True, slots=True, kw_only=True)
class HandlerTally:
    """What became of one handler's events: done = succeeded + parked + dead + discarded."""

    done: int
    succeeded: int
    parked: int = 0
    dead: int = 0
    discarded: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Tally:
    """One partition of one subscription: published = done + skipped + void + in_flight + lost.

    published: events owed, from the subscription's start to the end of the log or the last number.
    done:      events that the account says were handled here.
    skipped:   events of a type that nothing here handles.
    void:      numbers whose event the producer could never send.
    in_flight: events published and not yet done. The lost are not among them.
    lost:      events neither done nor to be found any more.
    handlers:  by the handler's name.
    """

    subscription: str
    partition: int
    published: int
    done: int
    skipped: int = 0
    void: int = 0
    in_flight: int = 0
    lost: int = 0
    handlers: Mapping[str, HandlerTally] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Discrepancy:
    """A sum that does not come out even: `excess` events too many are accounted for, below 0 too few."""

    subscription: str
    partition: int
    handler: str | None
    excess: int
    sentence: str


@dataclass(frozen=True, slots=True)
class Lost:
    """Lost events of one partition: by offset on a log, by number where an `incarnation` is given."""

    topic: str
    partition: int
    numbers: IntervalSet
    incarnation: str | None = None

    @property
    def count(self) -> int:
        """How many events are lost."""
        return self.numbers.count

    def names(self, limit: int = 100) -> Iterator[str]:
        """A name for each lost event, lowest first, `limit` at most."""
        where = f"{self.topic}, partition {self.partition}"
        for number in islice(chain.from_iterable(self.numbers.intervals()), limit):
            if self.incarnation is None:
                yield f"{where}, offset {number}"
            else:
                yield f"{where}, number {number} of incarnation {self.incarnation}"


def lost_on_log(topic: str, partition: int, position: Position, stored: IntervalSet, end: int) -> Lost:
    """The offsets below the log's `end` that are not done and that the log, holding `stored`, does not have.

    Read the position first and the log after it, or what is handled in between looks lost once it is pruned.
    """
    gaps = (gap for owed in position.unfinished(end) for gap in stored.missing(owed.stop, base=owed.start))
    return Lost(topic, partition, IntervalSet.of_ranges(gaps))


def lost_of_producer(topic: str, partition: int, ledger: ProducerLedger, incarnation: str, highest: int) -> Lost:
    """The numbers up to `highest` that are owed and not done; nothing of the incarnation may be under way."""
    return Lost(topic, partition, IntervalSet.of_ranges(ledger.missing(incarnation, highest)), incarnation)


def check(tallies: Iterable[Tally]) -> list[Discrepancy]:
    """Every sum that does not come out even, in the order of the tallies; empty when all is accounted for.

    Lost events are accounted for: they balance the sum, and are told by their names.
    """
    return [found for tally in tallies for found in _check_one(tally)]


def _check_one(tally: Tally) -> Iterator[Discrepancy]:
    parts = {
        "done": tally.done,
        "skipped": tally.skipped,
        "void": tally.void,
        "in flight": tally.in_flight,
        "lost": tally.lost,
    }
    yield from _compare(tally, None, "published", tally.published, parts)
    for name, handler in tally.handlers.items():
        outcomes = {
            "succeeded": handler.succeeded,
            "parked": handler.parked,
            "dead": handler.dead,
            "discarded": handler.discarded,
        }
        yield from _compare(tally, name, "done", handler.done, outcomes)


def _compare(
    tally: Tally, handler: str | None, whole_name: str, whole: int, parts: Mapping[str, int]
) -> Iterator[Discrepancy]:
    where = f"Subscription {tally.subscription}, partition {tally.partition}"
    if handler is not None:
        where += f", handler {handler}"
    # A negative count can hide an error of the same size in the sum.
    for name, count in {whole_name: whole, **parts}.items():
        if count < 0:
            sentence = f"{where}: {name} is {count}, and no count is below 0: something else wrote to the account."
            yield Discrepancy(tally.subscription, tally.partition, handler, count, sentence)
    accounted = sum(parts.values())
    excess = accounted - whole
    if not excess:
        return
    sides = f"{whole_name} is {whole}, but {' + '.join(parts)} is {accounted}"
    verdict = (
        f"{excess} too many: counted twice, or {whole_name} was cut back."
        if excess > 0
        else f"{-excess} too few: what became of them is not on record."
    )
    yield Discrepancy(tally.subscription, tally.partition, handler, excess, f"{where}: {sides}, {verdict}")
