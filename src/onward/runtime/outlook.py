"""How the services of a store stand, and its audit: for programs that run services and show them."""

from __future__ import annotations

from dataclasses import dataclass, replace

from onward.errors import BrokerError
from onward.runtime.views import view_of


@dataclass(frozen=True, slots=True)
class Outlook:
    """One service over all its topics. `handled` and `failures` count from its first start on.

    `leaving` says whether events of it wait in its outbox, `runs` whether somebody holds partitions of it; `pids` are
    the processes that do, as far as they are on this machine.
    """

    service: str
    lag: int = 0
    handled: int = 0
    failures: int = 0
    pids: frozenset[int] = frozenset()
    leaving: bool = False
    runs: bool = False

    @property
    def waiting(self) -> int:
        """Events that wait to be handled by it, and one for those that wait to leave."""
        return self.lag + self.leaving


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
    """Looks at a store that others write, and at its broker; changes nothing. Blocks: not for an event loop."""

    def __init__(self, store: str, broker: str | None = None) -> None:
        """Their addresses. Raises SettingError and MissingExtraError."""
        self._view = view_of(store, broker)

    def look(self) -> dict[str, Outlook]:
        """Every service at one moment, by name: where nothing waits for any, nothing is in flight anywhere.

        That is so because positions are read first, outboxes with them, and the ends of logs last. Raises StoreError,
        and BrokerError where the broker does not tell how long its logs are.
        """
        status = self._view.status()
        if status.unknown:
            raise BrokerError(status.unknown)
        found = {each.service: Outlook(each.service, leaving=each.oldest_age_s is not None) for each in status.outboxes}
        for each in status.subscriptions:
            before = found.get(each.service, Outlook(each.service))
            found[each.service] = replace(
                before,
                lag=before.lag + (each.lag or 0),
                handled=before.handled + each.handled,
                failures=before.failures + each.dead_letters + each.retrying,
                pids=before.pids | {holder.pid for holder in each.holders if holder.pid is not None},
                runs=before.runs or any(holder.member is not None for holder in each.holders),
            )
        return found

    def audit(self) -> Verdict:
        """Account for every event. Takes seconds for a million events. Raises StoreError and BrokerError."""
        report = self._view.audit()
        sentences = tuple(f"{problem.kind.value}: {problem.sentence}" for problem in report.problems)
        return Verdict(report.events, report.invariants, sentences)
