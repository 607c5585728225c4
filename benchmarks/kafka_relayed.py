"""From Kafka through a store on SQLite back to Kafka: each event puts one out, which counts when Kafka has it."""

from __future__ import annotations

import asyncio
from pathlib import Path
from time import monotonic

from benchmarks.harness import Benchmark
from benchmarks.kafka_orders import HANDLED_S, UNITS, Watch, fill, handled, logged, make_topic, register, service
from benchmarks.kafka_relay_loop import RelayingReader
from benchmarks.orders import ask, expect, passed, taken
from onward.runtime import Service


def _by_loop(count: int, folder: Path) -> dict[str, float]:
    _fresh(count)
    asyncio.run(register(service(folder, "orders", "reserve")))
    reader = RelayingReader(folder, "orders", "reserved")
    done = first = 0
    while not first:
        done = first = reader.step()
    watch = Watch()
    while done < count:
        done += reader.step()
    reader.finish()
    values = watch.values(count - first)
    reader.close()
    _check(count, folder)
    return values


def by_onward(count: int, folder: Path) -> dict[str, float]:
    _fresh(count)
    values = asyncio.run(_consume(count, folder))
    _check(count, folder)
    return values


async def _consume(count: int, folder: Path) -> dict[str, float]:
    async with service(folder, "orders", "reserve").lifespan() as running:
        assert running is not None
        first = await handled(running, "reserve", 0)
        watch = Watch()
        await handled(running, "reserve", count - 1)
        await relayed(running, count)
        return watch.values(count - first)


async def relayed(running: Service, count: int) -> None:
    """Wait until Kafka has confirmed so many."""
    assert running.engine is not None
    assert running.engine.outlets is not None
    until = monotonic() + HANDLED_S
    while running.engine.outlets.relay.sent < count:
        if monotonic() > until:
            raise TimeoutError(f"{running.engine.outlets.relay.sent:,} of {count:,} events in {HANDLED_S:g} s")
        await asyncio.sleep(0.001)


def _fresh(count: int) -> None:
    fill("orders", count)
    make_topic("reserved")


def _check(count: int, folder: Path) -> None:
    expect("events passed", passed(folder), count)
    expect("orders taken", taken(folder), count)
    expect("events in the topic", logged("reserved"), count)
    expect("events in the outbox", ask(folder, "SELECT count(*) FROM onward_outbox"), 0)


BENCHMARKS = [
    Benchmark(
        "Kafka to SQLite to Kafka, one UPDATE and one event each",
        {"hand-written loop and relay": _by_loop, "onward": by_onward},
        UNITS,
        150_000,
        2000,
        against="hand-written loop and relay",
        share=True,
    )
]
