"""Statements that a transaction runs again and again, which the server reads and plans once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from psycopg import capabilities
from psycopg.pq import ExecStatus
from psycopg.pq.abc import PGconn, PGresult

OFTEN = 4
"""Runs in one transaction from which on a statement has a name."""
MAX_NAMES = 100
CAN_CLOSE = capabilities.has_send_close_prepared()
"""Without a libpq that can end a name none is given."""

# After anything else a statement may mean another table, or give other columns.
_SAME = (b"SELECT", b"INSERT", b"UPDATE", b"DELETE", b"MERGE", b"SAVEPOINT", b"RELEASE", b"SET CONSTRAINTS")

Kind = tuple[bytes, tuple[int, ...]]  # a statement and the types of its arguments


class Names:
    """Statements that the server keeps ready, read and planned, until the transaction ends.

    Not for longer: a pooler gives the next transaction another connection, and this one to others.
    """

    kept = False
    """Whether names stay beyond the transaction."""

    def __init__(self, number: int = 0) -> None:
        """`number` is that of the last name that this connection gave."""
        self.given: list[bytes] = []
        self.number = number
        self.known: dict[Kind, bytes] = {}
        self._runs: dict[Kind, int] = {}
        self._prepared: list[tuple[int, Kind]] = []

    def name(self, query: bytes, types: tuple[int, ...], place: int) -> tuple[bytes | None, bool]:
        """None if it needs none; and whether it is to be prepared, whose answer will be at `place`."""
        kind = (query, types)
        name = self.known.get(kind)
        if name is not None:
            return name, False
        if len(self._runs) < MAX_NAMES or kind in self._runs:
            runs = self._runs[kind] = self._runs.get(kind, 0) + 1
            if runs >= OFTEN and len(self.given) < MAX_NAMES and CAN_CLOSE:
                self.number += 1
                name = self.known[kind] = b"onward_%d" % self.number
                self.given.append(name)
                self._prepared.append((place, kind))
                return name, True
        return None, False

    def forget(self) -> None:
        """All is prepared anew."""
        self.known.clear()
        self._prepared.clear()

    def settle(self, results: Sequence[PGresult]) -> None:
        """What the server says it has not prepared has no name; nor has anything that it may have planned otherwise."""
        self._forget_unprepared(results)
        if self.known and any(_changes_meaning(result.command_status or b"") for result in results):
            self.known.clear()

    def _forget_unprepared(self, results: Sequence[PGresult]) -> None:
        for place, kind in self._prepared:
            if place >= len(results) or results[place].status != ExecStatus.COMMAND_OK:
                self.known.pop(kind, None)
        self._prepared.clear()

    def closed(self, pgconn: PGconn) -> Iterator[None]:
        """Closing one that was never prepared is no error."""
        for name in self.given:
            pgconn.send_close_prepared(name)
            yield


class KeptNames(Names):
    """Names of the few statements of a connection that is nobody else's: each is read and planned once in its life."""

    kept = True

    def name(self, query: bytes, types: tuple[int, ...], place: int) -> tuple[bytes | None, bool]:
        kind = (query, types)
        name = self.known.get(kind)
        if name is None and query.startswith((*_SAME, b"WITH")) and len(self.known) < MAX_NAMES:
            self.number += 1
            name = self.known[kind] = b"onward_%d" % self.number
            self._prepared.append((place, kind))
            return name, True
        return name, False

    def settle(self, results: Sequence[PGresult]) -> None:
        self._forget_unprepared(results)


def _changes_meaning(said: bytes) -> bool:
    return bool(said) and not said.startswith(_SAME)
