"""Exactly once from Kafka into a store on PostgreSQL, one consumer process: against a hand-written psycopg pipeline."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import psycopg
from psycopg.conninfo import make_conninfo

from benchmarks import kafka_postgres_loop
from benchmarks.harness import Benchmark
from benchmarks.kafka_orders import UNITS, OrderPlaced, Watch, fill, handled, register, servers
from benchmarks.orders import FREE, QUANTITY, SKUS, expect
from onward import App, Topic, Transaction

ADDRESS = "BENCHMARK_POSTGRES"  # names the server to measure against, as postgresql://…, whose role may make databases
SCHEMA = (
    "CREATE TABLE IF NOT EXISTS stock (sku text PRIMARY KEY, free bigint NOT NULL)",
    "INSERT INTO stock SELECT 'sku' || i, 1000000000 FROM generate_series(0, 99) i ON CONFLICT DO NOTHING",
)
TAKE = "UPDATE stock SET free = free - :n WHERE sku = :sku AND free >= :n"


async def blind(order: OrderPlaced, tx: Transaction) -> None:
    """One UPDATE whose result nobody reads."""
    await tx.submit(TAKE, n=order.quantity, sku=order.sku)


async def read_then_write(order: OrderPlaced, tx: Transaction) -> None:
    """One SELECT, and one UPDATE by what it said."""
    found = await tx.execute("SELECT free FROM stock WHERE sku = :sku FOR UPDATE", sku=order.sku)
    await tx.submit(
        "UPDATE stock SET free = :free WHERE sku = :sku", free=found.scalar() - order.quantity, sku=order.sku
    )


END_OURS = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s AND usename = current_user"

HANDLERS: dict[str, Any] = {"blind": blind, "read_then_write": read_then_write}
LOOPS = {"blind": kafka_postgres_loop.blind, "read_then_write": kafka_postgres_loop.read_then_write}


@contextmanager
def database(folder: Path) -> Iterator[str]:
    """The address of an empty one, which goes at the end."""
    server = os.environ[ADDRESS]
    name = "bench_" + "".join(filter(str.isalnum, folder.name)).lower()
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
        try:
            yield f"{server.rpartition('/')[0]}/{name}"
        finally:
            # Not by FORCE: a worker of the server's own may be there, which this role must not end, and DROP may.
            connection.execute(END_OURS, [name])
            connection.execute(f"DROP DATABASE {name}")


def service(url: str, folder: Path, handler: str) -> App:
    app = App(
        f"inventory-{folder.name}",
        broker=f"kafka://{servers()}",
        store=url,
        schema=SCHEMA,
        topics=[Topic("orders", partitions=4)],
    )
    app.on(OrderPlaced)(HANDLERS[handler])
    return app


def _by_loop(handler: str, count: int, folder: Path) -> dict[str, float]:
    fill("orders", count)
    with database(folder) as url:
        asyncio.run(register(service(url, folder, handler)))
        reader = kafka_postgres_loop.Reader(url, f"loop-{folder.name}", "orders", LOOPS[handler])
        done = first = 0
        while not first:
            done = first = reader.step()
        watch = Watch()
        while done < count:
            done += reader.step()
        values = watch.values(count - first)
        reader.close()
        _check(url, count)
    return values


def _by_onward(handler: str, count: int, folder: Path) -> dict[str, float]:
    fill("orders", count)
    with database(folder) as url:
        values = asyncio.run(_consume(url, handler, count, folder))
        _check(url, count)
    return values


async def _consume(url: str, handler: str, count: int, folder: Path) -> dict[str, float]:
    async with service(url, folder, handler).lifespan() as running:
        assert running is not None
        first = await handled(running, handler, 0)
        watch = Watch()
        last = await handled(running, handler, count - 1)
        return watch.values(last - first)


def _check(url: str, count: int) -> None:
    expect("events passed", ask(url, "SELECT sum(next_offset - start_offset) FROM onward.account"), count)
    expect("orders taken", (SKUS * FREE - ask(url, "SELECT sum(free) FROM stock")) // QUANTITY, count)


def ask(url: str, sql: str) -> int:
    """One number, by a connection of its own."""
    with psycopg.connect(make_conninfo(url)) as connection:
        ((value,),) = connection.execute(sql).fetchall()
    return int(value)


BENCHMARKS = [
    Benchmark(
        f"Kafka to PostgreSQL, {what}",
        {"hand-written pipeline": partial(_by_loop, handler), "onward": partial(_by_onward, handler)},
        UNITS,
        count,
        1000,
        against="hand-written pipeline",
        share=True,
    )
    for handler, what, count in (
        ("blind", "one blind UPDATE each", 50_000),
        ("read_then_write", "one SELECT and one UPDATE each", 10_000),
    )
]
