"""A member of a group in a process of its own: one that stays, or one that joins and leaves as it is told."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from onward import App, Topic, Transaction
from onward.pipeline.plain import PlainRunner
from onward.runtime.subscription import Subscription
from tests.integration.kafka.stage import TOPIC, Placed
from tests.integration.services import PATIENCE_S, running

QUICK = "?heartbeat.interval.ms=100"  # a rebalance is heard of with a heartbeat
CALL_S = 0.02
LINE = "{key:>9} {n:>9}\n"
SCHEMA = "CREATE TABLE IF NOT EXISTS effect (place BIGSERIAL PRIMARY KEY, key TEXT NOT NULL, n INTEGER NOT NULL)"


def caller(name: str, bootstrap: str, store: str, partitions: str, calls: str) -> App:
    """One handler takes a while to call another system, which keeps the calls of all members in one file.

    The other one writes what it is given into the store.
    """
    app = App(
        name,
        broker=f"kafka://{bootstrap}{QUICK}",
        store=store,
        schema=SCHEMA,
        topics=[Topic(TOPIC, partitions=int(partitions))],
    )
    file = os.open(calls, os.O_WRONLY | os.O_APPEND)

    @app.on(Placed)
    async def call(placed: Placed) -> None:
        await asyncio.sleep(CALL_S)
        os.write(file, LINE.format(key=placed.key, n=placed.n).encode())

    @app.on(Placed)
    async def record(placed: Placed, tx: Transaction) -> None:
        await tx.submit("INSERT INTO effect (key, n) VALUES (:key, :n)", key=placed.key, n=placed.n)

    return app


def count_revocations(notes: Path) -> None:
    """A byte in the file for each time that partitions have to be given back while handlers are at work on them."""
    revoked = Subscription._revoked

    async def counted(self: Subscription, partitions: Sequence[int]) -> None:
        runner = self._runner
        if isinstance(runner, PlainRunner):
            windows = [runner._windows[each] for each in partitions if each in runner._windows]
            if any(window.tasks for window in windows):
                with notes.open("ab") as file:
                    file.write(b".")
        await revoked(self, partitions)

    Subscription._revoked = counted  # type: ignore[method-assign]


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not holds():
            await asyncio.sleep(0.01)


async def told() -> str:
    """The next line of standard input; "" at its end."""
    line: str = await asyncio.to_thread(sys.stdin.readline)
    return line.strip()


def say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


async def stay(*where: str) -> None:
    """Until its standard input ends."""
    async with running(caller(*where)) as service:
        await until(lambda: all(service.snapshot()["partitions"].values()))
        say("holds")
        ended = asyncio.create_task(told())
        while not ended.done():  # looked at all the time, as by whoever collects metrics
            service.snapshot()
            await asyncio.sleep(0.005)


async def come_and_go(*where: str) -> None:
    """Joins when it is told to, leaves when it is told to, over and over."""
    while await told():
        async with running(caller(*where)) as service:
            await until(lambda: all(service.snapshot()["partitions"].values()))
            say("joined")
            await told()
        say("left")


def main() -> None:
    """`stay` or `come_and_go`, where revocations are counted, and what `caller` takes."""
    mode, notes, *where = sys.argv[1:]
    count_revocations(Path(notes))
    asyncio.run({"stay": stay, "come_and_go": come_and_go}[mode](*where))
