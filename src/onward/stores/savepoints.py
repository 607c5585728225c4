"""The savepoints that a handler has open in one transaction: one inside the other, whatever its tasks do.

A transaction has one stack of savepoints. Two tasks that each open one would release or undo the other's work, and a
task beside them would have its own work undone: whoever is not inside the innermost one is refused.
"""

from __future__ import annotations

from contextvars import ContextVar
from itertools import count

import msgspec

from onward.errors import TransactionError

_numbers = count(1)


class Savepoint(msgspec.Struct, frozen=True, eq=False):
    """One that is open; no other ever has its name. `outputs` had been published before it."""

    name: str
    outputs: int


_entered: ContextVar[tuple[Savepoint, ...]] = ContextVar("onward_savepoints", default=())
"""Those that the running code is inside of. A task begins with what surrounds the place that started it."""


class Savepoints(list[Savepoint]):
    """The stack of one transaction. Empty, and so false, nearly always, and every statement asks: hence a list."""

    def refuse_others(self) -> None:
        """Raises TransactionError in code that is not inside the innermost savepoint."""
        if self and self[-1] not in _entered.get():
            raise TransactionError(
                "A savepoint of another task is open in this transaction, and what happens now would be undone with it."
                " Open one savepoint around both tasks, or let one finish before the other begins."
            )

    def enter(self, outputs: int) -> Savepoint:
        """A new innermost one. Raises TransactionError as `refuse_others` does."""
        self.refuse_others()
        savepoint = Savepoint(f"onward_user_{next(_numbers)}", outputs)
        self.append(savepoint)
        _entered.set((*_entered.get(), savepoint))
        return savepoint

    def leave(self, savepoint: Savepoint) -> bool | None:
        """Close it and all inside it; whether it was the innermost one, and None if it was closed before."""
        _entered.set(tuple(each for each in _entered.get() if each is not savepoint))
        if savepoint not in self:
            return None
        place = self.index(savepoint)
        innermost = place == len(self) - 1
        del self[place:]
        return innermost

    def close(self, savepoint: Savepoint) -> None:
        """Nobody is inside this one any more, and nothing can be done until it is forgotten."""
        self.append(Savepoint(savepoint.name, savepoint.outputs))

    def forget(self, savepoint: Savepoint) -> None:
        """It has ended on the server. Safe to repeat."""
        self[:] = [each for each in self if each.name != savepoint.name]
