"""Partitions move between members while handlers are at work: each event takes effect once, in order per key."""

import asyncio
from contextlib import ExitStack
from pathlib import Path

import psycopg
import pytest

from scripts.servers.kafka import Kafka
from tests.integration.children import Child, child
from tests.integration.kafka.member import LINE
from tests.integration.kafka.stage import Stage, assert_exactly_once, placed

PARTITIONS = 12
MEMBERS = 3  # that stay; a fourth one joins and leaves by turns
REBALANCES = 60
EVERY_S = 1.0
REVOCATIONS = 50
BATCH = 100
AHEAD = 2000  # events sent and not handled yet, at most
MEMBER = "from tests.integration.kafka.member import main; main()"
WIDTH = len(LINE.format(key="", n=0))


@pytest.mark.timeout(240)
def test_a_rebalance_each_second_for_a_minute_with_handlers_in_flight_loses_doubles_and_reorders_nothing(
    kafka: Kafka, postgres_url: str, tmp_path: Path
) -> None:
    stage = Stage(kafka, tmp_path, partitions=PARTITIONS)
    kafka.create_topic(stage.topic.name, PARTITIONS)
    notes, calls = tmp_path / "revocations", tmp_path / "calls"
    for path in (notes, calls):
        path.touch()
    where = (notes, stage.name, kafka.bootstrap, postgres_url, PARTITIONS, calls)

    def called() -> int:
        return calls.stat().st_size // WIDTH

    async def send(rebalancing: asyncio.Task[None]) -> int:
        """Until it has ended; how many events were handled meanwhile."""
        app, sent = stage.app(), 0
        while not rebalancing.done():
            await app.send(*placed(range(sent, sent + BATCH), keys=400))
            sent += BATCH
            await stage.until(lambda at_least=sent - AHEAD: called() > at_least)  # type: ignore[misc]
        await app.close()
        await rebalancing
        await stage.until(lambda: called() >= sent)
        return sent

    async def rebalance(guest: Child) -> None:
        for turn in range(REBALANCES):
            second = asyncio.create_task(asyncio.sleep(EVERY_S))
            guest.tell("join" if turn % 2 == 0 else "leave")
            assert await asyncio.to_thread(guest.answers) == ("joined" if turn % 2 == 0 else "left")
            await second

    async def scene(guest: Child) -> int:
        return await send(asyncio.create_task(rebalance(guest)))

    with ExitStack() as stack:
        members = [stack.enter_context(child(MEMBER, "stay", *where)) for _ in range(MEMBERS)]
        for member in members:
            member.says("holds")
        guest = stack.enter_context(child(MEMBER, "come_and_go", *where))
        sent = asyncio.run(scene(guest))
        for member in [guest, *members]:
            assert member.process.stdin is not None
            member.process.stdin.close()
            member.ends()
    assert notes.stat().st_size >= REVOCATIONS
    found = [(key, int(n)) for key, n in map(str.split, calls.read_text().splitlines())]
    assert_exactly_once(found, range(sent))
    with psycopg.connect(postgres_url) as connection:
        recorded = connection.execute("SELECT key, n FROM effect ORDER BY place").fetchall()
    assert_exactly_once(recorded, range(sent))
    assert len(found) == len(recorded) == sent
