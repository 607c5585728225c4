"""Exactly once from Kafka into a store on SQLite, one consumer process, typed events: against the hand-written loop."""

from __future__ import annotations

import asyncio
from functools import partial
from pathlib import Path

from benchmarks import kafka_loop
from benchmarks.harness import Benchmark, Side
from benchmarks.kafka_orders import UNITS, Watch, fill, handled, register, service
from benchmarks.orders import TAKE, expect, passed, taken


def _take(event: kafka_loop.Placed, execute: kafka_loop.Execute) -> None:
    execute(TAKE, {"n": event.quantity, "sku": event.sku})


def _by_loop(topic: str, count: int, folder: Path, *, savepoints: bool = True) -> dict[str, float]:
    fill(topic, count)
    asyncio.run(register(service(folder, topic, "take")))
    reader = kafka_loop.Reader(folder, topic, _take, savepoints=savepoints)
    done = first = 0
    while not first:
        done = first = reader.step()
    watch = Watch()
    while done < count:
        done += reader.step()
    values = watch.values(count - first)
    reader.close()
    _check(count, folder)
    return values


def by_onward(topic: str, count: int, folder: Path) -> dict[str, float]:
    fill(topic, count)
    values = asyncio.run(_consume(topic, count, folder))
    _check(count, folder)
    return values


async def _consume(topic: str, count: int, folder: Path) -> dict[str, float]:
    async with service(folder, topic, "take").lifespan() as running:
        assert running is not None
        first = await handled(running, "take", 0)
        watch = Watch()
        last = await handled(running, "take", count - 1)
        return watch.values(last - first)


def _check(count: int, folder: Path) -> None:
    expect("events passed", passed(folder), count)
    expect("orders taken", taken(folder), count)


def _sides(topic: str) -> dict[str, Side]:
    return {
        "hand-written loop": partial(_by_loop, topic),
        "onward": partial(by_onward, topic),
        "hand-written loop, no savepoints": partial(_by_loop, topic, savepoints=False),
    }


BENCHMARKS = [
    Benchmark(
        f"Kafka to SQLite, one UPDATE each, {what}",
        _sides(topic),
        UNITS,
        300_000,
        2000,
        against="hand-written loop",
        share=True,
    )
    for topic, what in (("orders", "plain JSON"), ("own_orders", "written by onward"))
]
