import threading
from contextlib import closing
from pathlib import Path

import apsw
import pytest

from onward.sqlite import checkpoint
from onward.sqlite.database import Database

THRESHOLD_PAGES = 10
FRAME_BYTES = 4096 + 24


def write(database: Database, commits: int) -> None:
    for _ in range(commits):
        with database.transaction_sync() as writer:
            writer.execute("INSERT INTO filler VALUES (zeroblob(3000))")


def opened(path: Path) -> Database:
    database = Database.open(path, checkpoint_pages=THRESHOLD_PAGES)
    with database.transaction_sync() as writer:
        writer.execute("CREATE TABLE filler (x)")
    return database


def largest_log_bytes() -> int:
    return (checkpoint.BACK_PRESSURE + 2) * THRESHOLD_PAGES * FRAME_BYTES


def test_the_log_stays_bounded_when_no_thread_comes_to_copy_it(
    database_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpoint.Checkpointer, "_run", lambda self: None)
    with closing(opened(database_path)) as database:
        write(database, 500)
        assert database_path.with_name("onward.db-wal").stat().st_size < largest_log_bytes()
        assert database.read("SELECT count(*) FROM filler") == [(500,)]


def test_pages_are_copied_beside_the_traffic(database_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    copied = threading.Event()
    whole = checkpoint.checkpoint

    def noted(connection: apsw.Connection) -> int | None:
        done = whole(connection)
        if threading.current_thread() is not threading.main_thread():
            copied.set()
        return done

    monkeypatch.setattr(checkpoint, "checkpoint", noted)
    with closing(opened(database_path)) as database:
        before = database_path.stat().st_size
        write(database, 2 * THRESHOLD_PAGES)
        assert copied.wait(5)
        assert database_path.stat().st_size > before


def test_a_log_that_a_pass_has_nearly_copied_starts_over(database_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    passed = threading.Event()
    whole = checkpoint.Checkpointer._pass

    def noted(checkpointer: checkpoint.Checkpointer, connection: apsw.Connection) -> None:
        whole(checkpointer, connection)
        passed.set()

    monkeypatch.setattr(checkpoint.Checkpointer, "_pass", noted)
    log = database_path.with_name("onward.db-wal")
    with closing(Database.open(database_path, checkpoint_pages=100)) as database:
        with database.transaction_sync() as writer:
            writer.execute("CREATE TABLE filler (x)")
        write_until(database, log, pages=95)
        with closing(apsw.Connection(str(database_path))) as slow:
            slow.execute("BEGIN")
            slow.execute("SELECT count(*) FROM filler").fetchall()  # the pass can't go beyond what this one sees
            write_until(database, log, pages=100)
            assert passed.wait(5)
        before = log.stat().st_size
        write(database, 30)
        assert log.stat().st_size < before + 10 * FRAME_BYTES


def write_until(database: Database, log: Path, *, pages: int) -> None:
    while log.stat().st_size < pages * FRAME_BYTES:
        write(database, 1)


def test_a_reader_of_another_program_that_stays_costs_no_commit(database_path: Path) -> None:
    with closing(opened(database_path)) as database, closing(apsw.Connection(str(database_path))) as stranger:
        stranger.execute("BEGIN")
        stranger.execute("SELECT count(*) FROM filler").fetchall()
        write(database, 300)
        stranger.execute("COMMIT")
        write(database, 300)
        assert database.read("SELECT count(*) FROM filler") == [(600,)]


def test_a_checkpoint_that_the_disk_refuses_fails_no_commit(
    database_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    class Refused:
        def wal_checkpoint(self, mode: int) -> None:
            raise apsw.exception_for(apsw.SQLITE_IOERR_WRITE)

    assert checkpoint.checkpoint(Refused()) is None  # type: ignore[arg-type]
    assert "Copying the write-ahead log into the file" in caplog.text


def test_closing_leaves_everything_in_the_file_itself(database_path: Path) -> None:
    with closing(opened(database_path)) as first, closing(Database.open(database_path)) as second:
        write(first, 5)
        first.close()
        copy = database_path.with_name("copy.db")
        copy.write_bytes(database_path.read_bytes())
        assert second.read("SELECT count(*) FROM filler") == [(5,)]
    with closing(apsw.Connection(str(copy))) as connection:
        assert connection.execute("SELECT count(*) FROM filler").get == 5
