import os
import signal
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from onward.errors import StoreClosedError, StoreError
from onward.sqlite.database import Database
from onward.sqlite.members import Member, Members


def says_in_a_child(work: Callable[[], object]) -> str:
    """The StoreError that `work` raises in a forked child, "nothing" when it returns."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            work()
            os.write(writer, b"nothing")
        except StoreError as error:
            os.write(writer, str(error).encode())
        finally:
            os._exit(0)
    os.close(writer)
    said = b"".join(iter(lambda: os.read(reader, 4096), b""))
    os.close(reader)
    os.waitpid(pid, 0)
    return said.decode()


def test_every_use_of_a_database_in_a_forked_child_is_a_clear_error(database_path: Path) -> None:
    with closing(Database.open(database_path)) as database:
        for use in (
            lambda: database.read("SELECT 1"),
            lambda: database.writer.execute("SELECT 1"),
            lambda: database.transaction_sync().__enter__(),
        ):
            assert "do not survive a fork" in says_in_a_child(use)
        assert says_in_a_child(database.close) == "nothing"
        assert database.read("SELECT 1") == [(1,)]


def test_a_child_does_not_keep_the_turn_of_a_parent_killed_inside_a_transaction(database_path: Path) -> None:
    to_child, from_test = os.pipe()
    to_test, from_child = os.pipe()
    with closing(Database.open(database_path)) as database, database.transaction_sync() as writer:
        writer.execute("CREATE TABLE turn (who TEXT)")
    parent = os.fork()
    if parent == 0:
        with Database.open(database_path).transaction_sync() as writer:
            writer.execute("INSERT INTO turn VALUES ('parent')")
            if os.fork() == 0:
                os.close(from_test)
                os.write(from_child, b"c")
                os.read(to_child, 1)
                os._exit(0)
            signal.pause()
    os.read(to_test, 1)
    os.kill(parent, signal.SIGKILL)
    os.waitpid(parent, 0)
    with closing(Database.open(database_path, busy_s=5)) as database:
        with database.transaction_sync() as writer:
            writer.execute("INSERT INTO turn VALUES ('test')")
        assert database.read("SELECT who FROM turn") == [("test",)]
    for descriptor in (to_child, from_test, to_test, from_child):
        os.close(descriptor)


def test_a_membership_can_not_beat_in_a_forked_child(tmp_path: Path) -> None:
    held = Members(tmp_path).join(Member(id="one", service="s", pid=1, started_at=0.0, version="1"))
    assert "inherited by a fork" in says_in_a_child(held.beat)
    held.beat()
    held.leave()
    with pytest.raises(StoreClosedError):
        held.beat()
