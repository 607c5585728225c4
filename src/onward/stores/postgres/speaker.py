"""What runs for every event, said to libpq directly: cursors and their waits cost more than the server does."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Any, NamedTuple

import psycopg
from psycopg.abc import PQGen
from psycopg.adapt import PyFormat, Transformer
from psycopg.errors import error_from_result
from psycopg.generators import execute
from psycopg.pq import DiagnosticField, ExecStatus, TransactionStatus
from psycopg.pq.abc import PGconn, PGresult

from onward.stores.postgres.command import UNEQUAL, Arguments, Command
from onward.stores.postgres.failures import MISSING
from onward.stores.postgres.names import KeptNames, Kind, Names
from onward.stores.postgres.pipelining import together

COMMIT = Command("COMMIT", ours=True)
_MISSING = MISSING.encode()
_GOOD = (ExecStatus.TUPLES_OK, ExecStatus.COMMAND_OK, ExecStatus.EMPTY_QUERY)


class Answer(NamedTuple):
    """`rowcount` is -1 where the server counts none."""

    rows: list[tuple[Any, ...]]
    rowcount: int
    queried: bool


class Speaker:
    """Runs statements on one connection. Whatever fails, all that the server answers has been read afterwards."""

    def __init__(
        self, connection: psycopg.AsyncConnection[Any], kept: KeptNames | None = None, *, all_is_ours: bool = False
    ) -> None:
        """`kept` are the names of our own statements where they may stay; users' end with the transaction."""
        self._connection = connection
        self._pgconn: PGconn = connection.pgconn
        self._encoding: bytes | None = None
        self._names = Names()
        self._kept = kept
        self._all_is_ours = all_is_ours
        self._place = 0
        """Of the next answer, among those to what travels together."""
        self._preparing: list[tuple[int, Names, Kind]] = []
        self._adapt()

    async def ask(self, sql: str, args: Arguments) -> Answer:
        """One statement. Raises psycopg.Error, or the error of an argument."""
        if args:
            return await self.tell_and_ask((), sql, args)
        self._adapt()
        result = await self._connection.wait(self._asking(sql.encode(self._codec)))
        self._names.settle([result])
        return self._answer(result)

    async def tell(self, commands: Sequence[Command]) -> None:
        """In one round trip. Raises as `ask` does, and what a command says that changed another number of rows."""
        await self._together(commands)

    async def tell_and_ask(self, commands: Sequence[Command], sql: str, args: Arguments) -> Answer:
        """In one round trip. Raises as `tell` does."""
        return self._answer((await self._together([*commands, Command(sql, (args,))]))[-1])

    async def ask_alone(self, command: Command) -> Answer:
        """One statement that runs once. Raises as `ask` does."""
        return self._answer((await self._together([command], named=False))[-1])

    async def ask_apart(self, begin: Sequence[Command], command: Command) -> Answer:
        """In one round trip, and a transaction that `begin` begins and that is committed. Raises as `ask` does."""
        return self._answer((await self._together([*begin, command, COMMIT], named=False))[-2])

    async def commit(self, before: Sequence[Command] = (), then: Command | None = None) -> None:
        """In one round trip with what comes before it, and `then`, which runs after it and fails unheard.

        No name stays that may not. Raises as `tell` does; what counts must fail by itself.
        """
        self._adapt()
        names, checked = self._names, list[tuple[int, Command]]()
        said = chain(
            self._said(before, checked, named=False), self._closing(names), self._said([COMMIT], [], named=False)
        )
        try:
            await self._run(said, checked, then)
        finally:
            if self._pgconn.transaction_status == TransactionStatus.IDLE:  # COMMIT was reached
                self._names = Names(names.number)

    async def begin(self, commands: Sequence[Command]) -> Answer:
        """As `tell`, where they begin a transaction; the answer to the last."""
        return self._answer((await self._together(commands, named=False))[-1])

    def doubt(self) -> None:
        """Somebody may have changed what tables are: what has a name is read and planned anew."""
        self._names.forget()

    @property
    def has_names(self) -> bool:
        return bool(self._names.given)

    async def unname(self) -> None:
        """No name stays that may not. To be called while the transaction is open, a failed one too."""
        names, self._names = self._names, Names(self._names.number)
        if names.given:
            results, _, failure = await self._connection.wait(together(self._pgconn, self._closing(names)))
            for result in results:
                self._refuse(result)
            if failure is not None:
                raise failure

    async def _together(self, commands: Sequence[Command], *, named: bool = True) -> list[PGresult]:
        self._adapt()
        checked: list[tuple[int, Command]] = []
        return await self._run(self._said(commands, checked, named), checked)

    async def _run(
        self, said: Iterator[None], checked: list[tuple[int, Command]], then: Command | None = None
    ) -> list[PGresult]:
        """`checked` are those of which the counts are compared, with their places."""
        self._place, self._preparing = 0, []
        behind = None if then is None else self._said([then], [], named=False)
        try:
            results, after, failure = await self._connection.wait(together(self._pgconn, said, behind))
        except BaseException:
            self._names.forget()
            for _, names, kind in self._preparing:
                names.drop(kind)
            raise
        answers = self._answers(results, after)
        failed = _first_bad(results)
        if _is_missing(failed) or _is_missing(_first_bad(after)):
            self._kept = None  # somebody stands between here and the server after all
        if failed is not None:
            failure = self._error(failed)
        for place, command in checked:
            if place < len(results) and self._differs(command, results[place]):
                assert command.otherwise is not None
                raise command.otherwise from failure
        if failure is not None:
            raise failure
        return answers

    def _answers(self, results: list[PGresult], after: list[PGresult]) -> list[PGresult]:
        """Those of the results that `after` follows that are not to preparing; what was not prepared has no name."""
        answers = results
        if self._preparing:
            all_of_them = [*results, *after]
            for place, names, kind in self._preparing:
                if place >= len(all_of_them) or all_of_them[place].status != ExecStatus.COMMAND_OK:
                    names.drop(kind)
            places = {place for place, _, _ in self._preparing}
            answers = [result for place, result in enumerate(results) if place not in places]
        self._names.settle(answers)
        return answers

    def _differs(self, command: Command, result: PGresult) -> bool:
        if command.fails and result.status == ExecStatus.FATAL_ERROR:
            return self._error(result).sqlstate == UNEQUAL
        return _counted(result) not in (-1, command.changes)

    def _adapt(self) -> None:
        """Text travels in the encoding that is set now: a handler may set another one until its transaction ends."""
        encoding = self._pgconn.parameter_status(b"client_encoding")
        if encoding != self._encoding:
            self._encoding = encoding
            self._codec = self._connection.info.encoding
            self._types = Transformer(self._connection)

    def _said(self, commands: Sequence[Command], checked: list[tuple[int, Command]], named: bool) -> Iterator[None]:
        """Says one at each step. A statement of many rows is read and planned once, and needs no name for that."""
        pgconn, types = self._pgconn, self._types
        for command in commands:
            query = command.sql.encode(self._codec)
            names = self._kept if self._kept is not None and (command.ours or self._all_is_ours) else self._names
            known: tuple[int, ...] | None = None
            for args in command.rows:
                values = types.dump_sequence(args, [PyFormat.AUTO] * len(args))
                kinds = types.types or ()
                if len(command.rows) == 1:
                    name, prepares = names.name((query, kinds)) if named or names.kept else (None, False)
                    if prepares:
                        self._preparing.append((self._place, names, (query, kinds)))
                else:
                    name, prepares, known = b"", kinds != known, kinds
                if prepares:
                    assert name is not None
                    pgconn.send_prepare(name, query, param_types=kinds)
                    self._place += 1
                if command.otherwise is not None:
                    checked.append((self._place, command))
                if name is None:
                    pgconn.send_query_params(
                        query,
                        values,
                        param_types=kinds,
                        param_formats=types.formats,
                        result_format=int(command.binary),
                    )
                else:
                    pgconn.send_query_prepared(
                        name, values, param_formats=types.formats, result_format=int(command.binary)
                    )
                self._place += 1
                yield

    def _closing(self, names: Names) -> Iterator[None]:
        """Says so, one at each step. Closing one that was never prepared is no error."""
        for name in names.given:
            self._pgconn.send_close_prepared(name)
            self._place += 1
            yield

    def _asking(self, query: bytes) -> PQGen[PGresult]:
        self._pgconn.send_query(query)
        results: list[PGresult] = yield from execute(self._pgconn)
        return results[0]

    def _answer(self, result: PGresult) -> Answer:
        self._refuse(result)
        rows: list[tuple[Any, ...]] = []
        if result.status == ExecStatus.TUPLES_OK:
            self._types.set_pgresult(result)
            rows = self._types.load_rows(0, result.ntuples, tuple)
        return Answer(rows, _counted(result), (result.command_status or b"").startswith(b"SELECT"))

    def _refuse(self, result: PGresult) -> None:
        if result.status not in _GOOD:
            raise self._error(result)

    def _error(self, result: PGresult) -> psycopg.Error:
        if result.status == ExecStatus.FATAL_ERROR:
            return error_from_result(result, encoding=self._codec)
        return psycopg.ProgrammingError(f"the statement ended as {ExecStatus(result.status).name}")


def _first_bad(results: Sequence[PGresult]) -> PGresult | None:
    return next((result for result in results if result.status not in _GOOD), None)


def _is_missing(failed: PGresult | None) -> bool:
    return failed is not None and failed.error_field(DiagnosticField.SQLSTATE) == _MISSING


def _counted(result: PGresult) -> int:
    if result.status == ExecStatus.TUPLES_OK:
        return result.ntuples
    changed = result.command_tuples
    return -1 if changed is None else changed
