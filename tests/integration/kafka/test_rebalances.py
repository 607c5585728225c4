"""Partitions move between members while handlers are at work: each event takes effect once, in order per key."""

import asyncio
from contextlib import ExitStack
from pathlib import Path

from scripts.servers.kafka import Kafka
from tests.integration.children import Child, child
from tests.integration.kafka.member import STEADY
from tests.integration.kafka.stage import Stage, assert_exactly_once, placed

PARTITIONS = 36
REVOCATIONS = 50
BATCH = 100
AHEAD = 2000  # events sent and not handled yet, at most
MEMBER = "from tests.integration.kafka.member import main; main()"


def test_fifty_revocations_with_handlers_in_flight_lose_double_and_reorder_nothing(
    kafka: Kafka, tmp_path: Path
) -> None:
    stage = Stage(kafka, tmp_path, partitions=PARTITIONS)
    kafka.create_topic(stage.topic.name, PARTITIONS)
    notes = tmp_path / "revocations"
    calls = tmp_path / "calls"
    for path in (notes, calls):
        path.touch()
    where = (notes, stage.name, kafka.bootstrap, stage.database, calls)

    def called() -> list[tuple[str, int]]:
        return [(key, int(n)) for key, n in map(str.split, calls.read_text().splitlines())]

    async def send() -> int:
        """Until there were enough revocations; how many events that took."""
        app, sent = stage.app(), 0
        while notes.stat().st_size < REVOCATIONS:
            await app.send(*placed(range(sent, sent + BATCH), keys=400))
            sent += BATCH
            await stage.until(lambda at_least=sent - AHEAD: len(called()) > at_least)  # type: ignore[misc]
        await app.close()
        await stage.until(lambda: len(called()) >= sent)
        return sent

    with ExitStack() as stack:
        members: list[Child] = [stack.enter_context(child(MEMBER, "stay", *where)) for _ in range(STEADY)]
        for member in members:
            member.says("holds")
        members.append(stack.enter_context(child(MEMBER, "come_and_go", *where)))
        sent = asyncio.run(send())
        for member in reversed(members):
            assert member.process.stdin is not None
            member.process.stdin.close()
            member.ends()
    assert_exactly_once(called(), range(sent))
    assert len(called()) == sent
