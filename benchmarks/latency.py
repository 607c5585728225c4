"""From publish to handled, across two processes, each publish durable and each effect committed."""

from __future__ import annotations

import asyncio
import socket
import statistics
import subprocess
import sys
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from time import perf_counter_ns

from benchmarks import loop
from benchmarks.consume import LOOPS
from benchmarks.harness import Benchmark
from benchmarks.orders import environment, expect, fill, order, service, taken

READY = b"ready"
WARM_UP = 20


def _measure(side: str, count: int, folder: Path) -> dict[str, float]:
    asyncio.run(fill(folder, 0, "take"))
    answers = _bound(folder / "answers")
    command = [sys.executable, "-m", "benchmarks.latency", side, str(folder)]
    consumer = subprocess.Popen(command, env=environment())
    try:
        answers.settimeout(20)
        assert answers.recv(64) == READY
        took_ms = asyncio.run(_publish(side, count + WARM_UP, folder, answers))[WARM_UP:]
    finally:
        consumer.terminate()
        consumer.wait(20)
    expect("orders taken", taken(folder), count + WARM_UP)
    cuts = statistics.quantiles(took_ms, n=100)
    return {"p50": cuts[49], "p99": cuts[98]}


async def _publish(side: str, count: int, folder: Path, answers: socket.socket) -> list[float]:
    took_ms: list[float] = []
    app = service(folder)
    async with app.lifespan(consume=False):
        publish = _loop_publisher(folder) if side == "loop" else app.publish
        for number in range(count):
            began = perf_counter_ns()
            await publish(order(number))
            handled = int(answers.recv(64))  # the clock is the machine's: both processes read the same
            took_ms.append((handled - began) / 1e6)
    return took_ms


def _loop_publisher(folder: Path) -> Callable[[object], Awaitable[None]]:
    connection = loop.connect(folder)
    topic = loop.Topic(connection, "orders")
    wake = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    wake.connect(str(folder / "wake"))

    async def publish(event: object) -> None:
        with connection:
            topic.append([(event.order_id, loop.encode(event))])  # type: ignore[attr-defined]
        wake.send(b"orders")

    return publish


def _consume_by_loop(folder: Path) -> None:
    wake, answer = _bound(folder / "wake"), _answering(folder)
    reader = loop.Reader(loop.connect(folder), LOOPS["take"])
    answer.send(READY)
    while True:
        wake.recv(64)
        if reader.step():
            answer.send(str(perf_counter_ns()).encode())


async def _consume_by_onward(folder: Path) -> None:
    answer = _answering(folder)
    async with service(folder, "take").lifespan() as running:
        assert running is not None
        assert running.engine is not None
        assert running.engine.file is not None
        database = running.engine.file.database
        while not all(running.snapshot()["partitions"].values()):  # noqa: ASYNC110 - seen from outside
            await asyncio.sleep(0.01)
        before = taken(folder)

        def committed() -> None:
            nonlocal before
            now = perf_counter_ns()
            ((handled,),) = database.read("SELECT sum(next_offset) FROM onward_account")
            if handled != before:
                before = handled
                answer.send(str(now).encode())

        database.after_commit.append(committed)
        answer.send(READY)
        await asyncio.Event().wait()


def _bound(path: Path) -> socket.socket:
    bound = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    bound.bind(str(path))
    return bound


def _answering(folder: Path) -> socket.socket:
    answer = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    answer.connect(str(folder / "answers"))
    return answer


BENCHMARKS = [
    Benchmark(
        "publish to handled, two processes",
        {"hand-written loop": partial(_measure, "loop"), "onward": partial(_measure, "onward")},
        {"p50": "ms", "p99": "ms"},
        1000,
        20,
        against="hand-written loop",
    )
]

if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        if sys.argv[1] == "loop":
            _consume_by_loop(Path(sys.argv[2]))
        else:
            asyncio.run(_consume_by_onward(Path(sys.argv[2])))
