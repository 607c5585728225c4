"""A relay over a real outbox and a broker of the test's own, which says when and whether it has what it was given."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager

import pytest

from onward.errors import BrokerError, BrokerUnreachableError, EncodeError
from onward.ports import Outgoing
from onward.relay import NOWHERE, Batch, Columns, Refused, Term, leader, outbox_of
from onward.relay.barred import Answer
from onward.relay.leader import Relay
from onward.sqlite.database import Database
from onward.sqlite.outbox import FileOutbox

PATIENCE_S = 10.0


class Outlet:
    """Notes what is sent as (value, incarnation, partition, number). `answers` are given to sends in turn."""

    def __init__(self) -> None:
        self.sent: list[tuple[bytes | None, bytes, int, int]] = []
        self.topics: list[tuple[str, bytes | None]] = []
        self.waiting: list[asyncio.Future[None]] = []
        self.answers: list[BrokerError | None] = []
        self.holds = False
        self.unreachable = False
        self.broken = False
        self.refuses: bytes | None = None
        self.faults: list[Exception] = []
        self.barred: set[str] = set()

    def begin(self) -> None:
        self.broken = False

    async def places(self, columns: Columns) -> list[Answer]:
        if self.faults:
            raise self.faults.pop(0)
        if self.unreachable:
            raise BrokerUnreachableError("Nobody answers.")
        return [self._place(event) for event in columns.events]

    def _place(self, event: Outgoing) -> Answer:
        if event.topic in self.barred:
            return BrokerError(f"Topic {event.topic} is shut.")
        return EncodeError("No.") if event.value == b"no" else 0 if event.key is None else int(event.key)

    def send(self, batch: Batch) -> asyncio.Future[None]:
        there = asyncio.get_running_loop().create_future()
        refused = any(event.value == self.refuses for event in batch.columns.events if self.refuses)
        if self.broken or refused:
            self.broken = True
            there.set_exception(EncodeError("Never.") if refused else BrokerError("A send before it failed."))
            return there
        for row in batch.rows:
            assert row.stamp is not None
            for event, place in zip(row.events, row.stamp.places, strict=True):
                if place != NOWHERE:
                    self.topics.append((event.topic, event.value))
                    self.sent.append((event.value, row.stamp.incarnation, *place))
        answer = self.answers.pop(0) if self.answers else None
        if answer is not None:
            self.broken = True
            there.set_exception(answer)
        elif self.holds:
            self.waiting.append(there)
        else:
            there.set_result(None)
        return there

    @property
    def numbers(self) -> list[tuple[bytes | None, int, int]]:
        return [(value, partition, number) for value, _, partition, number in self.sent]


class Stage:
    """One outbox; `publish` commits a transaction."""

    def __init__(self) -> None:
        self.database = Database.open(":memory:")
        self.outbox = FileOutbox(self.database, "shop")
        self.outlet = Outlet()

    async def publish(self, *values: bytes, key: str | None = None) -> None:
        async with self.database.transaction():
            self.outbox.append([Outgoing("orders", "shop.placed", 1, value, key) for value in values])

    async def publish_row(self, *events: tuple[str, str | None, bytes]) -> None:
        """Topic, key and value of each; together in one transaction."""
        async with self.database.transaction():
            self.outbox.append([Outgoing(topic, "shop.placed", 1, value, key) for topic, key, value in events])

    def values(self, topic: str) -> list[bytes | None]:
        return [value for name, value in self.outlet.topics if name == topic]

    def waiting(self) -> int:
        ((count,),) = self.database.read("SELECT coalesce(sum(events), 0) FROM onward_outbox")
        return int(count)

    @asynccontextmanager
    async def relaying(self) -> AsyncIterator[Relay]:
        relay = Relay(self.outbox, self.outlet, "shop")
        self.outbox.appended.append(relay.told)
        relay.start()
        try:
            yield relay
        finally:
            await relay.stop()


async def until(reached: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not reached():
            await asyncio.sleep(0.005)


async def calm() -> None:
    """Turns of the loop in which whatever can go on does."""
    for _ in range(50):
        await asyncio.sleep(0)


def on_stage(scene: Callable[[Stage], Awaitable[None]]) -> None:
    async def play() -> None:
        stage = Stage()
        async with asyncio.timeout(2 * PATIENCE_S):
            await scene(stage)
        stage.database.close()

    asyncio.run(play())


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing here is worth a pause."""
    monkeypatch.setattr(leader, "FIRST_PAUSE_S", 0.0)
    monkeypatch.setattr(leader, "VACANT_S", 0.01)
    monkeypatch.setattr(leader, "LOOK_S", 3600.0)  # whoever waits must be told


