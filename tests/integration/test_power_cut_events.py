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
from onward.sqlite.checkpoint import checkpoint
from onward.sqlite.database import Database
from tests.integration.power_cut import RecordedDisk, Survivors, Synced, recorded_disk, restored
from tests.integration.services import BEHIND, database_of, handle, running

PUBLISHES = 24
SAMPLED_CUTS = 30
CHECKPOINT_PAGES = 30
SCHEMA = "CREATE TABLE IF NOT EXISTS effect (handler TEXT NOT NULL, n INTEGER NOT NULL)"
INSERT = "INSERT INTO effect VALUES (:handler, :n)"
PUBLISHED = (
    "SELECT t.name, json_extract(value, '$.n') FROM onward_log JOIN onward_lane l ON l.id = pos >> 40"
    " JOIN onward_topic t ON t.id = l.topic"
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


ENDS = [sum(map(size, range(publish))) for publish in range(PUBLISHES + 1)]


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
    """Publish one to four events at a time, beside the handlers, and see all of them handled.

    The log is copied whenever a thread comes to it, and here now and then to its end, so that it begins anew.
    """
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
            while publish % 3 == 2 and checkpoint(database_of(service).writer) is None:
                await asyncio.sleep(0.001)  # a thread is at it, or a handler writes
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


def there_after(path: Path) -> tuple[Counter[int], Counter[int], dict[str, Counter[int]]]:
    """How often each number is there, by a connection of its own: in the orders, in the bookings, in the effects."""
    orders, bookings = Counter[int](), Counter[int]()
    done = {name: Counter[int]() for name in ("book", "notify", "confirm")}
    with closing(apsw.Connection(str(path))) as connection:
        connection.pragma("synchronous", 0)  # its own close copies the log, which nobody will miss
        names = {name for (name,) in connection.execute("SELECT name FROM sqlite_schema")}
        if {"effect", "onward_log"} <= names:
            for topic, n in connection.execute(PUBLISHED):
                (orders if topic == "cut.orders" else bookings)[int(str(n))] += 1
            for handler, n in connection.execute("SELECT handler, n FROM effect"):
                done[str(handler)][int(str(n))] += 1
    return orders, bookings, done


def assert_sure(path: Path, sure: Mark) -> Counter[int]:
    """What was sure at the cut is there, once, and no publish or commit in part; the orders that are there."""
    orders, bookings, done = there_after(path)
    assert orders == Counter(range(len(orders))), "an event is missing among those published, or there twice"
    assert len(orders) >= sure.published
    assert len(orders) in ENDS, "a publish is there in part"
    for handler, handled in sure.handled.items():
        assert len(done[handler]) >= handled, f"what {handler} did is gone"
    assert bookings == done["book"]
    assert all(set(each.values()) <= {1} for each in done.values()), "an effect is there twice"
    return orders


def sampled(run: Run, seed: int) -> set[int]:
    """Around the syncs, where most may be lost, and anywhere."""
    random = Random(seed)
    synced = [number for number, step in enumerate(run.disk.steps, 1) if isinstance(step, Synced)]
    around = {number + by for number in random.sample(synced, SAMPLED_CUTS // 2) for by in (-1, 0)}
    return around | set(random.sample(range(len(run.disk.steps)), SAMPLED_CUTS)) | {len(run.disk.steps)}


def test_publishing_and_handling_take_turns_in_the_run_and_its_log_is_copied(run: Run) -> None:
    grew = [name for name in ("book", "notify", "confirm") if _grew_often([each.handled for each in run.marks], name)]
    assert grew == ["book", "notify", "confirm"]
    assert run.disk.copied() > 5
    assert run.disk.begun_anew() > 5


def _grew_often(counts: list[dict[str, int]], name: str) -> bool:
    return sum(before.get(name, 0) < after.get(name, 0) for before, after in pairwise(counts)) > 5


@pytest.mark.parametrize("seed", [1, 2])
def test_after_a_power_cut_at_any_step_no_event_whose_publish_returned_is_missing(
    run: Run, tmp_path: Path, seed: int
) -> None:
    cuts = 0
    for number, survivors in run.disk.cuts(run.disk.everywhere(), Random(seed)):
        with restored(survivors, tmp_path) as path:
            assert_sure(path, run.marks[number])
        cuts += 1
    assert cuts == len(run.disk.steps)


@pytest.mark.parametrize("seed", [1, 2])
def test_after_a_power_cut_what_was_published_is_there_and_takes_effect_once(
    run: Run, tmp_path: Path, seed: int
) -> None:
    for number, survivors in run.disk.cuts(sampled(run, seed), Random(seed)):
        with restored(survivors, tmp_path) as path:
            there = assert_sure(path, run.marks[number])
            with recorded_disk() as unsynced, apps_are_on(unsynced):
                asyncio.run(handle(shop(path)))
            booked = Counter(n for n in there if not is_refused(n))
            _, _, done = there_after(path)
            assert done == {"notify": there, "book": booked, "confirm": booked}
            assert audit(path, deep=True).problems == ()


def test_these_cuts_would_find_a_publish_that_was_not_synced(tmp_path: Path) -> None:
    with recorded_disk() as disk:
        run = record(disk, tmp_path, is_careless=True)
        cuts = disk.cuts(disk.everywhere(), Random(3))
        assert any(is_lost(run.marks[number], survivors, tmp_path) for number, survivors in cuts)


def is_lost(sure: Mark, survivors: Survivors, tmp_path: Path) -> bool:
    with restored(survivors, tmp_path) as path:
        return len(there_after(path)[0]) < sure.published
