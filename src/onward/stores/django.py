"""Publishing in a transaction of Django: `with transaction.atomic(): …; app.outbox(connection).add(event)`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from django.db import Error

from onward.errors import StoreError, TransactionError
from onward.ports import Outgoing
from onward.stores.guests import Rows, as_driver_has_it, go_through, visit


class DjangoGuest:
    """A connection of `django.db`, on PostgreSQL."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection

    def publish(self, outgoing: Sequence[Outgoing], service: str, store: str) -> None:
        if self._connection.vendor != "postgresql":
            raise TransactionError(
                f"Django's database is {self._connection.vendor}, and service {service!r} has its store on"
                " PostgreSQL. Nothing was published; use the database that ONWARD_STORE names."
            )
        if not self._connection.in_atomic_block:
            raise TransactionError(
                "There is no transaction of Django to publish in, and what you wrote is committed already. Nothing was"
                " published; write and publish inside `with transaction.atomic():`."
            )
        try:
            with self._connection.cursor() as cursor:

                def run(sql: str, args: dict[str, Any]) -> Rows:
                    cursor.execute(as_driver_has_it(sql), args)
                    return list(cursor.fetchall())

                go_through(visit(outgoing, service, store), run)
        except Error as error:
            raise StoreError(
                f"Publishing in a transaction of Django failed ({error}). Nothing was published."
            ) from error

    async def publish_async(self, outgoing: Sequence[Outgoing], service: str, store: str) -> None:
        raise TransactionError(
            "A transaction of Django belongs to synchronous code. Write `app.outbox(connection).add(event)` there,"
            " inside `with transaction.atomic():`; nothing was published."
        )

    def call_after_commit(self, wake: Callable[[], None]) -> None:
        self._connection.on_commit(wake)
