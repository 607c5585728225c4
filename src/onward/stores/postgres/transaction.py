"""The two faces of a transaction on PostgreSQL: for async handlers, and for plain functions in their thread."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine, Iterator
from contextlib import asynccontextmanager, contextmanager
from datetime import datetime
from typing import Any

from onward.delays import Delay
from onward.errors import TransactionError
from onward.ports import Returned
from onward.stores.postgres.statements import Statements
from onward.stores.result import StatementResult

LOOK_S = 1.0  # how often a waiting thread looks whether its event loop is still there


class PostgresTransaction:
    """`Transaction` on PostgreSQL."""

    __slots__ = ("statements",)

    def __init__(self, statements: Statements) -> None:
        self.statements = statements

    async def execute(self, sql: str, /, **params: object) -> StatementResult:
        return await self.statements.execute(sql, params)

    async def submit(self, sql: str, /, **params: object) -> None:
        await self.statements.submit(sql, params)

    async def publish(self, *events: object, at: datetime | None = None, delay: Delay | None = None) -> None:
        self.statements.publish(events, at, delay)

    @asynccontextmanager
    async def savepoint(self) -> AsyncIterator[None]:
        statements = self.statements
        savepoint = statements.enter()
        try:
            await statements.begin(savepoint)
        except BaseException:
            statements.leave(savepoint, keep=False)
            raise
        try:
            yield
        except BaseException:
            innermost = statements.leave(savepoint, keep=False)
            if innermost is not None:
                await statements.end(savepoint, keep=False, innermost=innermost)
            raise
        innermost = statements.leave(savepoint, keep=True)
        if innermost is not None:
            await statements.end(savepoint, keep=True, innermost=innermost)


class PostgresSyncTransaction:
    """`SyncTransaction` on PostgreSQL: each statement runs on the event loop while its thread waits."""

    __slots__ = ("_loop", "statements")

    def __init__(self, statements: Statements, loop: asyncio.AbstractEventLoop) -> None:
        self.statements = statements
        self._loop = loop

    def execute(self, sql: str, /, **params: object) -> StatementResult:
        return self.wait(self.statements.execute(sql, params))

    def submit(self, sql: str, /, **params: object) -> None:
        self.wait(self.statements.submit(sql, params))

    def publish(self, *events: object, at: datetime | None = None, delay: Delay | None = None) -> None:
        self.statements.publish(events, at, delay)

    @contextmanager
    def savepoint(self) -> Iterator[None]:
        statements = self.statements
        savepoint = statements.enter()
        try:
            self.wait(statements.begin(savepoint))
        except BaseException:
            statements.leave(savepoint, keep=False)
            raise
        try:
            yield
        except BaseException:
            innermost = statements.leave(savepoint, keep=False)
            if innermost is not None:
                self.wait(statements.end(savepoint, keep=False, innermost=innermost))
            raise
        innermost = statements.leave(savepoint, keep=True)
        if innermost is not None:
            self.wait(statements.end(savepoint, keep=True, innermost=innermost))

    def wait(self, work: Coroutine[Any, Any, Returned]) -> Returned:
        """What the work gives, which runs on the event loop. For code in this transaction's thread."""
        if asyncio._get_running_loop() is not None:
            work.close()
            raise TransactionError(
                "This transaction is one of a plain function, which runs in a thread; from the event loop its"
                " statements would wait for themselves. Make the handler `async def`, with `tx: Transaction`."
            )
        waiting = asyncio.run_coroutine_threadsafe(work, self._loop)
        while True:
            try:
                return waiting.result(LOOK_S)
            except TimeoutError:
                if waiting.done():
                    return waiting.result()  # since then; or the time-out is the work's own
                if self._loop.is_closed():
                    raise
