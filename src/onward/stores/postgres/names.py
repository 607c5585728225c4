"""Statements that run again and again, which the server reads and plans once."""

from __future__ import annotations

from collections.abc import Sequence
from operator import attrgetter
from secrets import token_hex

from psycopg import capabilities
from psycopg.pq import ExecStatus
from psycopg.pq.abc import PGresult

OFTEN = 4
"""Runs from which on a statement has a name: in one transaction, or on a connection that keeps names."""
MAX_NAMES = 100
MAX_COUNTED = 1_000  # statements of which runs are counted
CAN_CLOSE = capabilities.has_send_close_prepared()
"""Without a libpq that can end a name none is given."""

# After anything else a statement may mean another table, or give other columns.
_SAME = (b"SELECT", b"INSERT", b"UPDATE", b"DELETE", b"MERGE", b"SAVEPOINT", b"RELEASE", b"SET CONSTRAINTS")
# The server reads a statement that it keeps anew where these change what it means.
_SAME_KEPT = (*_SAME, b"BEGIN", b"COMMIT", b"ROLLBACK", b"SET", b"LOCK TABLE", b"NOTIFY")
_NOT_THE_PLAN = (b"23", b"40", b"53", b"55", b"57")
"""Classes of errors that no plan is to blame for: what is written breaks a rule, or others are in the way."""

_said = attrgetter("command_status")

Kind = tuple[bytes, tuple[int, ...]]  # a statement and the types of its arguments


class Names:
    """Statements that the server keeps ready, read and planned, until the transaction ends.

    Not for longer: a pooler gives the next transaction another connection, and this one to others.
    """

    kept = False
    """Whether names stay beyond the transaction."""

    def __init__(self, number: int = 0) -> None:
        """`number` is that of the last name that this connection gave."""
        self.ending: list[bytes] = []
        """Names that the server may have and that end with the transaction."""
        self.number = number
        self._prefix = b"onward"
        self._often = OFTEN
        self._known: dict[Kind, bytes] = {}
        self._given = 0
        self._runs: dict[Kind, int] = {}
        self._prepared: list[tuple[int, Kind]] = []

    def name(self, query: bytes, types: tuple[int, ...], place: int) -> tuple[bytes | None, bool]:
        """None if it needs none; and whether it is to be prepared, whose answer will be at `place`."""
        kind = (query, types)
        name = self._known.get(kind)
        if name is not None:
            return name, False
        if len(self._runs) >= MAX_COUNTED and kind not in self._runs and not self._made_room():
            return None, False
        runs = self._runs[kind] = self._runs.get(kind, 0) + 1
        if runs < self._often or self._given >= MAX_NAMES or not CAN_CLOSE:
            return None, False
        self.number += 1
        self._given += 1
        name = self._known[kind] = b"%s_%d" % (self._prefix, self.number)
        self._prepared.append((place, kind))
        self._gave(name)
        return name, True

    def _gave(self, name: bytes) -> None:
        self.ending.append(name)

    def _made_room(self) -> bool:
        return False

    def forget(self) -> None:
        """All is prepared anew."""
        self._known.clear()

    def lost(self) -> None:
        """As `forget`, where it is not known how far the server came."""
        self.forget()
        self._prepared.clear()

    def settle(self, results: list[PGresult], after: Sequence[PGresult] = ()) -> list[PGresult]:
        """Of these answers, which `after` follows, those that are not to preparing.

        What the server says it has not prepared has no name; nor has anything that it may have planned otherwise.
        """
        answers = results
        if self._prepared:
            all_of_them = [*results, *after]
            for place, kind in self._prepared:
                if place >= len(all_of_them) or all_of_them[place].status != ExecStatus.COMMAND_OK:
                    self._known.pop(kind, None)
            preparing = {place for place, _ in self._prepared}
            answers = [result for place, result in enumerate(results) if place not in preparing]
            self._prepared.clear()
        for said in dict.fromkeys(map(_said, answers)):  # of a statement's thousand rows it is the same
            self.heard(said)
        return answers

    def heard(self, said: bytes | None) -> None:
        """What the server says it has done, if anything: if names may mean something else since, they are forgotten."""
        if said and not said.startswith(_SAME):
            self.forget()

    def failed(self, sqlstate: bytes) -> None:
        """A statement did, and all is undone up to a savepoint, or the whole transaction."""


class KeptNames(Names):
    """Names that stay on a connection that is nobody else's: each statement is read and planned once in its life.

    They are nobody else's either: where a pooler is taken for the server, a name is missing rather than another's.
    """

    kept = True

    def __init__(self, often: int = OFTEN) -> None:
        super().__init__()
        self._prefix = b"onward_" + token_hex(8).encode()
        self._often = often
        self._changed = False
        """Whether this transaction has changed what names mean."""

    def _gave(self, name: bytes) -> None:
        """It ends when it is forgotten."""

    def _made_room(self) -> bool:
        """Many run that are said once, each with its arguments written into it: begin to count anew."""
        self._runs.clear()
        if self._given >= MAX_NAMES:
            self.forget()
        return True

    def forget(self) -> None:
        self.ending += self._known.values()
        self._given = 0
        super().forget()

    def heard(self, said: bytes | None) -> None:
        if not said:
            return
        if not said.startswith(_SAME_KEPT):
            self._changed = True
            self.forget()
        elif said.startswith(b"COMMIT"):
            self._changed = False
        elif self._changed and said.startswith(b"ROLLBACK"):  # of it, or to a savepoint before it
            self.forget()

    def failed(self, sqlstate: bytes) -> None:
        """What is tried again is planned anew, as the plan may be at fault: a column has another type since."""
        if not sqlstate.startswith(_NOT_THE_PLAN):
            self.forget()
            self._runs.clear()
