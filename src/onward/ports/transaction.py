"""The transaction that an event's effects commit in, as handlers see it."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager, AbstractContextManager
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from datetime import datetime

    from onward.delays import Delay


class Result(Protocol):
    """What a statement gave: `rows` of tuples, and `rowcount`, the rows it changed."""

    @property
    def rows(self) -> list[tuple[Any, ...]]: ...

    @property
    def rowcount(self) -> int: ...

    def one(self) -> tuple[Any, ...]:
        """The only row; raises TransactionError when there are none or several."""
        ...

    def scalar(self) -> Any:
        """The first column of the first row, or None without rows."""
        ...


class Transaction(Protocol):
    """The transaction that an event's effects commit in. Given to async handlers; onward commits it.

    SQL parameters are `:name` on every store. An SQL error that is caught without a `savepoint()` around it
    fails the event all the same, on every store alike.
    """

    async def execute(self, sql: str, /, **params: object) -> Result:
        """Run one statement and wait for its result. Raises StoreError."""
        ...

    async def submit(self, sql: str, /, **params: object) -> None:
        """Run one statement without a result; where the store can, without waiting. Its error fails the batch."""
        ...

    async def publish(self, *events: object, at: datetime | None = None, delay: Delay | None = None) -> None:
        """Publish events by this transaction's commit, and not at all if it does not commit; `at` a time, or later."""
        ...

    def savepoint(self) -> AbstractAsyncContextManager[None]:
        """Undo what happens inside if it raises; the exception passes on.

        They nest. Tasks started inside may use the transaction meanwhile, others are refused with TransactionError:
        their work would be undone with it.
        """
        ...


class SyncTransaction(Protocol):
    """`Transaction` for handlers written with plain `def`: the same verbs, without await."""

    def execute(self, sql: str, /, **params: object) -> Result: ...

    def submit(self, sql: str, /, **params: object) -> None: ...

    def publish(self, *events: object, at: datetime | None = None, delay: Delay | None = None) -> None: ...

    def savepoint(self) -> AbstractContextManager[None]: ...
