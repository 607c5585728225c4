"""A relay that dies, loses its connection or finds an older copy: nothing is lost, and nothing new looks old."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from msgspec.structs import replace

from onward.errors import InfrastructureError, LeaseLostError, TransactionError
from onward.relay import Batch, Stamp, Term
from onward.relay.leader import Relay
from onward.stores.postgres import outbox_sql
from onward.stores.postgres.address import Address
from onward.stores.postgres.outbox import MOVE_ROWS, PostgresOutbox
from scripts.servers.postgres import Postgres
from tests.integration.postgres.copies import copies_of
from tests.integration.postgres.outboxes import Bench, Received, on_bench
from tests.integration.postgres.proxy import Proxy


class Spied(PostgresOutbox):
    """`terms` that numbered, or tried to, by their incarnation."""

    terms: list[bytes]

    async def number(self, term: Term, stamps: Mapping[int, Stamp], barred: Mapping[str, str] | None = None) -> None:
        if stamps:
            self.terms.append(term.incarnation)
        await super().number(term, stamps, barred)


async def relayed(outbox: PostgresOutbox, received: Received, last: bytes) -> None:
    """By a relay that runs until this event is sent."""
    relay = Relay(outbox, received, "shop")
    relay.start()
    await received.until(last)
    await relay.stop()
    assert relay.trouble == ""


@pytest.mark.parametrize("sent", [False, True])
def test_what_a_relay_numbered_before_it_died_is_sent_first_with_the_numbers_that_it_has(
    postgres_url: str, sent: bool
) -> None:
    async def scene(bench: Bench) -> None:
        received = Received()
        await bench.publish(b"1", b"2")
        await bench.publish(b"3")
        died = await bench.led()
        rows = await bench.outbox.read(10)
        stamps = {
            rows[0].id: Stamp(died.epoch, 1, died.incarnation, ((0, 1), (0, 2))),
            rows[1].id: Stamp(died.epoch, 2, died.incarnation, ((0, 3),)),
        }
        await bench.outbox.number(died, stamps)
        if sent:
            await received.send(Batch.of([replace(row, stamp=stamps[row.id]) for row in rows]))
        bench.rows("UPDATE onward.relay SET until = now()")
        await bench.publish(b"4")
        await relayed(bench.outbox, received, b"4")
        assert received.handled == [b"1", b"2", b"3", b"4"]
        numbers = received.numbers()
        assert numbers.pop(died.incarnation) == ([1, 2, 3, 1, 2, 3] if sent else [1, 2, 3])
        assert list(numbers.values()) == [[1]]
        assert bench.rows("SELECT count(*) FROM onward.outbox") == [(0,)]

    on_bench(postgres_url, scene)


@pytest.mark.parametrize("moves", [False, True])
@pytest.mark.parametrize("kept", [False, True])
def test_a_numbering_that_nobody_knows_to_hold_ends_the_term_and_no_event_is_lost_or_doubled(
    postgres_url: str, postgres: Postgres, kept: bool, moves: bool
) -> None:
    """In one round trip with its COMMIT, and in more."""

    async def scene(bench: Bench) -> None:
        received = Received()
        async with Proxy(postgres.port).running() as proxy:
            url = postgres_url.replace(f":{postgres.port}/", f":{proxy.port}/") + "?sslmode=disable"
            outbox = Spied(Address.read(url), "shop")
            outbox.terms = []
            outbox._since_move = MOVE_ROWS if moves else 0
            for number in range(5):
                await bench.publish(b"%d" % number)
            proxy.lose(outbox_sql.NUMBER, kept=kept)
            await relayed(outbox, received, b"4")
            assert proxy.cut == 1
            await bench.publish(b"5")
            await relayed(outbox, received, b"5")
            outbox.close()
        assert received.handled == [b"%d" % number for number in range(6)]
        unsure, *later = outbox.terms
        assert unsure not in later
        assert received.numbers().get(unsure) == ([1, 2, 3, 4, 5] if kept else None)
        assert bench.rows("SELECT count(*) FROM onward.outbox") == [(0,)]

    on_bench(postgres_url, scene)


def test_a_server_that_is_killed_and_comes_back_costs_no_event(postgres_url: str, postgres: Postgres) -> None:
    async def scene(bench: Bench) -> None:
        received = Received()
        relay = Relay(bench.outbox, received, "shop")
        await bench.publish(b"1")
        relay.start()
        await received.until(b"1")
        await bench.publish(b"2")
        postgres.kill()
        postgres.start()
        bench.rows("UPDATE onward.relay SET until = now()")  # as if the lease had ended that could not be given up
        await bench.publish(b"3")
        await received.until(b"3")
        await relay.stop()
        assert received.handled == [b"1", b"2", b"3"]

    on_bench(postgres_url, scene)


def test_a_restored_copy_publishes_some_twice_and_nothing_new_of_it_looks_old(
    postgres_url: str, postgres: Postgres
) -> None:
    async def scene(bench: Bench) -> None:
        received = Received()
        with copies_of(postgres, postgres_url) as copies:
            await bench.publish(b"1")
            await relayed(bench.outbox, received, b"1")
            await bench.publish(b"2")
            await bench.pass_on(await bench.led(), keep=True)
            await bench.publish(b"3")
            copies.take()
            bench.rows("UPDATE onward.relay SET until = now()")
            await bench.publish(b"4")
            await relayed(bench.outbox, received, b"4")
            assert received.handled == [b"1", b"2", b"3", b"4"]

            copies.go_back()
            bench.rows("UPDATE onward.relay SET until = now()")
            assert [event.value for row in await bench.outbox.read(10) for event in row.events] == [b"3"]
            await bench.publish(b"5")
            await relayed(bench.outbox, received, b"5")
            # 2 has the number that it had; the copy does not know that 3 had one.
            assert received.handled == [b"1", b"2", b"3", b"4", b"3", b"5"]

    on_bench(postgres_url, scene)


def test_a_leader_on_a_copy_that_has_gone_back_ends_its_term_and_deletes_no_event_that_it_does_not_know(
    postgres_url: str, postgres: Postgres
) -> None:
    async def scene(bench: Bench) -> None:
        with copies_of(postgres, postgres_url) as copies:
            await bench.publish(b"1")
            term = await bench.led()
            await bench.pass_on(term)
            copies.take()
            await bench.publish(b"sent")
            (sent,) = await bench.outbox.read(10)
            await bench.outbox.number(term, bench.stamps(term, [sent]))

            copies.go_back()
            await bench.publish(b"new")
            (new,) = await bench.outbox.read(10)
            assert (new.id, new.events[0].value) == (sent.id, b"new")
            with pytest.raises(LeaseLostError, match="older copy"):
                await bench.outbox.delete(term, [sent.id])
            with pytest.raises(LeaseLostError):
                await bench.outbox.number(term, bench.stamps(term, [new]))
            assert await bench.outbox.read(10) == [new]
            await bench.outbox.lease(0, term)
            received = Received()
            await relayed(bench.outbox, received, b"new")
            ((incarnation, number, _),) = received.log
            assert incarnation != term.incarnation
            assert number == 1

    on_bench(postgres_url, scene)


def test_a_row_that_has_another_ones_id_on_the_server_that_took_over_is_not_numbered_for_it(
    postgres_url: str, postgres: Postgres
) -> None:
    async def scene(bench: Bench) -> None:
        with copies_of(postgres, postgres_url) as copies:
            await bench.publish(b"1")
            term = await bench.led()
            await bench.pass_on(term)
            copies.take()
            await bench.publish(b"gone")
            (gone,) = await bench.outbox.read(10)
            copies.go_back()
            await bench.publish(b"other")
            assert bench.rows("SELECT id FROM onward.outbox") == [(gone.id,)]
            with pytest.raises(InfrastructureError):
                await bench.outbox.number(term, bench.stamps(term, [gone]))
            with pytest.raises(TransactionError, match="have numbers or are gone"):
                await bench.outbox.number(term, bench.stamps(term, [gone]))
            assert bench.rows("SELECT epoch FROM onward.outbox") == [(None,)]

    on_bench(postgres_url, scene)
