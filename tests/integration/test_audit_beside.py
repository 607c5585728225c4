"""An audit beside those who publish, handle and prune: nothing that moves is lost or doubled, and nobody is held up."""

import asyncio
import threading
from contextlib import closing
from importlib import import_module
from pathlib import Path

import pytest

from onward import App, Context, Event, Retention, Topic, Transaction
from onward.runtime.service import Service
from onward.sqlite import audit_log
from onward.sqlite.audit import audit
from onward.sqlite.database import Database
from onward.sqlite.inspection import Inspection
from onward.sqlite.retention import prune
from tests.integration.services import database_of
from tests.integration.steps import reads_counted

LATER = 4_000_000_000.0  # seconds since the epoch: every event is old by then
PATIENCE_S = 60.0
SCHEMA = "CREATE TABLE IF NOT EXISTS effect (handler TEXT, n INTEGER)"


class Rung(Event, type="beside.rung", topic="beside.bells", key="key"):
    n: int
    key: str


class Heard(Event, type="beside.heard", topic="beside.heard", key="key"):
    n: int
    key: str


def bells(path: Path, retention: Retention) -> App:
    topics = [Topic(name, partitions=2, retention=retention) for name in ("beside.bells", "beside.heard")]
    app = App("bells", store=f"sqlite:///{path}", schema=SCHEMA, topics=topics)
    app.invariant("heard once", "SELECT n, count(*) FROM effect GROUP BY handler, n HAVING count(*) > 1")

    @app.on(Rung)
    async def hear(rung: Rung, tx: Transaction) -> Heard:
        await tx.execute("INSERT INTO effect (handler, n) VALUES ('hear', :n)", n=rung.n)
        return Heard(n=rung.n, key=rung.key)

    @app.on(Rung)
    async def look_up(rung: Rung, ctx: Context) -> None:
        await asyncio.sleep(0)

    @app.on(Heard)
    async def note(heard: Heard, tx: Transaction) -> None:
        await tx.execute("INSERT INTO effect (handler, n) VALUES ('note', :n)", n=heard.n)

    return app


def rings(begin: int, count: int) -> list[Rung]:
    return [Rung(n=n, key=f"k{n % 13}") for n in range(begin, begin + count)]


async def until_done(service: Service | None) -> None:
    assert service is not None
    behind = (
        "SELECT 1 FROM onward_account a JOIN onward_subscription s ON s.id = a.subscription JOIN onward_lane l"
        " ON l.topic = s.topic AND l.partition = a.partition WHERE a.next_offset < l.next_offset"
    )
    async with asyncio.timeout(PATIENCE_S):
        while database_of(service).read(behind):
            await asyncio.sleep(0.005)


def handle(path: Path, retention: Retention, begin: int, count: int, *, leave: int = 0) -> None:
    """Publish these and handle all there is; then publish some that wait."""

    async def work() -> None:
        app = bells(path, retention)
        async with app.lifespan() as service:
            await app.publish(*rings(begin, count))
            await until_done(service)
        if leave:
            await app.publish(*rings(begin + count, leave))
            await app.close()

    asyncio.run(work())


def forget_invariants(path: Path) -> None:
    with closing(Database.open(path)) as database, database.transaction_sync() as writer:
        writer.execute("DELETE FROM onward_invariant")


def prune_all(path: Path) -> int:
    async def work() -> int:
        with closing(Database.open(path)) as database:
            return (await prune(database, LATER)).rows

    return asyncio.run(work())


def elsewhere(work: threading.Thread) -> None:
    """In a thread with an event loop of its own."""
    work.start()
    work.join(PATIENCE_S)
    assert not work.is_alive()


