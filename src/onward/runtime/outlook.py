"""How the services of a file stand, and its audit: for programs that run services and show them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from onward.sqlite.audit import audit
from onward.sqlite.inspection import Inspection
from onward.sqlite.status import status


@dataclass(frozen=True, slots=True)
class Outlook:
    """One service over all its topics. `handled` and `failures` count from its first start on.

    `pids` are the living processes that hold partitions of it now.
    """

    service: str
    lag: int
    handled: int
    failures: int
    pids: frozenset[int]


@dataclass(frozen=True, slots=True)
class Verdict:
    """What an audit came to; `problems` are sentences, and none means that everything is accounted for."""

    events: int
    invariants: int
    problems: tuple[str, ...]

    @property
    def balanced(self) -> bool:
        return not self.problems


class Lookout:
    """Looks at a file that others write; changes nothing. For one caller at a time, in any thread."""

    def __init__(self, database: Path) -> None:
        """Raises the StoreError that says why there is nothing to look at."""
        self._inspection = Inspection.open(database)

    def look(self) -> dict[str, Outlook]:
        """Every service at one moment, by name: where all lags are zero, nothing is in flight anywhere.

        Raises StoreError.
        """
        found: dict[str, Outlook] = {}
        for each in status(self._inspection).subscriptions:
            before = found.get(each.service, Outlook(each.service, 0, 0, 0, frozenset()))
            found[each.service] = Outlook(
                each.service,
                before.lag + (each.lag or 0),
                before.handled + each.handled,
                before.failures + each.dead_letters + each.retrying,
                before.pids | {holder.pid for holder in each.holders if holder.pid is not None},
            )
        return found

    def __enter__(self) -> Lookout:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Safe to repeat."""
        self._inspection.close()


def audited(database: Path) -> Verdict:
    """Account for every event of the file. Takes seconds for a million events. Raises StoreError."""
    report = audit(database)
    sentences = tuple(f"{problem.kind.value}: {problem.sentence}" for problem in report.problems)
    return Verdict(report.events, report.invariants, sentences)
