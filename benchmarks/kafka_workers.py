"""What more consumer processes of one service cost and buy, on Kafka and PostgreSQL; and of the hand-written loop."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from time import monotonic, perf_counter, sleep
from typing import Any

import psycopg
from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from benchmarks import kafka_postgres_loop
from benchmarks.harness import Benchmark
from benchmarks.kafka_loop import Placed
from benchmarks.kafka_orders import ANSWER_S, HANDLED_S, OrderSent, make_topic, produce, register, servers
from benchmarks.kafka_postgres import ask, database
from benchmarks.orders import environment, expect
from benchmarks.paces import Busy
from onward import App, Topic, Transaction

URL, NAME, HANDLER = "BENCHMARK_DATABASE", "BENCHMARK_SERVICE", "BENCHMARK_HANDLER"
PARTITIONS = 8  # so that they are shared out evenly
WAIT_S = 0.01
SCHEMA = "CREATE TABLE IF NOT EXISTS sent (order_id text)"
HANDLED = {  # how many, as the store has it
    "insert": "SELECT count(*) FROM sent",
    "wait": "SELECT coalesce(sum(succeeded), 0) FROM onward.tally",
}


async def insert(order: OrderSent, tx: Transaction) -> None:
    """One INSERT, in nobody's way."""
    await tx.submit("INSERT INTO sent (order_id) VALUES (:order_id)", order_id=order.order_id)


async def wait(order: OrderSent) -> None:
    """Waits for another system."""
    await asyncio.sleep(WAIT_S)


def service(url: str, name: str, handler: str) -> App:
    topics = [Topic("sent", partitions=PARTITIONS)]
    app = App(name, broker=f"kafka://{servers()}", store=url, schema=SCHEMA, topics=topics)
    app.on(OrderSent)(insert if handler == "insert" else wait)
    return app


def _measure(handler: str, workers: int, count: int, folder: Path) -> dict[str, float]:
    """Of processes that have shared out the partitions and handled some events by then."""
    make_topic("sent", PARTITIONS)
    name = f"sent-{folder.name}"
    group = f"{name}:sent" if handler == "insert" else f"{name}.wait:sent"
    with database(folder) as url:
        asyncio.run(register(service(url, name, handler)))
        with processes(url, name, handler, workers) as pid:
            return _of_these([pid], url, group, workers, handler, count)


def _by_loops(loops: int, count: int, folder: Path) -> dict[str, float]:
    """The same, with a loop in each process."""
    make_topic("sent", PARTITIONS)
    group = f"loop-{folder.name}"
    command = [sys.executable, "-m", "benchmarks.kafka_workers"]
    running: list[subprocess.Popen[bytes]] = []
    with database(folder) as url:
        asyncio.run(register(service(url, f"sent-{folder.name}", "insert")))
        try:
            running.extend(subprocess.Popen([*command, url, group], env=environment()) for _ in range(loops))
            return _of_these([each.pid for each in running], url, group, loops, "insert", count)
        finally:
            for each in running:
                each.terminate()
            for each in running:
                each.wait(60)


def _of_these(pids: list[int], url: str, group: str, members: int, handler: str, count: int) -> dict[str, float]:
    """What the processes and their children need, once the partitions are shared out and some events handled."""
    first = count // 10
    _until(lambda: sharing(group) == members, f"{members} processes share the partitions")
    produce("sent", first)
    _until(lambda: ask(url, HANDLED[handler]) >= first, "the first events are handled")
    began, busy = perf_counter(), Busy(pids)
    produce("sent", count)
    _until(lambda: ask(url, HANDLED[handler]) >= first + count, f"{count:,} events are handled")
    seconds, used_s = perf_counter() - began, busy.used_s()
    expect("events handled", ask(url, HANDLED[handler]), first + count)
    return {"rate": count / seconds, "CPU": used_s / count * 1e6}


def _insert_all(events: list[Placed], cursor: psycopg.Cursor[Any]) -> None:
    cursor.executemany("INSERT INTO sent (order_id) VALUES (%s)", [(event.order_id,) for event in events])


def _loop(url: str, group: str) -> None:
    reader = kafka_postgres_loop.Reader(url, group, "sent", _insert_all)
    while True:
        reader.step()


@contextmanager
def processes(url: str, name: str, handler: str, workers: int = 1) -> Iterator[int]:
    """`onward run` until the block ends; its process id."""
    command = [sys.executable, "-m", "onward", "run", "benchmarks.kafka_workers:app", "--workers", str(workers)]
    settings = {URL: url, NAME: name, HANDLER: handler}
    running = subprocess.Popen(
        command, env={**environment(), **settings}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        yield running.pid
    finally:
        running.terminate()
        running.wait(60)


def sharing(group: str) -> int:
    """How many members have partitions, once no partition is left without one."""
    admin = AdminClient({"bootstrap.servers": servers(), "log_level": 0})
    try:
        members = admin.describe_consumer_groups([group])[group].result(ANSWER_S).members
    except KafkaException:
        return 0
    held = [len(member.assignment.topic_partitions) for member in members if member.assignment is not None]
    return sum(map(bool, held)) if sum(held) == PARTITIONS else 0


def _until(holds: Callable[[], bool], claim: str) -> None:
    until = monotonic() + HANDLED_S
    while not holds():
        if monotonic() > until:
            raise TimeoutError(f"not in {HANDLED_S:g} s: {claim}")
        sleep(0.05)


if URL in os.environ:
    app = service(os.environ[URL], os.environ[NAME], os.environ[HANDLER])

BENCHMARKS = [
    Benchmark(
        name,
        {
            f"{workers} process{'es' * (workers > 1)}": partial(_measure, handler, workers)
            for workers in (1, 2, 4)[:most]
        },
        {"rate": "events/s", "CPU": "µs/event"},
        count,
        500,
        against="1 process",
        rounds=3,
    )
    for name, handler, most, count in (
        ("onward run --workers on Kafka and PostgreSQL, one INSERT each", "insert", 3, 400_000),
        ("onward run --workers on Kafka and PostgreSQL, 10 ms of waiting each", "wait", 2, 30_000),
    )
] + [
    Benchmark(
        "hand-written loops on Kafka and PostgreSQL, one INSERT each, as workers",
        {f"{loops} process{'es' * (loops > 1)}": partial(_by_loops, loops) for loops in (1, 2, 4)},
        {"rate": "events/s", "CPU": "µs/event"},
        400_000,
        20_000,  # its CPU is counted in hundredths of a second
        against="1 process",
        rounds=3,
    )
]

if __name__ == "__main__":
    _loop(*sys.argv[1:])
