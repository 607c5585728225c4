"""Peers on the topic that onward reads: what a handler of typed orders reaches, and what it may lose or do twice."""

from __future__ import annotations

import asyncio
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.harness import Benchmark
from benchmarks.kafka_consume import by_onward
from benchmarks.kafka_orders import BATCH, UNITS, Watch, fill, servers
from benchmarks.orders import expect

ONE_BY_ONE = 10_000  # orders at most, where each is acknowledged by itself


def _faststream(batch: bool, count: int, folder: Path) -> dict[str, float]:
    """Counts what it handles, and commits its offsets to Kafka behind that: at least once, no store."""
    from faststream import AckPolicy
    from faststream.confluent import KafkaBroker
    from pydantic import BaseModel

    class Placed(BaseModel):
        order_id: str
        customer_id: str
        sku: str
        quantity: int
        total: float
        warehouse: str

    fill("orders", count)
    wanted = count if batch else min(count, ONE_BY_ONE)
    broker = KafkaBroker(servers(), logger=None)
    seen: set[str] = set()
    began: list[tuple[int, Watch]] = []

    async def take(placed: Placed) -> None:
        seen.add(placed.order_id)
        note()

    async def take_all(placed: list[Placed]) -> None:
        seen.update(each.order_id for each in placed)
        note()

    def note() -> None:
        if not began:
            began.append((len(seen), Watch()))

    options: dict[str, Any] = {
        "group_id": f"faststream-{folder.name}",
        "auto_offset_reset": "earliest",
        "ack_policy": AckPolicy.ACK,
    }
    if batch:
        broker.subscriber("orders", batch=True, max_records=BATCH, **options)(take_all)
    else:
        broker.subscriber("orders", **options)(take)

    async def run() -> dict[str, float]:
        await broker.start()
        while len(seen) < wanted:  # noqa: ASYNC110 - seen from outside
            await asyncio.sleep(0.005)
        ((first, watch),) = began
        values = watch.values(len(seen) - first)
        await broker.stop()
        return values

    values = asyncio.run(run())
    if wanted == count:
        expect("orders handled", len(seen), count)
    return values


BENCHMARKS = [
    Benchmark(
        "peers on Kafka, one UPDATE each in onward, a count in the others",
        {
            "onward": partial(by_onward, "orders"),
            "FastStream (confluent), ACK": partial(_faststream, False),
            "FastStream (confluent), batches of 1000 and ACK": partial(_faststream, True),
        },
        UNITS,
        200_000,
        2000,
        against="onward",
    )
]
