"""Statements that travel together, after which the server still minds how long the transaction stands idle.

What runs for every event is said to libpq directly: cursors, and a turn for each statement, cost more than the server.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, NamedTuple

import psycopg
from psycopg.abc import PQGen
from psycopg.adapt import PyFormat, Transformer
from psycopg.errors import error_from_result
from psycopg.generators import execute, send
from psycopg.pq import ConnStatus, ExecStatus
from psycopg.pq.abc import PGconn, PGresult
from psycopg.waiting import Wait

from onward.stores.postgres.command import Arguments, Command

_AT_ONCE = 32  # statements of which the server has the first before the last is written
_GOOD = (ExecStatus.TUPLES_OK, ExecStatus.COMMAND_OK, ExecStatus.EMPTY_QUERY)


class Answer(NamedTuple):
    """`rowcount` is -1 where the server counts none."""

    rows: list[tuple[Any, ...]]
    rowcount: int
    queried: bool


class Speaker:
    """Runs statements on one connection. Whatever fails, all that the server answers has been read afterwards."""

    def __init__(self, connection: psycopg.AsyncConnection[Any]) -> None:
        self._connection = connection
        self._pgconn: PGconn = connection.pgconn
        self._encoding: bytes | None = None
        self._adapt()

    async def ask(self, sql: str, args: Arguments, *, binary: bool = False) -> Answer:
        """One statement. Raises psycopg.Error, or the error of an argument."""
        self._adapt()
        result = await self._connection.wait(self._asking(sql.encode(self._codec), args, int(binary)))
        return self._answer(result)

    async def tell(self, commands: Sequence[Command]) -> None:
        """In one round trip. Raises as `ask` does, and what a command says that changed another number of rows."""
        await self._together(commands)

    async def tell_and_ask(self, commands: Sequence[Command], sql: str, args: Arguments) -> Answer:
        """In one round trip. Raises as `tell` does."""
        return self._answer((await self._together([*commands, Command(sql, (args,))]))[-1])

    async def _together(self, commands: Sequence[Command]) -> list[PGresult]:
        self._adapt()
        checked: list[tuple[int, Command]] = []
        results, failure = await self._connection.wait(_together(self._pgconn, self._said(commands, checked)))
        for result in results:
            if result.status not in _GOOD:
                failure = self._error(result)
                break
        for place, command in checked:
            if place < len(results) and _counted(results[place]) not in (-1, command.changes):
                assert command.otherwise is not None
                raise command.otherwise from failure
        if failure is not None:
            raise failure
        return results

    def _adapt(self) -> None:
        """Text travels in the encoding that is set now: a handler may set another one until its transaction ends."""
        encoding = self._pgconn.parameter_status(b"client_encoding")
        if encoding != self._encoding:
            self._encoding = encoding
            self._codec = self._connection.info.encoding
            self._types = Transformer(self._connection)

    def _said(self, commands: Sequence[Command], checked: list[tuple[int, Command]]) -> Iterator[None]:
        """Says one at each step. A statement of many rows is read and planned once.

        It gets no name there. A named one would stay behind on the connection, which a pooler gives to others.
        """
        pgconn, types, said = self._pgconn, self._types, 0
        for command in commands:
            if command.otherwise is not None:
                checked.append((said, command))
            query = command.sql.encode(self._codec)
            known: tuple[int, ...] | None = None
            for args in command.rows:
                values = types.dump_sequence(args, [PyFormat.AUTO] * len(args))
                kinds = types.types or ()
                if len(command.rows) == 1:
                    pgconn.send_query_params(query, values, param_types=kinds, param_formats=types.formats)
                else:
                    if kinds != known:
                        pgconn.send_prepare(b"", query, param_types=kinds)
                        known, said = kinds, said + 1
                    pgconn.send_query_prepared(b"", values, param_formats=types.formats)
                said += 1
                yield

    def _asking(self, query: bytes, args: Arguments, result_format: int) -> PQGen[PGresult]:
        if args or result_format:
            types = self._types
            values = types.dump_sequence(args, [PyFormat.AUTO] * len(args))
            self._pgconn.send_query_params(
                query,
                values,
                param_types=types.types or (),
                param_formats=types.formats,
                result_format=result_format,
            )
        else:
            self._pgconn.send_query(query)
        results: list[PGresult] = yield from execute(self._pgconn)
        return results[0]

    def _answer(self, result: PGresult) -> Answer:
        if result.status not in _GOOD:
            raise self._error(result)
        rows: list[tuple[Any, ...]] = []
        if result.status == ExecStatus.TUPLES_OK:
            self._types.set_pgresult(result)
            rows = self._types.load_rows(0, result.ntuples, tuple)
        return Answer(rows, _counted(result), (result.command_status or b"").startswith(b"SELECT"))

    def _error(self, result: PGresult) -> psycopg.Error:
        if result.status == ExecStatus.FATAL_ERROR:
            return error_from_result(result, encoding=self._codec)
        return psycopg.ProgrammingError(f"the statement ended as {ExecStatus(result.status).name}")


def _counted(result: PGresult) -> int:
    if result.status == ExecStatus.TUPLES_OK:
        return result.ntuples
    changed = result.command_tuples
    return -1 if changed is None else changed


def _together(pgconn: PGconn, said: Iterator[None]) -> PQGen[tuple[list[PGresult], Exception | None]]:
    """The results of all that was said, and why no more of it was.

    It ends with a Sync alone. PostgreSQL begins to wait for the next statement with its answer to that, and stops with
    a Flush, so that it would wait for ever.
    """
    failure: Exception | None = None
    pgconn.enter_pipeline_mode()
    try:
        for count, _ in enumerate(said, 1):
            if count % _AT_ONCE == 0:
                yield from send(pgconn)
    except Exception as error:  # noqa: BLE001 - an argument that can't be said; what was said before is answered first
        failure = error
    pgconn.pipeline_sync()
    yield from send(pgconn)
    results = yield from _results(pgconn)
    if pgconn.status == ConnStatus.OK:
        pgconn.exit_pipeline_mode()
    return results, failure


def _results(pgconn: PGconn) -> PQGen[list[PGresult]]:
    """Up to the answer to the Sync; or, when the connection ends, the last of which says so or why."""
    results: list[PGresult] = []
    parted = False
    while True:
        try:
            while pgconn.is_busy():
                while not (yield Wait.R):
                    continue
                pgconn.consume_input()
        except psycopg.OperationalError:
            if results and results[-1].status == ExecStatus.FATAL_ERROR:
                return results
            raise
        result = pgconn.get_result()
        if result is None:
            if parted:  # only once between two statements
                if results and results[-1].status == ExecStatus.FATAL_ERROR:
                    return results
                raise psycopg.OperationalError("the connection ended amid the answers")
        elif result.status == ExecStatus.PIPELINE_SYNC:
            return results
        else:
            results.append(result)
        parted = result is None


@asynccontextmanager
async def pipelined(connection: psycopg.AsyncConnection) -> AsyncIterator[None]:
    """As `connection.pipeline()`, which ends with a Sync and a Flush; here with a Sync alone, as above."""
    async with connection.pipeline() as pipeline:
        pipeline._exit_gen = partial(_exit, pipeline)  # type: ignore[method-assign]
        yield


def _exit(pipeline: psycopg.AsyncPipeline) -> PQGen[None]:
    try:
        pipeline._enqueue_sync()
        yield from pipeline._communicate_gen()
    finally:
        yield from pipeline._fetch_gen(flush=False)
