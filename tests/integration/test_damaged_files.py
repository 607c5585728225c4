"""A disk that is full, a file that is read-only, corrupt, locked or of another version: a clear error, nothing lost."""

import asyncio
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import apsw
import pytest

from onward.errors import (
    SchemaVersionError,
    StoreBusyError,
    StoreCorruptError,
    StoreError,
    StoreFullError,
)
from onward.sqlite.checkpoint import checkpoint
from onward.sqlite.database import Database
from onward.sqlite.failures import translate
from tests.integration.children import child

NOBODY = 65534
PAGE_BYTES = 4096

STRANGER = """
import sqlite3
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute(sys.argv[2])
print("locked", flush=True)
sys.stdin.readline()
connection.execute("COMMIT")
"""


class LimitedDisk(apsw.VFS):
    """A VFS whose files may grow by `room_bytes` more in all."""

    def __init__(self) -> None:
        self.room_bytes = 1 << 30
        self.name = "limited-disk"
        super().__init__(self.name, "")

    def xOpen(self, name: str | apsw.URIFilename | None, flags: list[int]) -> apsw.VFSFile:  # noqa: N802
        return _LimitedFile(self, name, flags)


class _LimitedFile(apsw.VFSFile):
    def __init__(self, disk: LimitedDisk, name: str | apsw.URIFilename | None, flags: list[int]) -> None:
        self._disk = disk
        super().__init__("", name, flags)

    def xWrite(self, data: bytes, offset: int) -> None:  # noqa: N802
        grows_bytes = max(0, offset + len(data) - self.xFileSize())
        if grows_bytes > self._disk.room_bytes:
            raise apsw.FullError("no room on the limited disk")
        super().xWrite(data, offset)
        self._disk.room_bytes -= grows_bytes


@pytest.fixture
def disk() -> Iterator[LimitedDisk]:
    made = LimitedDisk()
    yield made
    made.unregister()


async def put(database: Database, number: int, size_bytes: int = 100) -> None:
    async with database.transaction() as writer:
        writer.execute(
            "INSERT INTO onward_log (pos, kind, value, id, source, time) VALUES (?, 0, zeroblob(?), x'00', 1, 0)",
            (number, size_bytes),
        )


def there(database: Database) -> list[int]:
    return [number for (number,) in database.read("SELECT pos FROM onward_log ORDER BY pos")]


def filled(path: Path, numbers: range) -> None:
    with closing(Database.open(path)) as database:
        for number in numbers:
            asyncio.run(put(database, number))


def test_a_full_disk_is_told_and_the_next_commit_after_freeing_space_holds(
    database_path: Path, disk: LimitedDisk
) -> None:
    with closing(Database.open(database_path, vfs=disk.name)) as database:
        asyncio.run(put(database, 1))
        disk.room_bytes = 3 * PAGE_BYTES
        with pytest.raises(StoreFullError, match=r"Nothing of this transaction was written; free some space"):
            asyncio.run(put(database, 2, 20 * PAGE_BYTES))
        assert there(database) == [1]
        disk.room_bytes = 1 << 30
        asyncio.run(put(database, 3))
    with closing(Database.open(database_path)) as database:
        assert there(database) == [1, 3]


def test_a_disk_too_full_to_copy_the_log_loses_no_commit(
    database_path: Path, disk: LimitedDisk, caplog: pytest.LogCaptureFixture
) -> None:
    with closing(Database.open(database_path, vfs=disk.name)) as database:
        for number in range(1, 50):
            asyncio.run(put(database, number, 2 * PAGE_BYTES))
        disk.room_bytes = 0
        assert checkpoint(database.writer) is None
        assert "the disk, or the limit set on the file's size, is full" in caplog.text
        assert there(database) == list(range(1, 50))
        disk.room_bytes = 1 << 30
    with closing(Database.open(database_path)) as database:
        assert there(database) == list(range(1, 50))


def test_a_limit_on_the_files_size_is_told_by_the_statement_that_meets_it(database_path: Path) -> None:
    with closing(Database.open(database_path)) as database:
        asyncio.run(put(database, 1))
        limit_pages = database.writer.pragma("page_count")
        database.writer.pragma("max_page_count", limit_pages)
        with pytest.raises(apsw.FullError) as caught:
            asyncio.run(put(database, 2, 50 * PAGE_BYTES))
        assert type(translate(caught.value, "Writing")) is StoreFullError
        database.writer.pragma("max_page_count", limit_pages + 1000)
        asyncio.run(put(database, 3, 50 * PAGE_BYTES))
        assert there(database) == [1, 3]


