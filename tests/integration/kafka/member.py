"""A member of a group in a process of its own: one that stays, or one that comes and goes."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable
from pathlib import Path

from confluent_kafka import ConsumerGroupState
from confluent_kafka.admin import AdminClient

from onward import App
from onward.pipeline.plain import PlainRunner
from tests.integration.kafka.stage import Placed
from tests.integration.services import PATIENCE_S, running

QUICK = "?heartbeat.interval.ms=100"  # a rebalance is heard of with a heartbeat
CALL_S = 0.02
STEADY = 3  # members that stay
SOME = 20


def caller(name: str, bootstrap: str, database: str, calls: str) -> App:
    """Its handler takes a while to call another system, which keeps the calls of all members in one file."""
    app = App(name, broker=f"kafka://{bootstrap}{QUICK}", store=f"sqlite:///{database}")

    file = os.open(calls, os.O_WRONLY | os.O_APPEND)

    @app.on(Placed)
    async def call(placed: Placed) -> None:
        await asyncio.sleep(CALL_S)
        os.write(file, f"{placed.key} {placed.n}\n".encode())

    return app


def count_revocations(notes: Path) -> None:
    """A byte in the file for each partition that has to be given back while handlers are at work on it."""
    settle = PlainRunner.settle

    async def counted(self: PlainRunner, partition: int, within_s: float | None) -> None:
        window = self._windows.get(partition)
        if window is not None and window.tasks:
            with notes.open("ab") as file:
                file.write(b".")
        await settle(self, partition, within_s)

    PlainRunner.settle = counted  # type: ignore[method-assign]


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not holds():
            await asyncio.sleep(0.01)


async def stay(*where: str) -> None:
    """Until its standard input ends."""
    async with running(caller(*where)) as service:
        await until(lambda: any(service.snapshot()["partitions"].values()))
        sys.stdout.write("holds\n")
        sys.stdout.flush()
        ended = asyncio.create_task(asyncio.to_thread(sys.stdin.read))
        while not ended.done():  # looked at all the time, as by whoever collects metrics
            service.snapshot()
            await asyncio.sleep(0.005)


async def come_and_go(*where: str) -> None:
    """Joins, handles some events, leaves, and waits for the others to have all partitions, over and over."""
    name, bootstrap, *_ = where
    admin = AdminClient({"bootstrap.servers": bootstrap, "log_level": 0})
    ended = asyncio.create_task(asyncio.to_thread(sys.stdin.read))
    while not ended.done():
        async with running(caller(*where)) as service:
            await until(lambda: ended.done() or service.meter.snapshot()["handled"].get("call", 0) >= SOME)
        await until(lambda: ended.done() or settled(admin, f"{name}.call:placed"))
    await ended


def settled(admin: AdminClient, group: str) -> bool:
    (described,) = admin.describe_consumer_groups([group]).values()
    found = described.result(PATIENCE_S)
    return found.state is ConsumerGroupState.STABLE and len(found.members) == STEADY


def main() -> None:
    """`stay` or `come_and_go`, where revocations are counted, and what `caller` takes."""
    mode, notes, *where = sys.argv[1:]
    count_revocations(Path(notes))
    asyncio.run({"stay": stay, "come_and_go": come_and_go}[mode](*where))
