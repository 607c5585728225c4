"""What reading a file costs, counted in steps of SQLite and not in time."""

from collections.abc import Iterator
from contextlib import contextmanager

import apsw


@contextmanager
def reads_counted(every: int) -> Iterator[list[int]]:
    """For each read transaction on a file by connections made inside: how many steps of SQLite it took."""
    found: list[int] = []
    steps: dict[int, int] = {}
    kept: list[apsw.Connection] = []

    def watch(connection: apsw.Connection) -> None:
        kept.append(connection)

        def tick() -> bool:
            if connection.txn_state("main") == apsw.SQLITE_TXN_READ:
                steps[id(connection)] = steps.get(id(connection), 0) + every
            return False

        def ended(_event: dict[str, object]) -> None:
            if not connection.in_transaction:
                found.append(steps.pop(id(connection), 0))

        connection.set_progress_handler(tick, every, id=watch)
        connection.trace_v2(apsw.SQLITE_TRACE_PROFILE, ended, id=watch)

    apsw.connection_hooks.append(watch)
    try:
        yield found
    finally:
        apsw.connection_hooks.remove(watch)
        found += steps.values()
