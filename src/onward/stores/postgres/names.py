"""Statements that run again and again, which the server reads and plans once."""

from __future__ import annotations

from collections.abc import Sequence
from secrets import token_hex

from psycopg import capabilities
from psycopg.pq.abc import PGresult

OFTEN = 4
"""Runs from which on a statement has a name: in one transaction, or, of our own, on a connection that keeps names."""
MAX_NAMES = 100
CAN_CLOSE = capabilities.has_send_close_prepared()
"""Without a libpq that can end a name none is given."""

# After anything else a statement may mean another table, or give other columns.
_SAME = (b"SELECT", b"INSERT", b"UPDATE", b"DELETE", b"MERGE", b"SAVEPOINT", b"RELEASE", b"SET CONSTRAINTS")

Kind = tuple[bytes, tuple[int, ...]]  # a statement and the types of its arguments


class Names:
    """Statements that the server keeps ready, read and planned, until the transaction ends.

    Not for longer: a pooler gives the next transaction another connection, and this one to others. And what users
    say may mean something else then: a column has another type, `'today'` is over.
    """

    kept = False
    """Whether names stay beyond the transaction."""
    _can_end = CAN_CLOSE

    def __init__(self, number: int = 0, *, prefix: bytes = b"onward", often: int = OFTEN) -> None:
        """`number` is that of the last name that this connection gave; `often` are runs until there is one."""
        self.given: list[bytes] = []
        self.number = number
        self._prefix = prefix
        self._often = often
        self._known: dict[Kind, bytes] = {}
        self._runs: dict[Kind, int] = {}

    def name(self, kind: Kind) -> tuple[bytes | None, bool]:
        """None if it needs none; and whether it is to be prepared."""
        name = self._known.get(kind)
        if name is not None:
            return name, False
        if len(self._runs) < MAX_NAMES or kind in self._runs:
            runs = self._runs[kind] = self._runs.get(kind, 0) + 1
            if runs >= self._often and len(self.given) < MAX_NAMES and self._can_end:
                self.number += 1
                name = self._known[kind] = b"%s_%d" % (self._prefix, self.number)
                self.given.append(name)
                return name, True
        return None, False

    def drop(self, kind: Kind) -> None:
        """The server may not have it."""
        self._known.pop(kind, None)

    def forget(self) -> None:
        """All is prepared anew."""
        self._known.clear()

    def settle(self, results: Sequence[PGresult]) -> None:
        """What the server may have planned otherwise, after what it says it has done, is prepared anew."""
        if self._known and any(_changes_meaning(result.command_status or b"") for result in results):
            self._known.clear()


class KeptNames(Names):
    """Names of our own statements on a connection that is nobody else's: each is read and planned once in its life.

    Of ours there are few; they mean the same whatever a user has set, and their tables change with our migrations only.
    The names are nobody else's either: where a pooler is taken for the server, one is missing rather than another's.
    """

    kept = True
    _can_end = True  # with the connection

    def __init__(self, often: int = OFTEN) -> None:
        super().__init__(prefix=b"onward_" + token_hex(8).encode(), often=often)


def _changes_meaning(said: bytes) -> bool:
    return bool(said) and not said.startswith(_SAME)
