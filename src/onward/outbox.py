"""Publishing in a transaction that is open: what `app.publish(…, within=…)` and `app.outbox(…)` accept."""

from __future__ import annotations

from datetime import datetime

from onward.delays import Delay
from onward.errors import TransactionError
from onward.stores.transaction import SqliteSyncTransaction, SqliteTransaction, Statements


class Outbox:
    """What is added goes out by the commit of one transaction, and not at all if that does not commit.

    `service` publishes, and its store is the file at `path`. Raises TransactionError for a session that is not the
    open transaction of that store.
    """

    def __init__(self, session: object, *, service: str, path: str) -> None:
        self._statements = _statements(session)
        if (self._statements.service, self._statements.path) != (service, path):
            raise TransactionError(
                f"This transaction is one of service {self._statements.service!r} on {self._statements.path}, and"
                f" service {service!r} publishes on {path}: the two would not commit together. Nothing was published."
                f" Give it a transaction of {service!r}, or publish with the App that this one belongs to."
            )

    def add(self, *events: object, at: datetime | None = None, delay: Delay | None = None) -> None:
        """Publish events in this order per key, all or none; `at` a time, or later by `delay`.

        Raises EncodeError, DelayError, and TransactionError once the transaction has ended; nothing was published then.
        """
        self._statements.publish(events, at, delay)


def _statements(session: object) -> Statements:
    """The door: each kind of session that can be published in has its line here."""
    if isinstance(session, SqliteTransaction | SqliteSyncTransaction):
        return session.statements
    kind = type(session)
    raise TransactionError(
        f"Events can't be published within a {kind.__module__}.{kind.__qualname__}. Accepted are the transaction that"
        " `async with app.transaction() as tx` opens, `ctx.transaction()`, and the `tx` of a handler: run your"
        " statements on it, with `tx.execute`. Nothing was published."
    )
