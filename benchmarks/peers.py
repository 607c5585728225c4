"""Peers at what comes nearest: one typed handler call, and one event through a queue on SQLite."""

import asyncio
from functools import partial
from pathlib import Path
from time import perf_counter

from benchmarks.harness import Benchmark
from benchmarks.orders import BATCH, SKUS, expect, fill, order, passed, service


def _onward(batch: int, count: int, folder: Path) -> dict[str, float]:
    return {"rate": count / asyncio.run(_through_onward(batch, count, folder))}


async def _through_onward(batch: int, count: int, folder: Path) -> float:
    await fill(folder, 0)
    app = service(folder, "look")
    async with app.lifespan() as running:
        assert running is not None
        began = perf_counter()
        for first in range(0, count, batch):
            await app.publish(*[order(number) for number in range(first, min(first + batch, count))])
        while running.meter.snapshot()["handled"].get("look", 0) < count:  # noqa: ASYNC110 - seen from outside
            await asyncio.sleep(0.001)
        seconds = perf_counter() - began
    expect("events passed", passed(folder), count)
    return seconds


def _faststream(count: int, folder: Path) -> dict[str, float]:
    from faststream.kafka import KafkaBroker, TestKafkaBroker
    from pydantic import BaseModel

    class Placed(BaseModel):
        order_id: str
        sku: str
        quantity: int
        total: float

    broker = KafkaBroker()
    seen: set[str] = set()

    async def look(placed: Placed) -> None:
        seen.add(placed.order_id)

    broker.subscriber("orders")(look)

    async def run() -> float:
        async with TestKafkaBroker(broker):
            began = perf_counter()
            for number in range(count):
                await broker.publish(_fields(number), "orders")
            return perf_counter() - began

    seconds = asyncio.run(run())
    expect("FastStream's handler calls", len(seen), count)
    return {"rate": count / seconds}


def _huey(count: int, folder: Path) -> dict[str, float]:
    from huey import SqliteHuey

    huey = SqliteHuey(filename=str(folder / "huey.db"), fsync=True, results=False)
    seen: set[str] = set()

    def look(placed: dict[str, object]) -> None:
        seen.add(str(placed["order_id"]))

    task_of = huey.task()(look)
    began = perf_counter()
    for number in range(count):
        task_of(_fields(number))
    while (task := huey.dequeue()) is not None:
        huey.execute(task)
    seconds = perf_counter() - began
    expect("Huey's tasks run", len(seen), count)
    return {"rate": count / seconds}


def _persist_queue(count: int, folder: Path) -> dict[str, float]:
    import persistqueue

    queue = persistqueue.SQLiteAckQueue(str(folder), auto_commit=True)
    seen: set[str] = set()
    began = perf_counter()
    for number in range(count):
        queue.put(_fields(number))
    while len(seen) < count:
        item = queue.get(block=False)
        seen.add(item["order_id"])
        queue.ack(item)
    seconds = perf_counter() - began
    expect("persist-queue's items acknowledged", len(seen), count)
    return {"rate": count / seconds}


def _fields(number: int) -> dict[str, object]:
    return {"order_id": f"order-{number:08d}", "sku": f"sku{number % SKUS}", "quantity": 2, "total": 19.99}


BENCHMARKS = [
    Benchmark(
        "publish and handle, one process",
        {
            "onward, one by one": partial(_onward, 1),
            "onward, batches of 1000": partial(_onward, BATCH),
            "FastStream test broker (in memory)": _faststream,
            "Huey on SQLite": _huey,
            "persist-queue on SQLite": _persist_queue,
        },
        {"rate": "events/s"},
        2000,
        20,
        against="onward, one by one",
        rounds=5,
    )
]
