"""Handlers that wait 10 ms for another system: is the declared concurrency reached, and order per key kept?"""

import asyncio
from functools import partial
from pathlib import Path
from time import perf_counter

from benchmarks.harness import Benchmark
from benchmarks.orders import BATCH, expect, file_in
from onward import App, Event

WAIT_S = 0.01
KEYS = 500


class CallMade(Event, type="bench.call_made", topic="calls", key="customer"):
    customer: str
    number: int


def _measure(concurrency: int, count: int, folder: Path) -> dict[str, float]:
    return asyncio.run(_run(concurrency, count, folder))


async def _run(concurrency: int, count: int, folder: Path) -> dict[str, float]:
    app = App("caller", store=f"sqlite:///{file_in(folder)}")
    last: dict[str, int] = {}
    running = most = done = 0
    finished = asyncio.Event()

    @app.on(CallMade, concurrency=concurrency)
    async def call(made: CallMade) -> None:
        nonlocal running, most, done
        running += 1
        most = max(most, running)
        await asyncio.sleep(WAIT_S)
        running -= 1
        expect(f"order of {made.customer}", made.number, last.get(made.customer, -1) + 1)
        last[made.customer] = made.number
        done += 1
        if done == count:
            finished.set()

    events = [CallMade(customer=f"customer-{i % KEYS:04d}", number=i // KEYS) for i in range(count)]
    for begin in range(0, count, BATCH):
        await app.publish(*events[begin : begin + BATCH])
    await app.close()
    async with app.lifespan():
        began = perf_counter()
        await finished.wait()
        seconds = perf_counter() - began
    expect("calls made", done, count)
    ideal = min(concurrency, KEYS) / WAIT_S
    return {"rate": count / seconds, "rate of what is possible": count / seconds / ideal, "most at once": float(most)}


BENCHMARKS = [
    Benchmark(
        f"handlers that wait 10 ms, concurrency={concurrency}",
        {"onward": partial(_measure, concurrency)},
        {"rate": "events/s", "rate of what is possible": "share", "most at once": "handlers"},
        count,
        quick_count,
        rounds=5,
    )
    for concurrency, count, quick_count in ((10, 2000, 50), (100, 10_000, 500))
]
