"""Statements that travel together, after which the server still minds how long the transaction stands idle."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from functools import partial

import psycopg
from psycopg.abc import PQGen
from psycopg.generators import send
from psycopg.pq import ConnStatus, ExecStatus
from psycopg.pq.abc import PGconn, PGresult
from psycopg.waiting import Wait

_AT_ONCE = 32  # statements of which the server has the first before the last is written


def together(
    pgconn: PGconn, said: Iterator[None], then: Iterator[None] | None = None
) -> PQGen[tuple[list[PGresult], list[PGresult], Exception | None]]:
    """The results of all that was said, those of `then`, and why no more of it was said.

    `then` travels with it, and what becomes of that is told as far as it is known: a Sync keeps the two apart.

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
    if then is not None:
        for _ in then:
            continue
        pgconn.pipeline_sync()
    yield from send(pgconn)
    results = yield from _results(pgconn)
    after: list[PGresult] = []
    if then is not None:
        with suppress(psycopg.OperationalError):
            after = yield from _results(pgconn)
    if pgconn.status == ConnStatus.OK:
        pgconn.exit_pipeline_mode()
    return results, after, failure


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
