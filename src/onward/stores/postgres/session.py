"""One connection to PostgreSQL: transactions on it, and nothing that outlives them."""

from __future__ import annotations

from collections.abc import Sequence
from select import POLLIN, poll
from time import monotonic
from typing import Any

import psycopg
from psycopg.pq import ConnStatus, TransactionStatus

from onward.errors import CommitUncertainError, StoreError, TransactionError
from onward.stores.postgres.address import Address
from onward.stores.postgres.command import Arguments, Command
from onward.stores.postgres.failures import ENDED_WHILE_IDLE, translate
from onward.stores.postgres.names import OFTEN, KeptNames
from onward.stores.postgres.pipelining import pipelined
from onward.stores.postgres.speaker import Answer, Speaker
from onward.stores.postgres.waiting import QuickConnection
from onward.stores.result import Driven, StatementResult

BEGINNING = "Beginning a transaction"
_KEPT = ("default_transaction_isolation = 'read committed'", "plan_cache_mode = force_generic_plan")
"""Few statements, each of which has one good plan: to plan one anew costs the server more than to run it."""

FRESH_S = 1.0
"""How long after its last use a connection is taken to be there. One that is not fails the first statement."""


class Session:
    """A connection between transactions, or inside one. Used by one task at a time.

    Nothing is prepared and nothing set for longer than a transaction, so that a pooler may give each transaction
    another connection of its own. Where there is none, our own statements stay prepared; on one that is `kept` all of
    them do, and what is set stays too.
    """

    def __init__(self, connection: psycopg.AsyncConnection, address: Address, without: Sequence[str]) -> None:
        self._connection = connection
        self._cursor = connection.cursor()
        self._speaker = Speaker(connection)
        self._address = address
        self._used_at = monotonic()
        self._number: int | None = None  # of the transaction, where somebody else speaks in it
        self._pending: list[Command] = []  # what begins the transaction, until it travels with its first statement
        limits = (
            ("idle_in_transaction_session_timeout", address.idle_s),
            ("lock_timeout", address.lock_s),
            ("statement_timeout", address.statement_s),
        )
        self._settings = [f"{name} = {round(seconds * 1000)}" for name, seconds in limits]
        self._settings += [f"{name} = off" for name in without]

    @classmethod
    async def open(cls, address: Address, without: Sequence[str] = (), *, kept: bool = False) -> Session:
        """`without` are settings that are off in its transactions. One to be `kept` runs nobody else's statements.

        Raises the StoreError that says why there is no connection.
        """
        try:
            connection = await QuickConnection.connect(
                address.conninfo, autocommit=True, prepare_threshold=None, cursor_factory=psycopg.AsyncRawCursor
            )
        except psycopg.Error as error:
            raise translate(error, f"Connecting to {address}") from error
        if connection.pgconn.parameter_status(b"standard_conforming_strings") == b"off":
            connection.pgconn.finish()
            raise StoreError(
                f"{address} has standard_conforming_strings off, and onward would read statements otherwise than the"
                " server. Nothing was run; set it on, as it is by default."
            )
        session = cls(connection, address, without)
        try:
            if connection.info.user == "onward":
                session._settings.append(f"search_path = {await session._path_of_others()}")
            if not await is_pooled(connection):
                await session._keep(kept)
        except BaseException as error:
            session.drop()
            if isinstance(error, psycopg.Error):
                raise translate(error, f"Connecting to {address}") from error
            raise
        return session

    async def _keep(self, all_is_ours: bool) -> None:
        if all_is_ours:
            await self.script("; ".join(f"SET {each}" for each in (*self._settings, *_KEPT)), "Setting limits")
            self._settings = []
        self._speaker = Speaker(self._connection, KeptNames(1 if all_is_ours else OFTEN), all_is_ours=all_is_ours)

    async def _path_of_others(self) -> str:
        """The search path without our schema, where a user's own name comes first by default.

        Else an `account` that a handler writes to would be the one that we keep, and what a service's schema creates
        would be ours, or be taken for there already.
        """
        await self._cursor.execute("SHOW search_path")
        ((path,),) = await self._cursor.fetchall()
        others = [each.strip() for each in path.split(",") if each.strip().strip('"') not in ("$user", "onward")]
        return ", ".join(others) or "''"

    @property
    def backend_pid(self) -> int:
        """The process that serves it, as it was told when it was opened: a pooler tells another one."""
        return self._connection.pgconn.backend_pid

    @property
    def usable(self) -> bool:
        """Whether another transaction can begin on it."""
        pgconn = self._connection.pgconn
        return pgconn.status == ConnStatus.OK and pgconn.transaction_status == TransactionStatus.IDLE

    @property
    def lost(self) -> bool:
        return self._connection.pgconn.status != ConnStatus.OK

    @property
    def in_transaction(self) -> bool:
        return self._connection.pgconn.transaction_status == TransactionStatus.INTRANS

    async def begin(self, *, read_only: bool = False, first: Sequence[Command] = (), doing: str = BEGINNING) -> None:
        """`first`, which is `doing` that, travels with it, and raises as in `send`.

        Raises StoreUnreachableError when the connection turns out to have ended: nothing was stored then.
        """
        begun_at = monotonic()
        self._number = None
        self._pending = self._beginning(read_only)
        try:
            await self._first(first)
        except (psycopg.Error, UnicodeEncodeError) as error:
            raise self._failure(error, doing, begun_at) from error

    async def begin_soon(self) -> None:
        """As `begin`; what begins travels with the first statement where the connection worked a moment ago."""
        if monotonic() - self._used_at > FRESH_S or self._is_told():
            await self.begin()
        else:
            self._number = None
            self._pending = self._beginning(read_only=False)

    def _is_told(self) -> bool:
        """Whether the server says something that nobody has asked for: mostly that it has ended the connection."""
        looked = poll()
        looked.register(self._connection.pgconn.socket, POLLIN)
        return bool(looked.poll(0))

    def _beginning(self, read_only: bool) -> list[Command]:
        mode = "READ ONLY" if read_only else "READ WRITE"
        settings = (f"SET LOCAL {each}" for each in self._settings)
        return [Command(each, ours=True) for each in (f"BEGIN ISOLATION LEVEL READ COMMITTED {mode}", *settings)]

    async def _first(self, commands: Sequence[Command]) -> Answer:
        """Begin, and run these, in one round trip; the answer to the last. Before it, nothing stood idle."""
        self._used_at = monotonic()
        try:
            return await self._speaker.begin([*self._pending, *commands])
        finally:
            if self._connection.pgconn.transaction_status != TransactionStatus.IDLE:
                self._pending = []

    async def _begun(self, doing: str) -> None:
        """For who speaks in the transaction by himself."""
        if self._pending:
            try:
                await self._first(())
            except psycopg.Error as error:
                raise translate(error, doing) from error

    async def apart(self, command: Command, doing: str, *, read_only: bool = True) -> StatementResult:
        """One statement in a transaction of its own, in one round trip. Raises as `run` does."""
        begun_at = self._used_at = monotonic()
        try:
            if read_only and not self._settings:  # a statement by itself is one
                answer = await self._speaker.ask_alone(command)
            else:
                answer = await self._speaker.ask_apart(self._beginning(read_only), command)
        except (psycopg.Error, UnicodeEncodeError) as error:
            raise self._failure(error, doing, begun_at) from error
        self._used_at = monotonic()
        return StatementResult(answer.rows, 0 if answer.queried else answer.rowcount)

    async def script(self, sql: str, doing: str) -> None:
        """Statements without parameters, any number of them."""
        await self._begun(doing)
        try:
            await self._cursor.execute(sql)
        except psycopg.Error as error:
            raise translate(error, doing) from error
        self._used_at = monotonic()

    async def run(self, sql: str, args: Arguments, doing: str, *, before: Sequence[Command] = ()) -> StatementResult:
        """One statement. Raises StoreError, and TypeError for arguments that PostgreSQL has no type for.

        `before` travels with it: of an error it is then not known whose it is.
        """
        begun_at = monotonic()
        try:
            if self._pending:
                answer = await self._first([*before, Command(sql, (args,))])
            elif before:
                answer = await self._speaker.tell_and_ask(before, sql, args)
            else:
                answer = await self._speaker.ask(sql, args)
        except (psycopg.Error, UnicodeEncodeError) as error:
            raise self._failure(error, doing, begun_at) from error
        self._used_at = monotonic()
        return StatementResult(answer.rows, 0 if answer.queried else answer.rowcount)

    async def drive(self, sql: str, args: Any, *, many: bool) -> Driven:
        """One statement as the driver has it, with parameters as `%(name)s`. Raises as `run` does."""
        begun_at = monotonic()
        await self._begun(f"Running {sql[:200]!r}")
        self.refuse_ended()
        self._speaker.doubt()
        cursor = psycopg.AsyncCursor(self._connection)
        try:
            if self._number is None:
                await cursor.execute("SELECT txid_current()")
                self._number = (await cursor.fetchall())[0][0]
            if many:
                async with pipelined(self._connection):
                    await cursor.executemany(sql, args)
            else:
                await cursor.execute(sql, args)
            rows = await cursor.fetchall() if cursor.description is not None else []
        except (psycopg.Error, UnicodeEncodeError) as error:
            raise self._failure(error, f"Running {sql[:200]!r}", begun_at) from error
        self._used_at = monotonic()
        columns = None if cursor.description is None else [tuple(column) for column in cursor.description]
        return Driven(rows, columns, cursor.rowcount)

    async def send(self, commands: Sequence[Command], doing: str) -> None:
        """Run them in one round trip. Raises as `run` does, and what a command says that changed no row."""
        begun_at = monotonic()
        try:
            if self._pending:
                await self._first(commands)
            else:
                await self._speaker.tell(commands)
        except (psycopg.Error, UnicodeEncodeError) as error:
            raise self._failure(error, doing, begun_at) from error
        self._used_at = monotonic()

    def refuse_ended(self) -> None:
        """Raises TransactionError when somebody else has ended the transaction: a statement would commit by itself."""
        if not self._pending and self._connection.pgconn.transaction_status == TransactionStatus.IDLE:
            raise TransactionError(
                "The transaction that the handlers were given was ended behind onward's back. Nothing more is run in"
                " it; leave BEGIN, COMMIT and ROLLBACK to onward."
            )

    def unchanged(self) -> list[Command]:
        """What to send before the rest of a commit: it fails where the transaction is not the one that began here.

        Raises TransactionError as `refuse_ended` does.
        """
        if self._number is None:
            return []
        swapped = TransactionError(
            "The transaction that the handlers were given was ended behind onward's back, and another one begun in its"
            " place, which is rolled back now. Leave BEGIN, COMMIT and ROLLBACK to onward."
        )
        self.refuse_ended()
        same = "SELECT 1 / (txid_current() = $1)::int"
        return [Command(same, [(self._number,)], swapped, fails=True)]

    async def commit(self, commands: Sequence[Command] = (), then: Command | None = None) -> None:
        """In one round trip with these, of which those that count fail by themselves, and where nothing has been said
        with the beginning too. `then` runs behind it, in a transaction of its own, or fails and nobody hears of it.

        Raises CommitUncertainError when it isn't known whether it holds, any other StoreError when it does not, and
        what a command says that changed another number of rows.
        """
        if self._pending and not commands:  # nothing was said
            return
        if not (self._pending or self.in_transaction):
            raise TransactionError("There is no transaction to commit: an earlier error ended it. Nothing was stored.")
        begun_at = monotonic()
        pending, self._pending = self._pending, []
        if pending:
            self._used_at = begun_at  # before it, nothing stood idle
        try:
            await self._speaker.commit([*pending, *commands], then)
        except (psycopg.Error, UnicodeEncodeError) as error:
            if self.lost and not self._ended_while_idle(begun_at):
                raise CommitUncertainError(
                    f"The connection to PostgreSQL was lost during COMMIT ({error}): all of the transaction was stored"
                    " or nothing, and which of the two is known only when what it wrote is read again. For handlers'"
                    " events onward does that. What else was stored or published: look before you do it again."
                ) from error
            raise self._failure(error, "Committing", begun_at) from error
        self._used_at = monotonic()

    async def rollback(self) -> None:
        """End what is open. A connection that can't do that is dropped, which does it too. Never raises StoreError."""
        self._pending = []
        status = self._connection.pgconn.transaction_status
        if status == TransactionStatus.IDLE:
            if self._speaker.has_names:
                self.drop()  # somebody else ended it, and a pooler may give what has them to others
            return
        if status not in (TransactionStatus.INTRANS, TransactionStatus.INERROR):
            self.drop()  # something was cut short in it
            return
        try:
            await self._speaker.unname()
            await self._speaker.ask("ROLLBACK", ())
        except psycopg.Error:
            self.drop()
        except BaseException:
            self.drop()
            raise

    def drop(self) -> None:
        """Close the connection, whatever goes on in it. Safe to repeat."""
        self._connection.pgconn.finish()

    def _failure(self, error: Exception, doing: str, begun_at: float) -> Exception:
        """Errors that the server never heard of are those of arguments."""
        if not isinstance(error, psycopg.Error):
            return TypeError(str(error))
        if error.sqlstate is None and not isinstance(error, psycopg.OperationalError):
            return TypeError(str(error).strip())
        return translate(error, doing, ENDED_WHILE_IDLE if self._ended_while_idle(begun_at) else error.sqlstate)

    def _ended_while_idle(self, begun_at: float) -> bool:
        """The server says so before it hangs up, but the client library may see no more than that it did."""
        return self.lost and begun_at - self._used_at >= self._address.idle_s


async def is_pooled(connection: psycopg.AsyncConnection) -> bool:
    """Whether the server's connection is another one's next."""
    ((pid,),) = await (await connection.execute("SELECT pg_backend_pid()")).fetchall()
    return bool(pid != connection.pgconn.backend_pid)
