"""News of an outbox between processes: a NOTIFY right behind the commit, which is lost without harm.

Not inside the transaction that publishes: PostgreSQL would let those that notify commit one after the other.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import psycopg
from psycopg.pq import ConnStatus

from onward.errors import StoreError
from onward.stores.postgres.address import Address
from onward.stores.postgres.command import Command
from onward.stores.postgres.connections import Connections
from onward.stores.postgres.session import is_pooled

CHANNEL = "onward_outbox"
NOTIFY = "SELECT set_config('lock_timeout', '50ms', true), pg_notify($1, $2)"
"""Those that notify commit one after the other, in all of the server: nobody waits for long for somebody else's."""

CONNECT_S = 1.0
"""How long the leader does without its lease's next prolongation to listen at all."""
END_S = 1.0


class Ears:
    """A connection of its own that listens while it is open. Belongs to one event loop.

    Behind a pooler it stays closed: the server's connection that listened would be another client's next.
    """

    def __init__(self, address: Address, service: str, heard: Callable[[], None]) -> None:
        self._address = address
        self._name = service.encode()
        self._heard = heard
        self._connection: psycopg.AsyncConnection | None = None
        self._socket = -1
        self._pooled = False

    @property
    def open(self) -> bool:
        return self._connection is not None

    async def listen(self) -> None:
        """Safe to repeat, as it has to be: a connection that fails, now or later, is not told of."""
        if self.open or self._pooled:
            return
        with suppress(psycopg.Error, TimeoutError):
            async with asyncio.timeout(CONNECT_S):
                connection = await psycopg.AsyncConnection.connect(self._address.conninfo, autocommit=True)
                try:
                    self._pooled = await is_pooled(connection)
                    if not self._pooled:
                        await connection.execute(f"LISTEN {CHANNEL}")
                        self._attach(connection)
                finally:
                    if not self.open:
                        connection.pgconn.finish()

    def _attach(self, connection: psycopg.AsyncConnection) -> None:
        self._connection, self._socket = connection, connection.pgconn.socket
        asyncio.get_running_loop().add_reader(self._socket, self._hear)
        self._heard()  # of what came before

    def _hear(self) -> None:
        assert self._connection is not None
        pgconn = self._connection.pgconn
        with suppress(psycopg.OperationalError):
            pgconn.consume_input()
        said = []
        while (each := pgconn.notifies()) is not None:
            said.append(each.extra)
        if pgconn.status != ConnStatus.OK:
            self.close()
        if self._name in said:
            self._heard()

    def close(self) -> None:
        """Safe to repeat."""
        connection, self._connection = self._connection, None
        if connection is not None:
            with suppress(RuntimeError):  # the loop may have ended before
                asyncio.get_running_loop().remove_reader(self._socket)
            connection.pgconn.finish()


class Voice:
    """Says that something was committed, once for all that is committed while it does: to others than the leader."""

    def __init__(self, connections: Connections, service: str, ears: Ears) -> None:
        self._connections = connections
        self._words = Command(NOTIFY, [(CHANNEL, service)], ours=True)
        self._ears = ears
        self._due = False
        self._carried = False
        self._task: asyncio.Task[None] | None = None

    @contextmanager
    def with_commit(self, something: bool) -> Iterator[Command | None]:
        """What says so, to travel behind the COMMIT; None where there is nothing to say, or others have to wait.

        It is said by the end of the block, or will be soon.
        """
        if not something:
            yield None
        elif self._carried or self._running or self._ears.open:
            yield None
            self.say()
        else:
            self._carried = True
            try:
                yield self._words
            finally:
                self._carried = False

    @property
    def _running(self) -> bool:
        return self._task is not None and not self._task.done()

    def say(self) -> None:
        """Soon, beside what the caller does."""
        self._due = not self._ears.open
        if self._due and not self._running:
            self._task = asyncio.create_task(self._run())

    async def _run(self) -> None:
        while self._due:
            self._due = False
            with suppress(StoreError):  # the leader looks by itself too
                await self._connections.apart(self._words, "Waking the relay", read_only=False)

    async def end(self) -> None:
        """What was to be said is said by then, or will not be. Safe to repeat."""
        task, self._task = self._task, None
        if task is not None:
            await asyncio.wait([task], timeout=END_S)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
