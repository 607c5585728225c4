"""What PostgreSQL's errors mean to a user of onward."""

from __future__ import annotations

import psycopg

from onward.errors import (
    StoreBusyError,
    StoreConflictError,
    StoreCorruptError,
    StoreError,
    StoreFullError,
    StoreReadOnlyError,
    StoreUnreachableError,
    TransactionError,
)

ENDED_WHILE_IDLE = "25P03"
MISSING = "26000"
"""The state of a statement that the server has not prepared."""

_UNREACHABLE = (
    StoreUnreachableError,
    "the connection to PostgreSQL was lost, or there was none to be had. What was not committed is rolled back; see"
    " that the server runs and that this machine can reach it",
)
_ENDED = (
    TransactionError,
    "the transaction that onward had begun is not there any more. Nothing of it was stored; leave BEGIN, COMMIT and"
    " ROLLBACK to onward",
)
_MEANINGS: dict[str, tuple[type[StoreError], str]] = {
    "40": (
        StoreConflictError,
        "another transaction held what this one needed, and PostgreSQL ended one of the two. Nothing was stored; it is"
        " tried again",
    ),
    "55P03": (
        StoreConflictError,
        "another transaction held a lock for longer than this one may wait. Nothing was stored; it is tried again",
    ),
    MISSING: (
        StoreConflictError,
        "what the connection had prepared is not there any more, as when a pooler gives it another one of the server's."
        " Nothing was stored; it works without from now on",
    ),
    "40003": _UNREACHABLE,
    "08": _UNREACHABLE,
    "57P": _UNREACHABLE,
    "28": (
        StoreUnreachableError,
        "PostgreSQL does not let this user in. Nothing was stored; check user, password and pg_hba.conf",
    ),
    "3D": (
        StoreUnreachableError,
        "there is no such database. Nothing was stored; create it, or name another one in ONWARD_STORE",
    ),
    "53100": (StoreFullError, "the server's disk is full. Nothing was stored; free some space and try again"),
    "53": (
        StoreBusyError,
        "the server is out of connections or memory. Nothing was stored; raise its limits, or lower pool_size",
    ),
    "58": (
        StoreUnreachableError,
        "the server failed to read or write its files. Nothing was stored; look at its log before going on",
    ),
    "XX": (
        StoreCorruptError,
        "the server found its data damaged. onward does not touch it any more; look at its log, and restore a backup",
    ),
    "25006": (
        StoreReadOnlyError,
        "the server takes no writes: it is a standby, or set to read only. Nothing was stored; connect to the primary,"
        " such as with target_session_attrs=read-write",
    ),
    ENDED_WHILE_IDLE: (
        TransactionError,
        "the transaction stood open without a statement for longer than idle_s, and PostgreSQL ended it. Nothing of it"
        " was stored; keep what waits for something else out of a transaction",
    ),
    "25P01": _ENDED,
    "3B001": _ENDED,
    "2D": (
        TransactionError,
        "a statement tried to end the transaction. Nothing of it was stored; onward commits it together with the event",
    ),
    "57014": (
        StoreError,
        "the statement was stopped, as it took longer than statement_s or somebody cancelled it. Make it cheaper, or"
        " raise statement_s",
    ),
}


def translate(error: psycopg.Error, doing: str, sqlstate: str | None = None) -> StoreError:
    """The `StoreError` that says what `error` means while `doing` ("claiming partitions").

    Raise it `from error`. Its fields are `doing` and PostgreSQL's `sqlstate`, which may be known better than by it.
    """
    state = sqlstate or error.sqlstate or ("08000" if isinstance(error, psycopg.OperationalError) else "")
    said = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    for length in (5, 3, 2):
        if state[:length] in _MEANINGS:
            kind, sentence = _MEANINGS[state[:length]]
            return kind(f"{doing}: {sentence} ({said}).", doing=doing, sqlstate=state)
    return StoreError(f"{doing}: PostgreSQL refused ({said}).", doing=doing, sqlstate=state)
