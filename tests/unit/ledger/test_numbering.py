"""Numbers of events on their way out: dense, stored first, and the same again after any crash."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import NamedTuple

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from onward.ledger import Lane, Numbering, ProducerLedger

CREATED = datetime(2026, 3, 1, 12, tzinfo=UTC)
LANES: list[Lane] = [("orders", 0), ("stock", 0)]
lanes = st.sampled_from(LANES)
relays = st.integers(0, 1)


@given(st.lists(st.lists(lanes, max_size=8), max_size=4))
def test_numbers_are_dense_from_one_in_every_lane_however_events_are_batched(batches: list[list[Lane]]) -> None:
    numbering = Numbering()
    found: dict[Lane, list[int]] = defaultdict(list)
    for batch in batches:
        numbering, given_out = numbering.give(batch)
        for lane, number in zip(batch, given_out, strict=True):
            found[lane].append(number)
    assert found == {lane: list(range(1, len(numbers) + 1)) for lane, numbers in found.items()}
    assert dict(numbering.last) == {lane: len(numbers) for lane, numbers in found.items()}


def test_numbers_that_were_not_stored_are_given_again() -> None:
    before, _ = Numbering().give([("orders", 0)])
    before.give([("orders", 0), ("orders", 0)])
    assert before.give([("orders", 0)])[1] == [2]


class Place(NamedTuple):
    """What is stored with a row once it has its numbers."""

    epoch: int
    turn: int
    incarnation: str
    numbers: tuple[int, ...]


@dataclass
class Row:
    """One row of the outbox; an event is (row, index). `before` are the rows committed when it was inserted."""

    id: int
    lanes: list[Lane]
    before: frozenset[int]
    place: Place | None = None


@dataclass
class Relay:
    """One process: all of it is memory, and gone when it dies."""

    epoch: int = -1  # none
    numbering: Numbering = field(default_factory=Numbering)
    turn: int = 0
    owed: list[int] = field(default_factory=list)  # rows of earlier terms, not confirmed yet
    sending: list[tuple[Row, int]] = field(default_factory=list)  # events that were handed over, in order
    confirmed: list[int] = field(default_factory=list)


class Relaying(RuleBasedStateMachine):
    """Two relays on one outbox: each dies, sleeps and loses answers at any step, with what it had sent on its way."""

    def __init__(self) -> None:
        super().__init__()
        self.ids = 0
        self.open: dict[int, Row] = {}  # inserted, not committed: ids are not in the order of commits
        self.outbox: dict[int, Row] = {}
        self.committed: dict[int, Row] = {}
        self.epoch = 0
        self.relays = [Relay(), Relay()]
        self.log: dict[Lane, list[tuple[str, int, int, int]]] = defaultdict(list)

    @rule(where=st.lists(lanes, min_size=1, max_size=3))
    def insert(self, where: list[Lane]) -> None:
        self.ids += 1
        self.open[self.ids] = Row(self.ids, where, frozenset(self.committed))

    @rule(where=st.lists(lanes, min_size=1, max_size=2))
    def publish(self, where: list[Lane]) -> None:
        self.insert(where)
        row = self.open.pop(self.ids)
        self.outbox[row.id] = self.committed[row.id] = row

    @precondition(lambda self: self.open)
    @rule(data=st.data())
    def commit(self, data: st.DataObject) -> None:
        row = self.open.pop(data.draw(st.sampled_from(sorted(self.open))))
        self.outbox[row.id] = self.committed[row.id] = row

    @rule(which=relays)
    def die(self, which: int) -> None:
        self.relays[which] = Relay()

    @rule(which=relays)
    def take_the_lease(self, which: int) -> None:
        """Whoever had it may go on without knowing. What has numbers is owed, and sent before anything is numbered."""
        self.epoch += 1
        relay = self.relays[which] = Relay(self.epoch)
        for _, row in sorted(((row.place, row) for row in self.outbox.values() if row.place), key=_turn):
            relay.owed.append(row.id)
            relay.sending += [(row, index) for index in range(len(row.lanes))]

    @rule(which=relays, limit=st.integers(1, 3), answered=st.sampled_from([True, True, False]))
    def number(self, which: int, limit: int, answered: bool) -> None:
        relay = self.relays[which]
        if relay.epoch != self.epoch or relay.owed:
            return
        rows = [row for _, row in sorted(self.outbox.items()) if row.place is None][:limit]
        numbering, given_out = relay.numbering.give([lane for row in rows for lane in row.lanes])
        numbers = iter(given_out)
        for turn, row in enumerate(rows, relay.turn):
            row.place = Place(relay.epoch, turn, f"i{relay.epoch}", tuple(islice(numbers, len(row.lanes))))
        if not answered:
            self.relays[which] = Relay()  # an unknown outcome: it goes on by a new term only
            return
        relay.numbering, relay.turn = numbering, relay.turn + len(rows)
        relay.sending += [(row, index) for row in rows for index in range(len(row.lanes))]

    @rule(which=relays, limit=st.integers(1, 5), answered=st.sampled_from([True, True, False]))
    def send(self, which: int, limit: int, answered: bool) -> None:
        """A relay whose lease is gone sends all the same: nothing stops what is on its way."""
        relay = self.relays[which]
        for row, index in relay.sending[:limit]:
            assert row.place is not None
            self.log[row.lanes[index]].append((row.place.incarnation, row.place.numbers[index], row.id, index))
            if index == len(row.lanes) - 1 and answered:
                relay.confirmed.append(row.id)
                if row.id in relay.owed:
                    relay.owed.remove(row.id)
        del relay.sending[:limit]
        if not answered:
            self.relays[which] = Relay()

    @rule(which=relays)
    def delete(self, which: int) -> None:
        relay = self.relays[which]
        if relay.epoch == self.epoch:
            for row_id in relay.confirmed:
                self.outbox.pop(row_id, None)
            relay.confirmed.clear()

    @invariant()
    def effects_come_once_and_in_order(self) -> None:
        for lane, records in self.log.items():
            effects = handled(records)
            assert len(set(effects)) == len(effects), "an event had its effect twice"
            for row_id in {row_id for row_id, _ in effects}:
                own = [index for each, index in effects if each == row_id]
                expected = [index for index, each in enumerate(self.committed[row_id].lanes) if each == lane]
                assert own == expected[: len(own)]
            done: set[int] = set()
            for row_id, _ in effects:
                earlier = {each for each in self.committed[row_id].before if lane in self.committed[each].lanes}
                assert earlier <= done | {row_id}, "an event went before one that was committed when it was inserted"
                done.add(row_id)

    @invariant()
    def what_left_the_outbox_is_in_the_log(self) -> None:
        there = {event for records in self.log.values() for event in handled(records)}
        for row in self.committed.values():
            if row.id not in self.outbox:
                assert {(row.id, index) for index in range(len(row.lanes))} <= there

    def teardown(self) -> None:
        """Left alone, one relay empties the outbox, and no number is missing."""
        for row in self.open.values():
            self.outbox[row.id] = self.committed[row.id] = row
        self.open.clear()
        self.take_the_lease(0)
        for _ in range(2):
            self.send(0, 1_000_000, True)
            self.number(0, 1_000_000, True)
        self.delete(0)
        assert not self.outbox
        self.effects_come_once_and_in_order()
        self.what_left_the_outbox_is_in_the_log()
        for records in self.log.values():
            ledger, highest = consumed(records)[1], defaultdict[str, int](int)
            for incarnation, number, *_ in records:
                highest[incarnation] = max(highest[incarnation], number)
            assert not [gap for each, last in highest.items() for gap in ledger.missing(each, last)]


def _turn(placed: tuple[Place, Row]) -> tuple[int, int]:
    return placed[0].epoch, placed[0].turn


def consumed(records: list[tuple[str, int, int, int]]) -> tuple[list[tuple[int, int]], ProducerLedger]:
    """The events that took effect, for a consumer that keeps the numbers; and those."""
    ledger, effects = ProducerLedger(CREATED), []
    for incarnation, number, row_id, index in records:
        ledger = ledger.open(incarnation, CREATED + timedelta(seconds=1))
        if ledger.is_new(incarnation, number):
            ledger = ledger.record(incarnation, [number])
            effects.append((row_id, index))
    return effects, ledger


def handled(records: list[tuple[str, int, int, int]]) -> list[tuple[int, int]]:
    return consumed(records)[0]


TestRelaying = Relaying.TestCase
TestRelaying.settings = settings(max_examples=300, stateful_step_count=30, deadline=None)
