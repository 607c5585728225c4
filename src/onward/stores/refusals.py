"""What a transaction refuses, said alike by every store."""

from __future__ import annotations

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

BELOW_US = (
    StoreBusyError,
    StoreConflictError,
    StoreCorruptError,
    StoreFullError,
    StoreReadOnlyError,
    StoreUnreachableError,
)
"""Failures that no statement is to blame for."""


def cut_short(doing: str) -> TransactionError:
    """`doing` begins a sentence, such as "Running 'DELETE FROM cart'"."""
    return TransactionError(
        f"{doing} was cut short, as by a time-out, and what was sent may have run, or a part of it. Let the time-out"
        " fail the event, or put `async with tx.savepoint():` inside it, which undoes that part."
    )


def ended() -> TransactionError:
    return TransactionError(
        "This transaction has ended, and nothing more was stored or published: it lives as long as the block or the"
        " handler call it was given to. Use it there."
    )


def failed_before(failed: StoreError) -> TransactionError:
    """For a statement after an error that the handler swallowed. Raise it `from failed`."""
    return TransactionError(
        f"An earlier statement failed ({failed}) and its error was caught without a savepoint, so this"
        " event can't take effect. Put `async with tx.savepoint():` around what may fail."
    )


def swallowed(failed: StoreError) -> TransactionError:
    """For a handler that returned after an error that it swallowed. Raise it `from failed`."""
    return TransactionError(
        f"A statement failed ({failed}) and its error was caught without a savepoint, so nothing of this event"
        " was stored. Put `async with tx.savepoint():` around what may fail."
    )


def inside_savepoint() -> TransactionError:
    return TransactionError(
        "The handler returned while a task that it started was inside `tx.savepoint()`, so nothing of this"
        " event was stored. Await every task that uses `tx`."
    )


def crossed_savepoints() -> TransactionError:
    return TransactionError(
        "A savepoint was left while one inside it was open: both were undone. Leave the inner one first."
    )


def forbidden(sql: str, what: str) -> TransactionError:
    """`what` is a verb phrase, such as "begin, commit or roll back"."""
    return TransactionError(
        f"A handler can't {what} inside its transaction, as in {sql[:200]!r}: onward commits it"
        " together with the event. Nothing was stored."
    )


def several(sql: str) -> TransactionError:
    return TransactionError(
        f"{sql[:200]!r} holds several statements, and a handler runs one at a time, on every store alike."
        " Call tx.execute() for each. Nothing was stored."
    )


def nameless(sql: str) -> TransactionError:
    return TransactionError(
        f"{sql[:200]!r} has a parameter without a name. Write :name for each, and give its value as a keyword."
    )


def misfit(sql: str, error: Exception) -> TransactionError:
    """For parameters that a statement can't be given."""
    return TransactionError(
        f"The parameters of {sql[:200]!r} don't fit ({error}): give each :name as a keyword, as text, bytes, int, float"
        " or None."
    )


def no_query(sql: str) -> TransactionError:
    return TransactionError(
        f"`app.read` runs one SELECT and nothing else, and {sql[:200]!r} is no such thing. Nothing was run; to"
        " write, use `async with app.transaction() as tx`."
    )


def read_inside() -> TransactionError:
    return TransactionError(
        "This task is inside a transaction, and a read beside it would not see what was written there. Use"
        " `tx.execute` of that transaction, or read after its end."
    )


def begun_inside() -> TransactionError:
    return TransactionError(
        "This task is inside a transaction already: what the other one did could commit without it. Use that"
        " transaction, or begin the other one when it has ended."
    )
