"""How fast outboxes empty into Kafka, and that what waits behind makes no difference."""

from __future__ import annotations

import asyncio
import statistics
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from pathlib import Path
from time import monotonic, perf_counter

import apsw
import psycopg

from benchmarks.harness import Benchmark, Side
from benchmarks.kafka_orders import HANDLED_S, PARTITIONS, UNITS, OrderSent, Watch, fields, logged, make_topic, servers
from benchmarks.kafka_postgres import ask as ask_postgres
from benchmarks.kafka_postgres import database
from benchmarks.orders import ask as ask_file
from benchmarks.orders import expect
from onward import App, Topic
from onward.outgoing import encode_all
from onward.relay.leader import Relay
from onward.relay.rows import rows_of
from onward.runtime import Engine, open_engine

FEW_ROWS = 100_000
SAMPLE = 20_000  # events that leave while the others wait
BODIES = 1_000  # rows that differ
CLAIM_ROWS = 1_000
READS = 25


def _file(folder: Path) -> AbstractContextManager[str]:
    return nullcontext(f"sqlite:///{folder / 'onward.db'}")


STORES: dict[str, Callable[[Path], AbstractContextManager[str]]] = {"SQLite": _file, "PostgreSQL": database}


def _app(url: str, folder: Path) -> App:
    topics = [Topic("sent", partitions=PARTITIONS)]
    return App(f"inventory-{folder.name}", broker=f"kafka://{servers()}", store=url, topics=topics)


async def _opened(app: App) -> Engine:
    """Everything is there, and no relay runs."""
    engine = open_engine(app.name, app.settings)
    await engine.broker.open(app.plan.all_topics())
    await engine.store.open(await app.plan.entry(engine.broker.log))
    return engine


async def _with_tables(app: App) -> None:
    await (await _opened(app)).close()


def _fill(url: str, service: str, rows: int, events: int) -> None:
    """Rows of so many events, as transactions of the service would have written them."""
    bodies = [
        row.body
        for n in range(min(BODIES, rows))
        for row in rows_of(encode_all([OrderSent(**fields(n * events + i)) for i in range(events)]), service)
    ]
    if url.startswith("sqlite"):
        insert = "INSERT INTO onward_outbox (service, created_at, events, body) VALUES (?, 0, ?, ?)"
        connection = apsw.Connection(url.removeprefix("sqlite:///"))
        with connection:
            connection.executemany(insert, ((service, events, bodies[n % len(bodies)]) for n in range(rows)))
        connection.close()
        return
    with psycopg.connect(url) as postgres:
        postgres.execute(
            "INSERT INTO onward.outbox (service, created_at, events, body)"
            " SELECT %s, now(), %s, (%s::bytea[])[n %% %s + 1] FROM generate_series(0, %s) n",
            (service, events, bodies, len(bodies), rows - 1),
        )
    with psycopg.connect(url, autocommit=True) as postgres:
        postgres.execute("ANALYZE onward.outbox")


def _empty(store: str, events: int, count: int, folder: Path) -> dict[str, float]:
    """Everything that waits."""
    make_topic("sent")
    with STORES[store](folder) as url:
        app = _app(url, folder)
        asyncio.run(_with_tables(app))
        rows = count // events
        _fill(url, app.name, rows, events)
        values = asyncio.run(_relay(app, rows * events))
        expect("rows in the outbox", _rows(url, folder), 0)
    expect("events in the topic", logged("sent"), rows * events)
    return values


async def _relay(app: App, count: int) -> dict[str, float]:
    engine = await _opened(app)
    assert engine.outlets is not None
    watch = Watch()
    engine.outlets.relay.start()
    await _sent(engine.outlets.relay, count)
    values = watch.values(count)
    await engine.close()
    return values


async def _sent(relay: Relay, count: int) -> None:
    until = monotonic() + HANDLED_S
    while relay.sent < count:
        if monotonic() > until:
            raise TimeoutError(f"{relay.sent:,} of {count:,} events have left in {HANDLED_S:g} s; {relay.trouble}")
        await asyncio.sleep(0.001)


def _with_waiting(store: str, most: int, count: int, folder: Path) -> dict[str, float]:
    """A claim's reading, and the first that leave, while `count` rows wait, or `most`."""
    make_topic("sent")
    rows = min(count, most)
    with STORES[store](folder) as url:
        app = _app(url, folder)
        asyncio.run(_with_tables(app))
        _fill(url, app.name, rows, 1)
        return asyncio.run(_sample(app, min(SAMPLE, rows)))


async def _sample(app: App, count: int) -> dict[str, float]:
    engine = await _opened(app)
    assert engine.outlets is not None
    took_ms = []
    for _ in range(READS):
        began = perf_counter()
        found = await engine.outlets.outbox.read(CLAIM_ROWS)
        took_ms.append((perf_counter() - began) * 1e3)
        expect("rows read", len(found), min(CLAIM_ROWS, count))
    relay = engine.outlets.relay
    began = perf_counter()
    relay.start()
    await _sent(relay, count)
    rate = relay.sent / (perf_counter() - began)
    assert relay.task is not None
    relay.task.cancel()  # what waits is not to leave first
    await asyncio.gather(relay.task, return_exceptions=True)
    await engine.close()
    assert logged("sent") >= relay.sent
    return {"rate": rate, "claim": statistics.median(took_ms)}


def _rows(url: str, folder: Path) -> int:
    if url.startswith("sqlite"):
        return ask_file(folder, "SELECT count(*) FROM onward_outbox")
    return ask_postgres(url, "SELECT count(*) FROM onward.outbox")


def _beside(store: str) -> dict[str, Side]:
    return {
        "100,000 rows": partial(_with_waiting, store, FEW_ROWS),
        "many rows": partial(_with_waiting, store, 1 << 40),
    }


BENCHMARKS = [
    *(
        Benchmark(
            f"relay to Kafka, {events} event{'s' * (events > 1)} a row",
            {store: partial(_empty, store, events) for store in STORES},
            UNITS,
            100_000,
            2000,
        )
        for events in (1, 1000)
    ),
    *(
        Benchmark(
            f"relay from {store}, rows that wait",
            _beside(store),
            {"rate": "events/s", "claim": "ms"},
            1_000_000,
            2000,
            against="100,000 rows",
            rounds=3,
            timeout_s=1800.0,
            full_count=16_000_000,
        )
        for store in STORES
    ),
]
