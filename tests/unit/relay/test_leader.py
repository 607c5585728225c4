"""What a leader numbers, sends and forgets, and in which order, whatever its broker answers."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from onward.errors import BrokerError
from onward.ports import Outgoing
from onward.relay import Batch, Refused, Term, leader, outbox_of
from onward.sqlite.outbox import FileOutbox
from onward.testing.contracts.scenes import other_turns
from tests.unit.relay.stage import Stage, calm, on_stage, until


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


def test_while_much_waits_the_loop_has_a_turn_after_each_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leader, "ROWS", 1)

    async def scene(stage: Stage) -> None:
        sent_in: list[int] = []
        send = stage.outlet.send

        def noted(batch: Batch) -> asyncio.Future[None]:
            sent_in.append(turns())
            return send(batch)

        monkeypatch.setattr(stage.outlet, "send", noted)
        stage.outlet.always_known = True
        for value in (b"1", b"2", b"3", b"4", b"5", b"6"):
            await stage.publish(value)
        async with other_turns() as turns, stage.relaying():
            await until(lambda: stage.waiting() == 0)
        assert len(sent_in) == len(set(sent_in)) == 6

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


def test_a_relay_that_does_not_lead_tries_for_the_lease_no_more_often_the_more_is_published(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(leader, "VACANT_S", 3600.0)

    async def scene(stage: Stage) -> None:
        async with stage.relaying(), stage.relaying():
            await stage.publish(b"0")
            await until(lambda: stage.waiting() == 0)
            tried = 0
            lease = stage.outbox.lease

            async def counting(for_s: float, term: Term | None = None) -> Term | None:
                nonlocal tried
                tried += term is None
                return await lease(for_s, term)

            stage.outbox.lease = counting  # type: ignore[method-assign]
            for number in range(1, 50):
                await stage.publish(b"%d" % number)
            await until(lambda: stage.waiting() == 0)
            assert tried == 0

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
