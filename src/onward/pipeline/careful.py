"""What a careful pass over a batch gathers, and the two ways in which it ends early."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from onward.errors import TransactionError
from onward.pipeline.failures import Failure
from onward.pipeline.invocation import Bound
from onward.ports import Parked, Record, Unit


class TryAgain(Exception):
    """An event has to be tried again later: everything before it commits first."""

    def __init__(self, failure: Failure) -> None:
        self.failure = failure


class TransactionEnded(Exception):
    """A statement took the whole transaction away: run again up to offset `last`, without those to blame."""

    def __init__(self, blamed: dict[tuple[int, str], BaseException], last: int) -> None:
        self.blamed = blamed
        self.last = last


@dataclass(slots=True)
class Gathered:
    """What a careful pass gathered; `known` failed in an earlier one by (offset, handler), and does not run again.

    `blocked` are the (handler, key)s of which one became a dead letter in it: the later ones are parked.
    """

    known: dict[tuple[int, str], BaseException]
    succeeded: Counter[str] = field(default_factory=Counter)
    skipped: int = 0
    passed: Counter[str] = field(default_factory=Counter)
    failures: list[Failure] = field(default_factory=list)
    listed: dict[Bound, list[tuple[Record, Any]]] = field(default_factory=dict)
    parked: list[Parked] = field(default_factory=list)
    blocked: set[tuple[str, str]] = field(default_factory=set)

    def give_up(self, failure: Failure) -> None:
        """It became a dead letter."""
        self.failures.append(failure)
        if failure.letter is not None and failure.letter.place is not None:
            self.blocked.add(failure.letter.place)


async def undo(unit: Unit, blamed: dict[tuple[int, str], BaseException], last: int) -> None:
    """Take back what a failed call did. Raises TransactionEnded where the call left nothing to take it back from."""
    try:
        await unit.undo()
    except TransactionError as error:
        raise TransactionEnded(blamed, last) from error
