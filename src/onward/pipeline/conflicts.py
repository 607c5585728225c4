"""Transactions of others that got in the way: nobody's attempt, and tried again after a while."""

from __future__ import annotations

from random import random

from onward.errors import StoreConflictError
from onward.ports import Clock

MOST_IN_A_ROW = 12
FIRST_S = 0.01
LONGEST_S = 1.0


class Conflicts:
    """How often in a row one piece of work met others, and how long it stands back."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._count = 0

    async def stand_back(self, conflict: StoreConflictError) -> None:
        """Wait a random while, longer each time. Raises the conflict when there were too many in a row."""
        self._count += 1
        if self._count >= MOST_IN_A_ROW:
            raise conflict
        await self._clock.sleep(random() * min(FIRST_S * 2**self._count, LONGEST_S))

    def over(self) -> None:
        """It went through."""
        self._count = 0
