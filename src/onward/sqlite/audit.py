"""The audit: is every event accounted for, and does what the services say must hold, hold?"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from onward.errors import StoreError
from onward.ledger import Tally, check
from onward.sqlite.accounts import Subscribed, subscriptions
from onward.sqlite.audit_accounts import Audited, audited
from onward.sqlite.audit_log import Double, Lane, doubles, lanes
from onward.sqlite.inspection import Inspection, inspecting

MOST_NAMES = 100  # lost events named one by one, per partition
MOST_VIOLATIONS = 20  # rows shown per invariant
INVARIANT_TICKS = 50_000  # of 10,000 steps each: some ten seconds


class Wrong(StrEnum):
    """The ways in which an audit fails."""

    LOST = "lost"  # an event that was published is neither handled nor to be found
    DOUBLED = "doubled"  # one event is in the log more than once
    UNBALANCED = "unbalanced"  # a sum does not come out even: an effect is missing, or happened twice
    DAMAGED = "damaged"  # a row that no sequence of commits leads to
    VIOLATED = "violated"  # an invariant of a service does not hold


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong: a sentence for people, and how many events or rows it is about."""

    kind: Wrong
    sentence: str
    count: int = 1


@dataclass(frozen=True, slots=True)
class Report:
    """What an audit found; `invariants` counts those that were run."""

    database: str
    events: int
    tallies: tuple[Tally, ...]
    invariants: int
    problems: tuple[Problem, ...]

    @property
    def balanced(self) -> bool:
        return not self.problems


def audit(path: str | Path, *, deep: bool = False, progress: Callable[[str], None] = lambda _: None) -> Report:
    """Looks at one snapshot of the whole file, without materialising the log; `deep` compares all ids.

    `progress` is told what is looked at. Raises StoreError when the file can't be read.
    """
    with inspecting(path) as inspection, inspection.snapshot():
        progress("log")
        found: dict[tuple[str, int], Lane] = {}
        problems: list[Problem] = []
        live = subscriptions(inspection)
        for lane in lanes(inspection):
            found[lane.topic, lane.partition] = lane
            problems += _of_lane(lane, live)
        progress("ids")
        problems += map(_of_double, doubles(inspection, deep=deep))
        progress("accounts")
        accounts = list(audited(inspection, live, found))
        problems += [problem for each in accounts for problem in _of_account(each)]
        tallies = [each.tally for each in accounts if each.tally is not None]
        problems += [Problem(Wrong.UNBALANCED, each.sentence, abs(each.excess)) for each in check(tallies)]
        progress("dead letters")
        problems += _missing_letters(inspection)
        progress("invariants")
        invariants = inspection.rows("SELECT service, name, sql FROM onward_invariant ORDER BY service, name")
        for service, name, sql in invariants:
            problems += _of_invariant(inspection, service, name, sql)
        events = sum(lane.stored.count for lane in found.values())
        return Report(str(inspection.path), events, tuple(tallies), len(invariants), tuple(problems))


def _of_lane(lane: Lane, live: list[Subscribed]) -> Iterator[Problem]:
    lost = lane.lost
    for name in lost.names(MOST_NAMES):
        offset = int(name.rpartition(" ")[2])
        readers = [each for each in live if each.topic == lane.topic]
        waiting = [each.title for each in readers if _waits(each, lane.partition, offset)]
        owed = "every subscription is past it" if readers else "nobody subscribes to it"
        if waiting:
            owed = f"not yet handled by {', '.join(waiting)}"
        yield Problem(Wrong.LOST, f"Lost event: {name}: its row is gone from the log, {owed}.")
    if lost.count > MOST_NAMES or not lane.complete:
        more = lost.count - MOST_NAMES if lane.complete else 0
        number = f"{more:,}" if lane.complete else "Many"
        yield Problem(Wrong.LOST, f"{number} more events of {lane.topic}, partition {lane.partition} are lost.", more)
    for stray in lane.stray.intervals():
        yield Problem(
            Wrong.DAMAGED,
            f"The log has {len(stray)} rows of {lane.topic}, partition {lane.partition} from offset {stray.start} on"
            f" that its counters ({lane.first} to {lane.end}) do not cover: something else wrote them, or set a"
            " counter back.",
            len(stray),
        )


def _waits(subscription: Subscribed, partition: int, offset: int) -> bool:
    for account in subscription.accounts:
        if account.partition == partition:
            try:
                return not account.position.done(offset)
            except StoreError:
                return True
    return False


def _of_double(double: Double) -> Problem:
    return Problem(
        Wrong.DOUBLED,
        f"Event {double.event_id} of {double.source} is in the log {double.count} times: at {double.first} and at"
        f" {double.last}.",
        double.count - 1,
    )


def _of_account(account: Audited) -> Iterator[Problem]:
    where = f"Subscription {account.subscription.title}, partition {account.partition}"
    if account.damage:
        yield Problem(Wrong.DAMAGED, f"{where}: {account.damage}.")
    if account.lost is not None:
        for name in account.lost.names(MOST_NAMES):
            yield Problem(Wrong.LOST, f"Lost event: {name}: it left the log before {where} handled it.")


def _missing_letters(inspection: Inspection) -> Iterator[Problem]:
    """Counted as dead letters, and fewer are there. More are not wrong: an earlier life of a subscription left them."""
    for service, name, partition, handler, dead, kept in inspection.rows(
        "SELECT s.service, s.name, t.partition, t.handler, t.dead, (SELECT count(*) FROM onward_dead_letter d"
        "  WHERE d.subscription = t.subscription AND d.partition = t.partition AND d.handler = t.handler"
        "  AND d.state IN ('dead', 'retrying')) AS kept"
        " FROM onward_tally t JOIN onward_subscription s ON s.id = t.subscription"
        " WHERE t.dead > 0 AND kept < t.dead"
    ):
        yield Problem(
            Wrong.LOST,
            f"Lost dead letters: {service}/{name}, partition {partition}, handler {handler or '(none chosen)'} counts"
            f" {dead} and {kept} are there.",
            dead - kept,
        )


def _of_invariant(inspection: Inspection, service: str, name: str, sql: str) -> Iterator[Problem]:
    try:
        columns, rows, more = inspection.bounded(sql, rows=MOST_VIOLATIONS, steps=INVARIANT_TICKS)
    except StoreError as error:
        yield Problem(Wrong.VIOLATED, f"Invariant {name!r} of {service} could not be checked: {error}")
        return
    for row in rows:
        shown = ", ".join(f"{column}={value!r}"[:200] for column, value in zip(columns, row, strict=True))
        yield Problem(Wrong.VIOLATED, f"Invariant {name!r} of {service} does not hold: {shown}.")
    if more:
        yield Problem(Wrong.VIOLATED, f"Invariant {name!r} of {service} is violated by more rows than are shown.")
