"""Publishing in a transaction that is the user's own, on PostgreSQL, over whatever driver it was opened with."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Generator, Sequence
from secrets import token_hex
from typing import Any, NoReturn, Protocol

from onward.delays import moment_of
from onward.errors import TransactionError
from onward.ports import Outgoing
from onward.relay.rows import rows_of

Rows = Sequence[Sequence[Any]]
Visit = Generator[tuple[str, dict[str, Any]], Rows, None]
"""Statements with `:name` for each parameter, to be run one after the other; it is sent the rows of each."""

# A setting of the transaction alone: whoever does not find it a statement later is outside of any.
_ENTER = (
    "SELECT set_config('onward.guest', CAST(:token AS text), true),"
    " to_regclass('onward.outbox') IS NOT NULL, current_database()"
)
_APPEND = (
    "INSERT INTO onward.outbox (service, due_at, created_at, events, body)"
    " SELECT CAST(:service AS text), CAST(:due AS timestamptz), clock_timestamp(), CAST(:events AS integer),"
    " CAST(:body AS bytea) WHERE current_setting('onward.guest', true) = CAST(:token AS text)"
    " AND CAST(:store AS text) = (SELECT id FROM onward.identity) RETURNING id"
)
_LOOK = "SELECT coalesce(current_setting('onward.guest', true), '') = CAST(:token AS text)"
_NAME = re.compile(r":(\w+)")


class Guest(Protocol):
    """A session or connection of the user's own, that events are published in."""

    def publish(self, outgoing: Sequence[Outgoing], service: str, store: str) -> None:
        """From synchronous code. Raises TransactionError for what can't be published in, and StoreError."""
        ...

    async def publish_async(self, outgoing: Sequence[Outgoing], service: str, store: str) -> None: ...

    def call_after_commit(self, wake: Callable[[], None]) -> None:
        """Of what was just published, where the library tells of the commit; else `wake` is never called."""
        ...


def visit(outgoing: Sequence[Outgoing], service: str, store: str) -> Visit:
    """Write rows into the outbox, by the transaction that is open. `store` is the identity of the service's own.

    Raises TransactionError when there is no transaction, or none of that store; nothing is written then.
    """
    token = token_hex(8)
    ((_, is_there, database),) = yield _ENTER, {"token": token}
    if not is_there:
        raise elsewhere(service, f"The database {database!r} has no outbox")
    for row in rows_of(outgoing, service):
        due = None if row.due is None else moment_of(row.due)
        said = {"service": service, "due": due, "events": row.events, "body": row.body}
        written = yield _APPEND, {**said, "token": token, "store": store}
        if not written:
            ((inside,),) = yield _LOOK, {"token": token}
            if inside:
                raise elsewhere(service, f"The database {database!r} is the store of other services")
            raise TransactionError(
                "There is no transaction to publish in: each statement of this connection commits by itself"
                " (autocommit). Nothing was published; begin a transaction first, and publish inside."
            )


def go_through(steps: Visit, run: Callable[[str, dict[str, Any]], Rows]) -> None:
    try:
        statement = next(steps)
        while True:
            statement = steps.send(run(*statement))
    except StopIteration:
        return


async def go_through_async(steps: Visit, run: Callable[[str, dict[str, Any]], Awaitable[Rows]]) -> None:
    try:
        statement = next(steps)
        while True:
            statement = steps.send(await run(*statement))
    except StopIteration:
        return


def as_driver_has_it(sql: str) -> str:
    """With `%(name)s` in place of `:name`."""
    return _NAME.sub(r"%(\1)s", sql)


def elsewhere(service: str, what: str) -> TransactionError:
    return TransactionError(
        f"{what}, and events of service {service!r} leave from the database that is its store: they would not commit"
        " together. Nothing was published; open the transaction on the database that ONWARD_STORE names."
    )


def not_from_here(what: str) -> TransactionError:
    """For asynchronous sessions, in `add`."""
    return TransactionError(
        f"{what} has to be awaited, and `app.outbox(…).add(…)` waits for nothing. Write `await app.publish(event,"
        " within=…)`; nothing was published."
    )


def refuse_file(kind: str) -> NoReturn:
    """For a service whose store is no PostgreSQL database."""
    raise TransactionError(
        f"Events can't be published within a {kind}, as the service's store is a SQLite file: a transaction on it is"
        " one of onward's own. Use `async with app.session() as session` for SQLAlchemy, or `async with"
        " app.transaction() as tx`. Nothing was published."
    )
