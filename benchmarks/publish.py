"""Publishing, durable when it returns: in batches and one by one, against the hand-written loop."""

from __future__ import annotations

import asyncio
from functools import partial
from pathlib import Path
from time import perf_counter

from benchmarks import loop
from benchmarks.harness import Benchmark
from benchmarks.orders import QUANTITY, SKUS, expect, fill, logged, orders, service
from benchmarks.orders import order as onward_order


def _by_loop(batch: int, count: int, folder: Path) -> dict[str, float]:
    asyncio.run(fill(folder, 0))
    connection = loop.connect(folder)
    topic = loop.Topic(connection, "orders")
    total = onward_order(0).total
    placed = [loop.Placed(f"order-{i:08d}", f"sku{i % SKUS}", QUANTITY, total) for i in range(count)]
    began = perf_counter()
    for begin in range(0, count, batch):
        with connection:
            topic.append([(each.order_id, loop.encode(each)) for each in placed[begin : begin + batch]])
    seconds = perf_counter() - began
    connection.close()
    expect("events in the log", logged(folder, "orders"), count)
    return {"rate": count / seconds}


def _by_onward(batch: int, count: int, folder: Path) -> dict[str, float]:
    seconds = asyncio.run(_publish(batch, count, folder))
    expect("events in the log", logged(folder, "orders"), count)
    return {"rate": count / seconds}


async def _publish(batch: int, count: int, folder: Path) -> float:
    await fill(folder, 0)
    placed = [each for several in orders(count) for each in several]
    app = service(folder)
    async with app.lifespan(consume=False):
        began = perf_counter()
        for begin in range(0, count, batch):
            await app.publish(*placed[begin : begin + batch])
        return perf_counter() - began


BENCHMARKS = [
    Benchmark(
        name,
        {"hand-written loop": partial(_by_loop, batch), "onward": partial(_by_onward, batch)},
        {"rate": "events/s"},
        count,
        quick_count,
        against="hand-written loop",
    )
    for name, batch, count, quick_count in (
        ("publish, batches of 1000", 1000, 200_000, 2000),
        ("publish, one by one", 1, 3000, 20),
    )
]
