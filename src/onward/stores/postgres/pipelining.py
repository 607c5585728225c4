"""Statements that travel together, after which the server still minds how long the transaction stands idle."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import psycopg
from psycopg._preparing import Prepare
from psycopg._queries import PostgresQuery
from psycopg.abc import PQGen


@asynccontextmanager
async def pipelined(connection: psycopg.AsyncConnection) -> AsyncIterator[None]:
    """As `connection.pipeline()`, which ends with a Sync and a Flush: PostgreSQL begins to wait for the next statement
    with its answer to the Sync, and stops with the Flush, so that it would wait for ever. The Sync alone does.
    """
    async with connection.pipeline() as pipeline:
        pipeline._exit_gen = partial(_exit, pipeline)  # type: ignore[method-assign]
        yield


def _exit(pipeline: psycopg.AsyncPipeline) -> PQGen[None]:
    try:
        pipeline._enqueue_sync()
        yield from pipeline._communicate_gen()
    finally:
        yield from pipeline._fetch_gen(flush=False)


class RepeatingCursor(psycopg.AsyncRawCursor[Any]):
    """For `executemany` in a pipeline: the server reads and plans the statement once, not for each row.

    It gets no name there. A named one would stay behind on the connection, which a pooler gives to others.
    """

    _known: tuple[bytes, tuple[int, ...]] | None = None

    def _get_prepared(self, pgq: PostgresQuery, prepare: bool | None = None) -> tuple[Prepare, bytes]:
        statement = (pgq.query, pgq.types)
        if statement == self._known:
            return Prepare.YES, b""
        self._known = statement
        return Prepare.SHOULD, b""
