import apsw
import pytest

from onward.errors import (
    StoreBusyError,
    StoreClosedError,
    StoreCorruptError,
    StoreError,
    StoreFullError,
    StoreReadOnlyError,
    StoreUnreachableError,
    TransactionError,
)
from onward.sqlite.failures import translate


@pytest.mark.parametrize(
    ("code", "expected", "remedy"),
    [
        (apsw.SQLITE_BUSY, StoreBusyError, "end that program's transaction"),
        (apsw.SQLITE_BUSY_SNAPSHOT, StoreBusyError, "end that program's transaction"),
        (apsw.SQLITE_LOCKED, StoreBusyError, "end that program's transaction"),
        (apsw.SQLITE_FULL, StoreFullError, "free some space"),
        (apsw.SQLITE_READONLY, StoreReadOnlyError, "give this user write access"),
        (apsw.SQLITE_READONLY_DIRECTORY, StoreReadOnlyError, "give this user write access"),
        (apsw.SQLITE_PERM, StoreReadOnlyError, "give this user write access"),
        (apsw.SQLITE_CORRUPT, StoreCorruptError, "restore a backup"),
        (apsw.SQLITE_NOTADB, StoreCorruptError, "restore a backup"),
        (apsw.SQLITE_CANTOPEN, StoreUnreachableError, "file descriptors"),
        (apsw.SQLITE_IOERR_FSYNC, StoreUnreachableError, "whether it holds is known only"),
        (apsw.SQLITE_CONSTRAINT_COMMITHOOK, TransactionError, "leave BEGIN, COMMIT and ROLLBACK to it"),
        (apsw.SQLITE_CONSTRAINT_UNIQUE, StoreError, "Nothing of this statement was written"),
        (apsw.SQLITE_ERROR, StoreError, "Nothing of this statement was written"),
    ],
)
def test_each_error_of_sqlite_has_a_meaning_and_a_remedy(code: int, expected: type[StoreError], remedy: str) -> None:
    error = apsw.exception_for(code)
    assert isinstance(error, apsw.Error)
    found = translate(error, "Committing to onward.db")
    assert type(found) is expected
    assert str(found).startswith("Committing to onward.db: ")
    assert remedy in str(found)
    assert found.fields == {"doing": "Committing to onward.db", "code": code & 0xFF, "extended_code": code}


def test_a_closed_connection_is_our_own_closing() -> None:
    connection = apsw.Connection(":memory:")
    connection.close()
    with pytest.raises(apsw.ConnectionClosedError) as caught:
        connection.execute("SELECT 1")
    assert type(translate(caught.value, "Reading")) is StoreClosedError
