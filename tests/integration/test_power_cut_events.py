"""After a power cut no event whose publish had returned is missing, and handlers go on where their effects end."""

import asyncio
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager
from functools import partial
from itertools import pairwise
from pathlib import Path
from random import Random
from typing import NamedTuple

import apsw
import pytest

from onward import App, Context, Event, FatalError, Transaction
from onward.runtime import subscription
from onward.sqlite.audit import audit
from onward.sqlite.database import Database
from tests.integration.power_cut import RecordedDisk, Synced, recorded_disk, restored
from tests.integration.services import BEHIND, database_of, handle, running

PUBLISHES = 60
SAMPLED_CUTS = 30
CHECKPOINT_PAGES = 40
SCHEMA = "CREATE TABLE IF NOT EXISTS effect (handler TEXT NOT NULL, n INTEGER NOT NULL)"
INSERT = "INSERT INTO effect VALUES (:handler, :n)"
PUBLISHED = (
    "SELECT json_extract(value, '$.n') FROM onward_log JOIN onward_lane l ON l.id = pos >> 40"
    " JOIN onward_topic t ON t.id = l.topic WHERE t.name = ?"
)


class Placed(Event, type="cut.placed", topic="cut.orders", key="customer"):
    customer: str
    n: int
    note: str = "x" * 200


class Booked(Event, type="cut.booked", topic="cut.bookings", key="n"):
    n: int


class Mark(NamedTuple):
    """What was sure at a moment of the run: how many events were published, and how many handled by whom."""

    published: int
    handled: dict[str, int]


class Run(NamedTuple):
    disk: RecordedDisk
    marks: list[Mark]


def is_refused(n: int) -> bool:
    return n % 10 == 7


def size(publish: int) -> int:
    return 1 + publish % 4


def shop(path: Path) -> App:
    app = App("shop", store=f"sqlite:///{path}", schema=SCHEMA)

    @app.on(Placed)
    async def book(placed: Placed, tx: Transaction) -> Booked:
        await tx.execute(INSERT, handler="book", n=placed.n)
        if is_refused(placed.n):
            raise FatalError("not this one")
        return Booked(n=placed.n)

    @app.on(Placed)
    async def notify(placed: Placed, ctx: Context) -> None:
        async with ctx.transaction() as tx:
            await tx.execute(INSERT, handler="notify", n=placed.n)

    @app.on(Booked)
    async def confirm(booked: Booked, tx: Transaction) -> None:
        await tx.execute(INSERT, handler="confirm", n=booked.n)

    return app


async def live(path: Path, run: Run, *, is_careless: bool) -> None:
    """Publish one to four events at a time, beside the handlers, and see all of them handled."""
    app, published = shop(path), 0
    async with running(app) as service:
        if is_careless:
            database_of(service).writer.pragma("synchronous", "NORMAL")

        def mark() -> None:
            run.marks.append(Mark(published, dict(service.meter.snapshot()["handled"])))
            run.disk.reached(len(run.marks) - 1)

        for publish in range(PUBLISHES):
            numbers = range(published, published + size(publish))
            await app.publish(*(Placed(customer=f"c{n % 5}", n=n) for n in numbers))
            published += len(numbers)
            mark()
        async with asyncio.timeout(30):
            while database_of(service).read(BEHIND):
                await asyncio.sleep(0.002)
                mark()


@contextmanager
def apps_are_on(disk: RecordedDisk) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        opened = partial(Database.open, vfs=disk.name, checkpoint_pages=CHECKPOINT_PAGES)
        patch.setattr(Database, "open", staticmethod(opened))
        patch.setattr(subscription, "WAIT_S", 0.01)  # an idle loop sees soon that it is to stop
        yield


def record(disk: RecordedDisk, folder: Path, *, is_careless: bool = False) -> Run:
    run = Run(disk, [Mark(0, {})])
    with apps_are_on(disk):
        asyncio.run(live(folder / "onward.db", run, is_careless=is_careless))
    return run


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    with recorded_disk() as disk:
        yield record(disk, tmp_path_factory.mktemp("run"))


def column(path: Path, sql: str, *parameters: str) -> Counter[int]:
    """How often each number is there, by a connection of its own; none before there are tables."""
    with closing(apsw.Connection(str(path))) as connection:
        names = {name for (name,) in connection.execute("SELECT name FROM sqlite_schema")}
        if not {"effect", "onward_log"} <= names:
            return Counter()
        return Counter(int(str(value)) for (value,) in connection.execute(sql, parameters))


def effects(path: Path, handler: str) -> Counter[int]:
    return column(path, "SELECT n FROM effect WHERE handler = ?", handler)


def cuts(run: Run, seed: int) -> set[int]:
    """Around the syncs, where most may be lost, and anywhere."""
    random = Random(seed)
    synced = [number for number, step in enumerate(run.disk.steps, 1) if isinstance(step, Synced)]
    around = {number + by for number in random.sample(synced, SAMPLED_CUTS // 2) for by in (-1, 0)}
    return around | set(random.sample(range(len(run.disk.steps)), SAMPLED_CUTS)) | {len(run.disk.steps)}


def test_publishing_and_handling_take_turns_in_the_run_and_its_log_is_copied(run: Run) -> None:
    grew = [name for name in ("book", "notify", "confirm") if _grew_often([each.handled for each in run.marks], name)]
    assert grew == ["book", "notify", "confirm"]
    synced = [step for step in run.disk.steps if isinstance(step, Synced) and step.file.endswith("onward.db")]
    assert len(synced) > 5


def _grew_often(counts: list[dict[str, int]], name: str) -> bool:
    return sum(before.get(name, 0) < after.get(name, 0) for before, after in pairwise(counts)) > 5


@pytest.mark.parametrize("seed", [1, 2])
def test_after_a_power_cut_what_was_published_is_there_and_takes_effect_once(
    run: Run, tmp_path: Path, seed: int
) -> None:
    ends = [sum(map(size, range(publish))) for publish in range(PUBLISHES + 1)]
    for number, survivors in run.disk.cuts(cuts(run, seed), Random(seed)):
        sure = run.marks[number]
        with restored(survivors, tmp_path) as path:
            there = column(path, PUBLISHED, "cut.orders")
            assert there == Counter(range(len(there))), "an event is missing among those published, or there twice"
            assert len(there) >= sure.published
            assert len(there) in ends, "a publish is there in part"
            for handler, handled in sure.handled.items():
                assert len(effects(path, handler)) >= handled, f"what {handler} did is gone"
            assert column(path, PUBLISHED, "cut.bookings") == effects(path, "book")

            with recorded_disk() as unsynced, apps_are_on(unsynced):
                asyncio.run(handle(shop(path)))
            booked = Counter(n for n in there if not is_refused(n))
            assert effects(path, "notify") == there
            assert effects(path, "book") == effects(path, "confirm") == booked
            assert audit(path, deep=True).problems == ()


def test_these_cuts_would_find_a_publish_that_was_not_synced(tmp_path: Path) -> None:
    lost = 0
    with recorded_disk() as disk:
        run = record(disk, tmp_path, is_careless=True)
        for number, survivors in disk.cuts(set(range(0, len(disk.steps), 40)), Random(3)):
            with restored(survivors, tmp_path) as path:
                lost += len(column(path, PUBLISHED, "cut.orders")) < run.marks[number].published
    assert lost > 0
