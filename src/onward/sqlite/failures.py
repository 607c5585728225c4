"""What SQLite's errors mean to a user of onward."""

from __future__ import annotations

import apsw

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

_MEANINGS: tuple[tuple[tuple[type[apsw.Error], ...], type[StoreError], str], ...] = (
    (
        (apsw.BusyError, apsw.LockedError),
        StoreBusyError,
        "another program holds a lock on the file. Nothing was written; end that program's transaction and try again",
    ),
    (
        (apsw.FullError,),
        StoreFullError,
        "the disk, or the limit set on the file's size, is full. Nothing of this transaction was written; "
        "free some space and try again",
    ),
    (
        (apsw.ReadOnlyError, apsw.PermissionsError),
        StoreReadOnlyError,
        "the file or its folder can't be written by this user. Nothing was written; "
        "give this user write access to both, or choose another file",
    ),
    (
        (apsw.CorruptError, apsw.NotADBError, apsw.FormatError),
        StoreCorruptError,
        "the file is damaged or is no SQLite database. onward does not touch it any more; "
        "keep a copy of it with its -wal file, then restore a backup or salvage it with sqlite3's .recover",
    ),
    (
        (apsw.CantOpenError,),
        StoreUnreachableError,
        "the file, or its -wal or -shm beside it, can't be opened. Nothing was written; check that they are "
        "files this user may write and that the process is not out of file descriptors",
    ),
    (
        (apsw.IOError,),
        StoreUnreachableError,
        "the disk failed to read or write. If this was a commit, whether it holds is known only when the "
        "file is read again; look at the system's log for that disk before going on",
    ),
    (
        (apsw.ConnectionClosedError, apsw.CursorClosedError),
        StoreClosedError,
        "the database was closed before. Nothing was written; use it only until `close`",
    ),
)


def translate(error: apsw.Error, doing: str) -> StoreError:
    """The `StoreError` that says what `error` means while `doing` ("committing to onward.db").

    Raise it `from error`. Its fields are `doing`, SQLite's `code` and `extended_code`.
    """
    code = getattr(error, "result", 0)
    extended_code = getattr(error, "extendedresult", 0)
    fields: dict[str, object] = {"doing": doing, "code": code, "extended_code": extended_code}
    if extended_code == apsw.SQLITE_CONSTRAINT_COMMITHOOK:
        return TransactionError(
            f"{doing}: a statement would have committed on its own. It was rolled back, nothing was stored: "
            "write inside a transaction of onward, and leave BEGIN, COMMIT and ROLLBACK to it.",
            **fields,
        )
    for kinds, meaning, sentence in _MEANINGS:
        if isinstance(error, kinds):
            return meaning(f"{doing}: {sentence} ({error}).", **fields)
    return StoreError(f"{doing}: SQLite refused ({error}). Nothing of this statement was written.", **fields)