def as_nobody(work: Callable[[], object]) -> str:
    """What `work` raises, in a child that permission bits bind: root's do not."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            if os.getuid() == 0:
                os.setgid(NOBODY)
                os.setuid(NOBODY)
            work()
        except StoreError as error:
            os.write(writer, f"{type(error).__name__}: {error}".encode())
        finally:
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as said:
        text = said.read().decode()
    os.waitpid(pid, 0)
    return text


@pytest.fixture
def shared_path() -> Iterator[Path]:
    """A database that the child of `as_nobody` can reach, owned by whom it runs as."""
    folder = Path(tempfile.mkdtemp())
    path = folder / "onward.db"
    filled(path, range(1, 4))
    if os.getuid() == 0:
        for each in (folder, *folder.rglob("*")):
            os.chown(each, NOBODY, NOBODY)
    yield path
    folder.chmod(0o700)
    shutil.rmtree(folder)


def test_a_read_only_file_is_told_and_keeps_what_it_has(shared_path: Path) -> None:
    shared_path.chmod(0o444)
    assert as_nobody(lambda: Database.open(shared_path)).startswith("StoreReadOnlyError")
    shared_path.chmod(0o644)
    assert as_nobody(lambda: Database.open(shared_path).close()) == ""
    with closing(Database.open(shared_path)) as database:
        assert there(database) == [1, 2, 3]


@pytest.mark.parametrize("opened_before", [False, True])
def test_a_read_only_folder_is_told_and_the_file_keeps_what_it_has(shared_path: Path, opened_before: bool) -> None:
    if not opened_before:
        shutil.rmtree(shared_path.with_name("onward.db-run"))
    shared_path.parent.chmod(0o555)
    assert as_nobody(lambda: Database.open(shared_path)).startswith("StoreReadOnlyError")
    shared_path.parent.chmod(0o755)
    with closing(Database.open(shared_path)) as database:
        assert there(database) == [1, 2, 3]


def test_another_users_run_folder_is_told(shared_path: Path) -> None:
    shared_path.with_name("onward.db-run").chmod(0o500)
    assert "belongs to another user" in as_nobody(lambda: Database.open(shared_path))


@pytest.mark.parametrize("header", [b"not a database at all " * 500, b"SQLite format 3\x00" + b"\xff" * 8000])
def test_a_file_with_a_wrong_header_is_told_and_left_alone(database_path: Path, header: bytes) -> None:
    database_path.write_bytes(header)
    with pytest.raises(StoreCorruptError, match="restore a backup"):
        Database.open(database_path)
    assert database_path.read_bytes() == header


def test_a_file_cut_short_is_told_and_left_alone(database_path: Path) -> None:
    filled(database_path, range(1, 4))
    short = database_path.read_bytes()[: 5 * PAGE_BYTES + 100]
    database_path.write_bytes(short)
    with pytest.raises(StoreCorruptError), closing(Database.open(database_path)) as database:
        there(database)
    assert database_path.read_bytes() == short


def test_a_torn_page_is_told_when_it_is_read_and_the_rest_goes_on(database_path: Path) -> None:
    filled(database_path, range(1, 200))
    with closing(Database.open(database_path)) as database:
        (torn,) = database.read("SELECT max(pageno) FROM dbstat WHERE name = 'onward_log' AND pagetype = 'leaf'")[0]
        database.close()
    with database_path.open("r+b") as file:
        file.seek((torn - 1) * PAGE_BYTES)
        file.write(os.urandom(PAGE_BYTES // 2))
    with closing(Database.open(database_path)) as database:
        with pytest.raises(StoreCorruptError, match="damaged"):
            there(database)
        assert database.read("SELECT pos FROM onward_log WHERE pos < 4") == [(1,), (2,), (3,)]


def test_a_locked_file_is_told_after_the_stated_wait_and_written_to_afterwards(database_path: Path) -> None:
    filled(database_path, range(1, 2))
    with closing(Database.open(database_path, busy_s=0.2)) as database:
        with child(STRANGER, database_path, "BEGIN IMMEDIATE") as stranger:
            stranger.says("locked")
            with pytest.raises(StoreBusyError, match="outside onward has held the write lock"):
                asyncio.run(put(database, 2))
            assert there(database) == [1]
            stranger.tell("commit")
            stranger.ends()
        asyncio.run(put(database, 3))
        assert there(database) == [1, 3]


def test_a_file_locked_by_another_program_is_opened_if_it_needs_no_change(database_path: Path) -> None:
    filled(database_path, range(1, 2))
    with closing(Database.open(database_path)), child(STRANGER, database_path, "BEGIN IMMEDIATE") as stranger:
        stranger.says("locked")
        with closing(Database.open(database_path, busy_s=0.1)) as database:
            assert there(database) == [1]


def test_a_file_locked_before_it_has_our_tables_is_told(database_path: Path) -> None:
    with child(STRANGER, database_path, "BEGIN EXCLUSIVE") as stranger:
        stranger.says("locked")
        with pytest.raises(StoreBusyError, match="end that program's transaction"):
            Database.open(database_path, busy_s=0.1)
        stranger.tell("commit")
        stranger.ends()
    Database.open(database_path).close()


def test_a_file_of_a_newer_onward_is_refused_and_left_alone(database_path: Path) -> None:
    filled(database_path, range(1, 3))
    with closing(apsw.Connection(str(database_path))) as connection:
        connection.execute("INSERT INTO onward_schema VALUES (999, 0)")
    before = database_path.read_bytes()
    with pytest.raises(SchemaVersionError, match="run the newer onward"):
        Database.open(database_path)
    assert database_path.read_bytes() == before


def test_an_empty_file_is_a_new_database(database_path: Path) -> None:
    database_path.touch()
    filled(database_path, range(1, 2))
    with closing(Database.open(database_path)) as database:
        assert there(database) == [1]


def test_errors_at_opening_leave_no_lock_behind(database_path: Path) -> None:
    database_path.write_bytes(b"nonsense " * 1000)
    with pytest.raises(StoreCorruptError):
        Database.open(database_path)
    database_path.unlink()
    filled(database_path, range(1, 2))