@pytest.mark.parametrize("at_step", [0, 1, 3])
@pytest.mark.parametrize("what", ["log", "ids"])
def test_what_is_published_handled_and_pruned_between_two_steps_is_neither_lost_nor_doubled(
    database_path: Path, monkeypatch: pytest.MonkeyPatch, what: str, at_step: int
) -> None:
    monkeypatch.setattr(audit_log, "STEP_ROWS", 5)
    keep = Retention(age_s=0, bytes=0)
    handle(database_path, keep, 0, 20, leave=20)
    told: list[str] = []
    pruned: list[int] = []

    def move() -> None:
        handle(database_path, keep, 100, 10)
        pruned.append(prune_all(database_path))

    def progress(now: str, _done: int, _of: int) -> None:
        told.append(now)
        if now == what and told.count(now) == at_step + 1:
            elsewhere(threading.Thread(target=move))

    report = audit(database_path, deep=True, progress=progress)
    assert pruned == [20 + 20 + 20 + 20 + 10 + 10], "the log must have moved away under the audit"
    assert report.problems == ()
    waiting = [each.in_flight for each in report.tallies if each.subscription == "bells/transactional on beside.bells"]
    assert sum(waiting) == 20, "they are added up as they stood when it began"
    assert audit(database_path, deep=True).problems == ()


def test_an_audit_of_a_large_file_beside_writers_and_consumers_balances_each_time(
    database_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit_log, "STEP_ROWS", 200)
    retention = Retention(age_s=0, bytes=200_000)
    audits: list[int] = []

    async def scene() -> None:
        app = bells(database_path, retention)
        async with app.lifespan() as service:
            assert service is not None
            assert service.engine is not None
            at = 0
            auditing: asyncio.Task[object] | None = None
            async with asyncio.timeout(PATIENCE_S):
                while len(audits) < 4 or at < 4000:
                    await app.publish(*rings(at, 100))
                    at += 100
                    await service.engine.prune()
                    if auditing is None or auditing.done():
                        auditing = asyncio.create_task(asyncio.to_thread(look))
                await auditing if auditing is not None else None
            await until_done(service)

    def look() -> None:
        report = audit(database_path, deep=True)
        assert report.problems == ()
        audits.append(report.events)

    asyncio.run(scene())
    assert max(audits) > 200, "the file must have been larger than a step"
    assert audit(database_path, deep=True).problems == ()


@pytest.mark.parametrize("between", ["onward.sqlite.audit.accounts", "onward.sqlite.audit_accounts.subscriptions"])
def test_positions_tallies_and_the_ends_of_the_log_are_read_at_one_moment(
    database_path: Path, monkeypatch: pytest.MonkeyPatch, between: str
) -> None:
    keep = Retention(age_s=0, bytes=0)
    handle(database_path, keep, 0, 5, leave=5)
    module, _, name = between.rpartition(".")
    read = getattr(import_module(module), name)

    def read_later(inspection: Inspection) -> object:
        elsewhere(threading.Thread(target=handle, args=(database_path, keep, 100, 10)))
        return read(inspection)

    monkeypatch.setattr(between, read_later)
    assert audit(database_path).problems == ()


def test_no_read_transaction_of_an_audit_outlives_a_bound_that_does_not_grow_with_the_file(
    database_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = 100
    monkeypatch.setattr(audit_log, "STEP_ROWS", rows)
    handle(database_path, Retention(), 0, 3000)
    forget_invariants(database_path)  # a query of a service's own is not cut up
    with reads_counted(every=10) as reads:
        report = audit(database_path, deep=True)
    assert (report.problems, report.events) == ((), 6000)
    assert len(reads) > 2 * 6000 / rows, "one for each step over the log, and one for each over the ids"
    assert max(reads) < rows * 30 < 6000


def test_an_invariant_is_given_less_while_a_service_runs_and_the_audit_says_so(
    database_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("onward.sqlite.audit.INVARIANT_TICKS_BESIDE", 5)
    app = bells(database_path, Retention())
    app.invariant(
        "costly",
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 20000) SELECT i FROM n WHERE i < 0",
    )

    async def scene() -> None:
        async with app.lifespan():
            (problem,) = (await asyncio.to_thread(audit, database_path)).problems
            assert "'costly' of bells could not be checked" in problem.sentence
            assert "audit while no service runs" in problem.sentence

    asyncio.run(scene())
    assert audit(database_path).problems == ()
