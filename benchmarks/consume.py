"""Exactly once, one consumer process, typed events: against the hand-written loop."""

from __future__ import annotations

import asyncio
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import Any

import apsw

from benchmarks import loop
from benchmarks.harness import Benchmark, Side
from benchmarks.orders import TAKE, expect, fill, logged, passed, service, taken


def _look(event: Any, connection: apsw.Connection, outputs: loop.Outputs) -> None:
    pass


def _take(event: Any, connection: apsw.Connection, outputs: loop.Outputs) -> None:
    connection.execute(TAKE, {"n": event.quantity, "sku": event.sku})


def _reserve(event: Any, connection: apsw.Connection, outputs: loop.Outputs) -> None:
    connection.execute(TAKE, {"n": event.quantity, "sku": event.sku})
    outputs.append((event.order_id, loop.encode(loop.Reserved(event.order_id))))


LOOPS: dict[str, loop.Handle] = {"look": _look, "take": _take, "reserve": _reserve}


def _by_loop(handler: str, count: int, folder: Path, *, one_cursor: bool = False) -> dict[str, float]:
    asyncio.run(fill(folder, count))
    connection = loop.connect(folder)
    reader = loop.Reader(connection, _one_cursor(connection) if one_cursor else LOOPS[handler])
    done, began = 0, perf_counter()
    while done < count:
        done += reader.step()
    seconds = perf_counter() - began
    connection.close()
    _check(handler, count, folder)
    return {"rate": count / seconds}


def _one_cursor(connection: apsw.Connection) -> loop.Handle:
    """`take` without a new cursor each time, which most code that is written by hand does not think of."""
    execute = connection.cursor().execute

    def take(event: Any, _connection: apsw.Connection, _outputs: loop.Outputs) -> None:
        execute(TAKE, {"n": event.quantity, "sku": event.sku})

    return take


def _by_onward(handler: str, count: int, folder: Path) -> dict[str, float]:
    seconds = asyncio.run(_consume(handler, count, folder))
    _check(handler, count, folder)
    return {"rate": count / seconds}


async def _consume(handler: str, count: int, folder: Path) -> float:
    await fill(folder, count, handler)
    async with service(folder, handler).lifespan() as running:
        assert running is not None
        began = perf_counter()
        while running.meter.snapshot()["handled"].get(handler, 0) < count:  # noqa: ASYNC110 - seen from outside
            await asyncio.sleep(0.001)
        return perf_counter() - began


def _check(handler: str, count: int, folder: Path) -> None:
    expect("events passed", passed(folder), count)
    expect("orders taken", taken(folder), 0 if handler == "look" else count)
    expect("events put out", logged(folder, "stock"), count if handler == "reserve" else 0)


def _sides(handler: str) -> dict[str, Side]:
    sides: dict[str, Side] = {
        "hand-written loop": partial(_by_loop, handler),
        "onward": partial(_by_onward, handler),
    }
    if handler == "take":
        sides["hand-written loop, one cursor"] = partial(_by_loop, "take", one_cursor=True)
    return sides


BENCHMARKS = [
    Benchmark(name, _sides(handler), {"rate": "events/s"}, count, 2000, against="hand-written loop", share=True)
    for name, handler, count in (
        ("exactly once, no statement", "look", 400_000),
        ("exactly once, one UPDATE each", "take", 300_000),
        ("exactly once, one UPDATE and one event each", "reserve", 150_000),
    )
]
