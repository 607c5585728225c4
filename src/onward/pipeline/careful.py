"""What a careful pass over a batch gathers, and the two ways in which it ends early."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from onward.pipeline.failures import Failure
from onward.pipeline.invocation import Bound
from onward.ports import Record


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
    """What a careful pass gathered; `known` failed in an earlier one by (offset, handler), and does not run again."""

    known: dict[tuple[int, str], BaseException]
    succeeded: Counter[str] = field(default_factory=Counter)
    skipped: int = 0
    passed: Counter[str] = field(default_factory=Counter)
    failures: list[Failure] = field(default_factory=list)
    listed: dict[Bound, list[tuple[Record, Any]]] = field(default_factory=dict)
