"""Processes that write one file take turns: nobody hogs it, and nobody who died or stopped keeps it."""

import asyncio
import fcntl
import os
import signal
from collections import Counter
from contextlib import ExitStack, closing
from itertools import pairwise
from pathlib import Path

import pytest

from onward.errors import StoreBusyError
from onward.sqlite.database import Database
from onward.sqlite.folder import run_folder
from onward.sqlite.schema import migrations
from tests.integration.children import Child, child

TURNS = 400

LINE = """
import fcntl, time
from onward.sqlite.database import Database
from onward.sqlite.folder import run_folder

database = Database.open(sys.argv[1])
gate = (run_folder(sys.argv[1]) / "gate").open("rb")

def until_somebody_is_in_line():
    # A turn that ends while the others are off the CPU says nothing about who is let in next.
    until_s = time.monotonic() + 2
    while time.monotonic() < until_s:
        try:
            fcntl.flock(gate, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return
        fcntl.flock(gate, fcntl.LOCK_UN)

def take_turn(writer):
    number = writer.execute("INSERT INTO turn (who) VALUES (?) RETURNING number", (sys.argv[2],)).get
    if number < int(sys.argv[3]):
        until_somebody_is_in_line()
    return number

print("ready", flush=True)
sys.stdin.readline()
"""

WRITE_IN_A_TIGHT_LOOP = (
    LINE
    + """
import asyncio

async def write():
    turns = 0
    while turns < int(sys.argv[3]):
        async with database.transaction() as writer:
            turns = take_turn(writer)

asyncio.run(write())
database.close()
"""
)

WRITE_WITHOUT_A_LOOP = (
    LINE
    + """
turns = 0
while turns < int(sys.argv[3]):
    with database.transaction_sync() as writer:
        turns = take_turn(writer)
database.close()
"""
)

HOLD = """
import asyncio
from onward.sqlite.database import Database

async def hold():
    print("asking", flush=True)
    async with database.transaction() as writer:
        writer.execute("INSERT INTO turn (who) VALUES ('holder')")
        print("inside", flush=True)
        sys.stdin.readline()

database = Database.open(sys.argv[1])
asyncio.run(hold())
"""

MAKE = """
from onward.sqlite.database import Database

print("ready", flush=True)
sys.stdin.readline()
database = Database.open(sys.argv[1])
print(database.read("SELECT count(*) FROM onward_schema")[0][0], flush=True)
database.close()
"""


@pytest.fixture
def path(database_path: Path) -> Path:
    with closing(Database.open(database_path)) as database, database.transaction_sync() as writer:
        writer.execute("CREATE TABLE turn (number INTEGER PRIMARY KEY, who TEXT NOT NULL)")
    return database_path


def turns_of(path: Path, code: str, names: str) -> list[str]:
    """Who had each of the `TURNS` that followed the moment when everybody had had one."""
    with ExitStack() as stack:
        most = TURNS * 2
        children = [stack.enter_context(child(code, path, name, most)) for name in names]
        for each in children:
            each.says("ready")
        for each in children:
            each.tell("go")
        for each in children:
            each.ends()
    with closing(Database.open(path)) as database:
        order = [who for (who,) in database.read("SELECT who FROM turn ORDER BY number")]
    start = max(order.index(name) for name in names)
    assert len(order) - start >= TURNS, "one of them was done before another began"
    return order[start : start + TURNS]


@pytest.mark.parametrize("code", [WRITE_IN_A_TIGHT_LOOP, WRITE_WITHOUT_A_LOOP], ids=["loop", "no loop"])
def test_two_processes_in_a_tight_loop_share_the_turns(path: Path, code: str) -> None:
    order = turns_of(path, code, "ab")
    turns = Counter(order)
    assert all(0.4 * TURNS <= turns[name] <= 0.6 * TURNS for name in "ab"), turns
    at_once_again = sum(one == next_one for one, next_one in pairwise(order))
    assert at_once_again <= 0.02 * TURNS, "who has just written is let in before those in line"


def test_of_three_processes_none_starves(path: Path) -> None:
    turns = Counter(turns_of(path, WRITE_IN_A_TIGHT_LOOP, "abc"))
    assert all(turns[name] >= 0.1 * TURNS for name in "abc"), turns


async def write(database: Database) -> None:
    async with database.transaction() as writer:
        writer.execute("INSERT INTO turn (who) VALUES ('test')")


def written(database: Database) -> list[str]:
    return [who for (who,) in database.read("SELECT who FROM turn ORDER BY number")]


def test_a_process_killed_inside_a_transaction_gives_its_turn_back_and_leaves_nothing(path: Path) -> None:
    async def wait_for_the_killed(database: Database, holder: Child) -> None:
        waiting = asyncio.create_task(write(database))
        await asyncio.sleep(0)
        assert not waiting.done()
        os.kill(holder.pid, signal.SIGKILL)
        await asyncio.wait_for(waiting, 10)

    with closing(Database.open(path)) as database, child(HOLD, path) as holder:
        holder.says("asking")
        holder.says("inside")
        asyncio.run(wait_for_the_killed(database, holder))
        assert written(database) == ["test"]


def test_a_process_stopped_inside_a_transaction_is_named(path: Path) -> None:
    with closing(Database.open(path, busy_s=0.2)) as database, child(HOLD, path) as holder:
        holder.says("asking")
        holder.says("inside")
        os.kill(holder.pid, signal.SIGSTOP)
        with pytest.raises(StoreBusyError, match=f"process {holder.pid} has held it for"):
            asyncio.run(write(database))
        os.kill(holder.pid, signal.SIGCONT)
        holder.tell("go on")
        holder.ends()
        asyncio.run(write(database))
        assert written(database) == ["holder", "test"]


def test_a_process_stopped_while_it_waits_does_not_stop_the_others(path: Path) -> None:
    with closing(Database.open(path)) as database, child(HOLD, path) as waiter:
        with database.transaction_sync():
            waiter.says("asking")
            until_the_gate_is_held(path)
            stop(waiter)
        asyncio.run(asyncio.wait_for(write(database), 10))
        assert written(database) == ["test"]
        os.kill(waiter.pid, signal.SIGCONT)
        waiter.says("inside")
        waiter.tell("go on")
        waiter.ends()
        assert written(database) == ["test", "holder"]


def stop(process: Child) -> None:
    """Returns when all of its threads stand still: until then one of them could still be given the turn."""
    os.kill(process.pid, signal.SIGSTOP)
    _pid, status = os.waitpid(process.pid, os.WUNTRACED)
    assert os.WIFSTOPPED(status)


def until_the_gate_is_held(path: Path) -> None:
    with (run_folder(path) / "gate").open("rb") as gate:
        for _ in range(1_000_000):
            try:
                fcntl.flock(gate, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return
            fcntl.flock(gate, fcntl.LOCK_UN)
    pytest.fail("nobody came to wait")


def test_processes_that_make_one_new_file_at_once_all_open_it(database_path: Path) -> None:
    with ExitStack() as stack:
        makers = [stack.enter_context(child(MAKE, database_path)) for _ in range(4)]
        for maker in makers:
            maker.says("ready")
        for maker in makers:
            maker.tell("go")
        versions = [maker.answers() for maker in makers]
        for maker in makers:
            maker.ends()
    assert versions == [str(len(migrations()))] * 4
