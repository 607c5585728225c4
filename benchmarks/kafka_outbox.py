"""From `app.publish` through the outbox in PostgreSQL to the handler in another process, one event at a time: against a
hand-written outbox, relay and consumer with the same commits. The handler's process relays too. What is timed ends
with the effect's statement, inside the transaction that is committed next."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from time import monotonic, perf_counter_ns

import psycopg

from benchmarks import kafka_outbox_loop
from benchmarks.harness import Benchmark
from benchmarks.kafka_latency import LOAD, answering, decode, encode, reply, serve
from benchmarks.kafka_orders import ANSWER_S, EVENTS, PARTITIONS, OrderSent, fields, make_topic, servers
from benchmarks.kafka_postgres import SCHEMA, TAKE, database
from benchmarks.latency import READY
from benchmarks.orders import environment, expect
from benchmarks.paces import PACES, UNITS, Busy, Pace, figures
from onward import App, Topic, Transaction

WARM_UP = 50
LOAD_PER_S = 300
TICK_S = 0.02
RAW = "raw"

Publish = Callable[[Sequence[OrderSent]], Awaitable[None]]


def _measure(side: str, pace: Pace, count: int, folder: Path) -> dict[str, float]:
    make_topic("sent")
    answers = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    answers.bind(str(folder / "answers"))
    answers.settimeout(ANSWER_S)
    started: list[subprocess.Popen[bytes]] = []

    def start(part: str) -> None:
        command = [sys.executable, "-m", "benchmarks.kafka_outbox", side, part, str(folder), url]
        started.append(subprocess.Popen(command, env=environment()))
        assert answers.recv(64) == READY

    with database(folder) as url:
        if side == RAW:
            with psycopg.connect(url, autocommit=True) as connection:
                for statement in (*SCHEMA, *kafka_outbox_loop.SCHEMA):
                    connection.execute(statement)
        try:
            for part in ("relay", "consume") if side == RAW else ("consume",):
                start(part)
            handling = [each.pid for each in started]
            if pace.others:
                start(LOAD)
            busy = Busy(handling)
            took_ms = asyncio.run(_publish(side, pace, count + WARM_UP, folder, url, answers))[WARM_UP:]
            busy_percent = busy.percent()
        finally:
            for each in started:
                each.terminate()
            for each in started:
                each.wait(ANSWER_S)
    expect("orders handled", len(took_ms), count)
    return figures(took_ms, busy_percent)


async def _publish(side: str, pace: Pace, count: int, folder: Path, url: str, answers: socket.socket) -> list[float]:
    took_ms: list[float] = []
    loop = asyncio.get_running_loop()
    answers.setblocking(False)

    async def play(publish: Publish) -> None:
        for number in range(count):
            event = OrderSent(**fields(number))
            await pace.pause()
            began = perf_counter_ns()
            await publish([event])
            async with asyncio.timeout(ANSWER_S):
                answer = await loop.sock_recv(answers, 64)
            order_id, handled = answer.split()  # the clock is the machine's: both processes read the same
            assert order_id.decode() == event.order_id
            took_ms.append((int(handled) - began) / 1e6)

    await _publishing(side, folder, url, play)
    return took_ms


async def _publishing(side: str, folder: Path, url: str, play: Callable[[Publish], Awaitable[None]]) -> None:
    if side == RAW:
        with psycopg.connect(url, autocommit=True) as connection:

            async def publish_raw(events: Sequence[OrderSent]) -> None:
                kafka_outbox_loop.publish(connection, [(each.order_id.encode(), encode(each)) for each in events])

            await play(publish_raw)
    else:
        app = _service(folder, url)

        async def publish(events: Sequence[OrderSent]) -> None:
            await app.publish(*events)

        async with app.lifespan(consume=False):
            await play(publish)


def _service(folder: Path, url: str) -> App:
    return App(
        f"inventory-{folder.name}",
        broker=f"kafka://{servers()}",
        store=url,
        schema=SCHEMA,
        topics=[Topic("sent", partitions=PARTITIONS)],
    )


async def _load(side: str, folder: Path, url: str) -> None:
    """LOAD_PER_S orders that nobody waits for, those of one tick in one transaction; READY behind the first."""
    answer = answering(folder)

    async def play(publish: Publish) -> None:
        number, began = 0, monotonic()
        while True:
            due = int((monotonic() - began) * LOAD_PER_S)
            if due > number:
                await publish([OrderSent(**{**fields(each), "customer_id": LOAD}) for each in range(number, due)])
                if number == 0:
                    answer.send(READY)
                number = due
            await asyncio.sleep(TICK_S)

    await _publishing(side, folder, url, play)


async def _consume(folder: Path, url: str) -> None:
    answer = answering(folder)
    app = _service(folder, url)

    async def handle(order: OrderSent, tx: Transaction) -> None:
        await tx.execute(TAKE, n=order.quantity, sku=order.sku)
        reply(order, answer)

    app.on(EVENTS["sent"])(handle)
    await serve(app, answer)


def _part(side: str, part: str, folder: Path, url: str) -> None:
    if part == LOAD:
        asyncio.run(_load(side, folder, url))
    elif side != RAW:
        asyncio.run(_consume(folder, url))
    else:
        answer = answering(folder)
        ready = partial(answer.send, READY)
        if part == "relay":
            kafka_outbox_loop.relay(url, "sent", ready)
        else:

            def handle(value: bytes) -> tuple[OrderSent, Callable[[], None]]:
                order = decode(value)
                return order, partial(reply, order, answer)

            kafka_outbox_loop.consume(url, folder.name, "sent", ready, handle)


BENCHMARKS = [
    Benchmark(
        f"publish to handled, outbox in PostgreSQL, {pace.name}",
        {
            "hand-written outbox and relay": partial(_measure, RAW, pace),
            "onward": partial(_measure, "onward", pace),
        },
        UNITS,
        500,
        20,
        against="hand-written outbox and relay",
        rounds=pace.rounds,
    )
    for pace in PACES
]

if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        _part(sys.argv[1], sys.argv[2], Path(sys.argv[3]), sys.argv[4])
