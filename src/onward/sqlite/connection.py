"""A connection with the settings that onward's guarantees rest on."""

from __future__ import annotations

from collections.abc import Sequence

import apsw

from onward.errors import StoreError, StoreReadOnlyError
from onward.sqlite.schema import Migration, check, install
from onward.sqlite.turn import WriteTurn

OLDEST_SQLITE = (3, 51, 3)
"""Before it, a checkpoint and a writer that restarts the log could lose committed pages."""


def connect(path: str, vfs: str | None, busy_s: float = 1.0) -> apsw.Connection:
    """A connection whose commits are on disk when they return; checkpoints are left to `Checkpointer`."""
    if tuple(int(part) for part in apsw.sqlite_lib_version().split(".")) < OLDEST_SQLITE:
        raise StoreError(
            f"The SQLite library in use is {apsw.sqlite_lib_version()}, and onward needs at least "
            f"{'.'.join(map(str, OLDEST_SQLITE))}. Nothing was opened; install a newer apsw."
        )
    connection = apsw.Connection(path, vfs=vfs, statementcachesize=256)
    try:
        connection.set_busy_timeout(int(busy_s * 1000))
        connection.wal_autocheckpoint(0)
        connection.pragma("synchronous", "FULL")
        connection.pragma("foreign_keys", True)
    except BaseException:
        connection.close()
        raise
    return connection


def prepare(
    connection: apsw.Connection,
    path: str,
    known: Sequence[Migration],
    *,
    turn: WriteTurn | None = None,
    busy_s: float = 30.0,
) -> None:
    """Puts the file in WAL mode with a current schema, in a turn to write if there is anything to change."""
    if connection.readonly("main"):
        raise StoreReadOnlyError(
            f"{path} can't be written by this user. Nothing was changed; give this user write access to the "
            "file and its folder, or choose another file.",
            path=path,
        )
    current = check(connection, path, known)
    if turn is None:
        install(connection, path, known)
    elif not current or connection.pragma("journal_mode") != "wal":
        turn.take_blocking(busy_s)
        try:
            mode = connection.pragma("journal_mode", "wal")
            if mode != "wal":
                raise StoreError(
                    f"{path} can't use a write-ahead log (SQLite keeps it in mode {mode!r}), and onward "
                    "needs one. Nothing was changed; put the file on a local disk.",
                    path=path,
                )
            if not check(connection, path, known):
                install(connection, path, known)
        finally:
            turn.give_back()