def test_events_leave_in_order_numbered_from_one_in_each_partition() -> None:
    async def scene(stage: Stage) -> None:
        await stage.publish(b"1", b"2")
        async with stage.relaying() as relay:
            await until(lambda: stage.waiting() == 0)
            await stage.publish(b"3", key="7")
            await stage.publish(b"4")
            await until(lambda: stage.waiting() == 0 and len(stage.outlet.sent) == 4)
            assert relay.sent == 4
        assert stage.outlet.numbers == [(b"1", 0, 1), (b"2", 0, 2), (b"3", 7, 1), (b"4", 0, 3)]
        assert len({incarnation for _, incarnation, _, _ in stage.outlet.sent}) == 1

    on_stage(scene)


def test_nothing_is_forgotten_before_the_broker_has_it() -> None:
    async def scene(stage: Stage) -> None:
        stage.outlet.holds = True
        async with stage.relaying():
            await stage.publish(b"1")
            await until(lambda: bool(stage.outlet.waiting))
            assert stage.waiting() == 1
            stage.outlet.waiting[0].set_result(None)
            await until(lambda: stage.waiting() == 0)

    on_stage(scene)


def test_what_is_not_known_to_be_there_is_sent_again_before_anything_is_numbered() -> None:
    async def scene(stage: Stage) -> None:
        stage.outlet.answers = [BrokerError("The connection was lost.")]
        await stage.publish(b"1", b"2")
        async with stage.relaying():
            await until(lambda: stage.waiting() == 0)
            await stage.publish(b"3")
            await until(lambda: stage.waiting() == 0)
        first, again, last = stage.outlet.sent[:2], stage.outlet.sent[2:4], stage.outlet.sent[4:]
        assert first == again
        assert [(value, number) for value, _, _, number in last] == [(b"3", 1)]
        assert last[0][1] != first[0][1]

    on_stage(scene)


def test_batches_behind_one_that_failed_are_sent_again_behind_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leader, "ROWS", 1)

    async def scene(stage: Stage) -> None:
        for value in (b"1", b"2", b"3", b"4", b"5"):
            await stage.publish(value)
        stage.outlet.holds = True
        async with stage.relaying():
            await until(lambda: len(stage.outlet.waiting) == leader.AHEAD)
            stage.outlet.holds, stage.outlet.broken = False, True
            stage.outlet.waiting[0].set_exception(BrokerError("It was cut."))
            await until(lambda: stage.waiting() == 0)
        assert [value for value, _, _, _ in stage.outlet.sent] == [b"1", b"2", b"3", b"4", b"1", b"2", b"3", b"4", b"5"]
        assert stage.outlet.sent[:4] == stage.outlet.sent[4:8]

    on_stage(scene)


def test_what_the_broker_will_never_take_gets_no_number_and_holds_nobody_up() -> None:
    async def scene(stage: Stage) -> None:
        stage.outlet.answers = [BrokerError("The connection was lost.")]
        await stage.publish(b"1", b"no", b"2")
        await stage.publish(b"no")
        await stage.publish(b"3")
        async with stage.relaying() as relay:
            await until(lambda: stage.waiting() == 0)
            assert relay.sent == 3
        assert stage.outlet.numbers[:3] == stage.outlet.numbers[3:] == [(b"1", 0, 1), (b"2", 0, 2), (b"3", 0, 3)]
        refused = stage.database.read("SELECT value, why FROM onward_refused")
        assert refused == [(b"no", "2 bytes are more than topic 'orders' takes")] * 2

    on_stage(scene)


