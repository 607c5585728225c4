"""Queries outside of transactions: they see what is committed, and can change nothing."""

from __future__ import annotations

from collections.abc import Mapping

from onward.errors import StoreReadOnlyError, TransactionError
from onward.stores.postgres.connections import Connections
from onward.stores.postgres.statements import plan_of
from onward.stores.refusals import misfit, no_query
from onward.stores.result import StatementResult


async def read(connections: Connections, sql: str, params: Mapping[str, object]) -> StatementResult:
    """All rows. Raises TransactionError for what is no query, and StoreError."""
    try:
        plan = plan_of(sql)
    except TransactionError as error:
        raise no_query(sql) from error
    if not plan.is_query:
        raise no_query(sql)
    try:
        args = plan.arguments(dict(params))
    except KeyError as error:
        raise misfit(sql, error) from error
    session = await connections.begin(read_only=True)
    try:
        return await session.run(plan.sql, args, f"Reading with {sql[:200]!r}")
    except StoreReadOnlyError as error:
        raise no_query(sql) from error
    except TypeError as error:
        raise misfit(sql, error) from error
    finally:
        await connections.end(session)