def test_what_is_refused_though_it_has_a_number_is_found_kept_apart_and_holds_nobody_up() -> None:
    async def scene(stage: Stage) -> None:
        stage.outlet.refuses = b"never"
        await stage.publish(b"1", b"2")
        await stage.publish(b"3", b"never", b"4")
        async with stage.relaying() as relay:
            await until(lambda: stage.waiting() == 0)
            await stage.publish(b"5")
            await until(lambda: stage.waiting() == 0)
            assert relay.trouble == ""
        assert stage.outlet.numbers == [(b"1", 0, 1), (b"2", 0, 2), (b"3", 0, 3), (b"4", 0, 5), (b"5", 0, 1)]
        assert stage.database.read("SELECT value, why FROM onward_refused") == [(b"never", "Never.")]

    on_stage(scene)


def test_whatever_goes_wrong_a_relay_begins_again() -> None:
    async def scene(stage: Stage) -> None:
        stage.outlet.faults = [ZeroDivisionError("division by zero"), KeyError("orders")]
        await stage.publish(b"1")
        async with stage.relaying() as relay:
            await until(lambda: stage.waiting() == 0)
            assert relay.trouble == ""

    on_stage(scene)


def test_who_tries_again_what_could_not_be_sent_says_so_until_the_broker_has_it() -> None:
    async def scene(stage: Stage) -> None:
        stage.outlet.answers, stage.outlet.holds = [BrokerError("Too few replicas.")], True
        async with stage.relaying() as relay:
            await stage.publish(b"1")
            await until(lambda: bool(stage.outlet.waiting))
            assert "wait in its outbox: Too few replicas." in relay.trouble
            stage.outlet.waiting[0].set_result(None)
            await until(lambda: stage.waiting() == 0)
            assert relay.trouble == ""

    on_stage(scene)


@pytest.mark.parametrize("rests", [False, True])
def test_what_the_broker_has_is_deleted_together_once_nothing_more_comes(
    rests: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At a rest, or when so many are there."""
    monkeypatch.setattr(leader, "REST_S", 0.0 if rests else 3600.0)
    monkeypatch.setattr(leader, "ROWS", 4)

    async def scene(stage: Stage) -> None:
        deleted: list[int] = []
        delete = stage.outbox.delete

        async def counting(term: Term, ids: Sequence[int], refused: Sequence[Refused] = ()) -> None:
            deleted.append(len(ids))
            await delete(term, ids, refused)

        monkeypatch.setattr(stage.outbox, "delete", counting)
        async with stage.relaying() as relay:
            for number in range(6):
                await stage.publish(b"%d" % number)
                await until(lambda sent=number + 1: relay.sent == sent)  # type: ignore[misc]
                if rests:
                    await until(lambda: stage.waiting() == 0)
            assert deleted == ([1] * 6 if rests else [4])
        assert stage.waiting() == 0
        assert sum(deleted) == 6
        assert len(stage.outlet.sent) == 6

    on_stage(scene)


def test_a_lease_does_not_end_while_the_broker_takes_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leader, "LEASE_S", 0.5)
    monkeypatch.setattr(leader, "PROLONG_S", 0.1)

    async def scene(stage: Stage) -> None:
        stage.outlet.holds = True
        async with stage.relaying():
            await stage.publish(b"1")
            await until(lambda: bool(stage.outlet.waiting))
            until_then = stage.database.read("SELECT until FROM onward_relay")[0][0] + 0.6
            await until(lambda: stage.database.read("SELECT until FROM onward_relay")[0][0] > until_then)
            assert await stage.outbox.lease(60.0) is None
            stage.outlet.waiting[0].set_result(None)
            await until(lambda: stage.waiting() == 0)

    on_stage(scene)


def test_a_second_relay_sends_nothing_while_the_first_leads_and_takes_over_when_it_ends() -> None:
    async def scene(stage: Stage) -> None:
        async with stage.relaying() as first:
            await stage.publish(b"1")
            await until(lambda: stage.waiting() == 0)
            async with stage.relaying() as second:
                await stage.publish(b"2")
                await until(lambda: stage.waiting() == 0)
                assert (first.sent, second.sent) == (2, 0)
                await first.stop()
                await stage.publish(b"3")
                await until(lambda: stage.waiting() == 0)
                assert (first.sent, second.sent) == (2, 1)

    on_stage(scene)


def test_a_leader_whose_lease_was_taken_numbers_and_deletes_nothing_more() -> None:
    async def scene(stage: Stage) -> None:
        stage.outlet.holds = True
        async with stage.relaying():
            await stage.publish(b"1")
            await until(lambda: len(stage.outlet.waiting) == 1)
            async with stage.database.transaction() as connection:  # as a successor does once it has run out
                connection.execute("UPDATE onward_relay SET until = 0")
            other = await stage.outbox.lease(60.0)
            assert other is not None
            stage.outlet.waiting[0].set_result(None)
            await stage.publish(b"2")
            await calm()
            rows = await stage.outbox.read(10, numbered=True)
            assert [row.events[0].value for row in rows] == [b"1"]
            assert [row.events[0].value for row in await stage.outbox.read(10)] == [b"2"]

    on_stage(scene)


def test_what_waits_leaves_before_a_relay_stops() -> None:
    async def scene(stage: Stage) -> None:
        async with stage.relaying():
            await stage.publish(b"1")
        assert stage.waiting() == 0
        assert not (await stage.outbox.stats()).led

    on_stage(scene)


def test_a_relay_says_why_nothing_leaves_until_it_does() -> None:
    async def scene(stage: Stage) -> None:
        stage.outlet.unreachable = True
        async with stage.relaying() as relay:
            await stage.publish(b"1")
            await until(lambda: "wait in its outbox: Nobody answers." in relay.trouble)
            stage.outlet.unreachable = False
            await until(lambda: stage.waiting() == 0)
            assert relay.trouble == ""

    on_stage(scene)


def test_a_relay_is_woken_by_its_own_outbox_alone() -> None:
    async def scene(stage: Stage) -> None:
        async with stage.relaying() as relay:
            await until(lambda: relay.trouble == "" and stage.database.read("SELECT 1 FROM onward_relay") != [])
            async with stage.database.transaction():
                FileOutbox(stage.database, "shop").append([Outgoing("orders", "shop.placed", 1, b"1", None)])
            relay.told({outbox_of("another")})
            await calm()
            assert stage.waiting() == 1
            relay.told({outbox_of("shop")})
            await until(lambda: stage.waiting() == 0)

    on_stage(scene)


def test_events_of_a_topic_that_takes_none_wait_and_the_others_go_on() -> None:
    async def scene(stage: Stage) -> None:
        stage.outlet.barred = {"shut"}
        async with stage.relaying() as relay:
            for number in range(3):
                await stage.publish_row(("shut", "1", b"s%d" % number))
                await stage.publish_row(("orders", "1", b"o%d" % number))
            await until(lambda: stage.values("orders") == [b"o0", b"o1", b"o2"] and stage.waiting() == 3)
            assert "for topic 'shut' wait in its outbox" in relay.trouble
            assert "Topic shut is shut." in relay.trouble
            assert stage.database.read("SELECT topic, why FROM onward_barred") == [("shut", "Topic shut is shut.")]
            stage.outlet.barred = set()
            await until(lambda: stage.waiting() == 0)
            await stage.publish_row(("shut", "1", b"s3"))
            await until(lambda: stage.waiting() == 0)
            assert relay.trouble == ""
            assert stage.database.read("SELECT topic FROM onward_barred") == []
        assert stage.values("shut") == [b"s0", b"s1", b"s2", b"s3"]
        assert [
            number for (topic, _), (_, _, number) in zip(stage.outlet.topics, stage.outlet.numbers, strict=True)
        ] == [
            1,
            2,
            3,
            1,
            2,
            3,
            4,
        ]

    on_stage(scene)


def test_a_row_waits_whole_and_nothing_of_its_keys_passes_it() -> None:
    async def scene(stage: Stage) -> None:
        stage.outlet.barred = {"shut"}
        async with stage.relaying():
            await stage.publish_row(("orders", "1", b"a"), ("shut", "1", b"s"), ("bills", "2", b"a"))
            await stage.publish_row(("orders", "1", b"b"), ("notes", "3", b"a"))
            await stage.publish_row(("notes", "3", b"b"))
            await stage.publish_row(("bills", "2", b"b"))
            await stage.publish_row(("orders", "4", b"c"), ("bills", "5", b"c"), ("notes", None, b"c"))
            await until(lambda: stage.waiting() == 7 and len(stage.outlet.topics) == 3)
            assert sorted(stage.outlet.topics) == [("bills", b"c"), ("notes", b"c"), ("orders", b"c")]
            stage.outlet.barred = set()
            await until(lambda: stage.waiting() == 0)
        assert [stage.values(topic) for topic in ("orders", "bills", "notes")] == [[b"c", b"a", b"b"]] * 3

    on_stage(scene)


def test_what_waits_for_a_topic_waits_in_its_order_for_the_next_leader_too() -> None:
    async def scene(stage: Stage) -> None:
        stage.outlet.barred = {"shut"}
        for part in range(3):
            async with stage.relaying():
                await stage.publish_row(("shut", "1", b"s%d" % part), ("orders", "1", b"with s%d" % part))
                await stage.publish_row(("orders", "2", b"o%d" % part))
                await until(lambda part=part: stage.waiting() == 2 * part + 2)  # type: ignore[misc]
        assert stage.values("orders") == [b"o0", b"o1", b"o2"]
        stage.outlet.barred = set()
        async with stage.relaying():
            await until(lambda: stage.waiting() == 0)
        assert stage.values("orders")[3:] == [b"with s0", b"with s1", b"with s2"]
        assert stage.values("shut") == [b"s0", b"s1", b"s2"]

    on_stage(scene)


def test_what_has_numbers_for_a_topic_that_takes_no_more_waits_and_keeps_its_lanes_waiting() -> None:
    async def scene(stage: Stage) -> None:
        stage.outlet.holds = True
        async with stage.relaying():
            await stage.publish_row(("shut", "1", b"s1"), ("orders", "1", b"o1"))
            await until(lambda: len(stage.outlet.waiting) == 1)
            stage.outlet.barred, stage.outlet.holds, stage.outlet.broken = {"shut"}, False, True
            stage.outlet.waiting[0].set_exception(BrokerError("The topic was deleted."))
            await stage.publish_row(("orders", None, b"other"), ("orders", "1", b"o2"))
            await stage.publish_row(("orders", "2", b"o3"))
            await until(lambda: stage.values("orders") == [b"o1", b"o3"] and stage.waiting() == 4)
            stage.outlet.barred = set()
            await until(lambda: stage.waiting() == 0)
        assert stage.values("orders") == [b"o1", b"o3", b"o1", b"other", b"o2"]
        assert [each for each in stage.outlet.sent if each[0] in (b"s1", b"o1")][:2] == stage.outlet.sent[:2]
        first = [each for each in stage.outlet.sent if each[0] == b"o1"]
        assert first[0] == first[1]

    on_stage(scene)


def test_a_second_topic_that_takes_none_is_looked_after_beside_the_first() -> None:
    async def scene(stage: Stage) -> None:
        stage.outlet.barred = {"shut", "shut too"}
        async with stage.relaying() as relay:
            await stage.publish_row(("shut", "1", b"1"))
            await until(lambda: "'shut'" in relay.trouble)
            await stage.publish_row(("shut too", "1", b"2"))
            await until(lambda: "'shut too'" in relay.trouble)
            stage.outlet.barred = {"shut"}
            await until(lambda: stage.values("shut too") == [b"2"])
            assert "'shut'" in relay.trouble
            stage.outlet.barred = set()
            await until(lambda: stage.waiting() == 0)

    on_stage(scene)
