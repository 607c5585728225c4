"""The audit: is every event accounted for, and does what the services say must hold, hold?"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from onward.errors import StoreError
from onward.ledger import Tally, check
from onward.sqlite import audit_log
from onward.sqlite.accounts import Subscribed
from onward.sqlite.audit_accounts import Audited, accounts, audited
from onward.sqlite.audit_doubles import Double, begin, doubles
from onward.sqlite.audit_log import Bounds, Lane
from onward.sqlite.inspection import Inspection, inspecting

_LETTERS_MISSED = (
    "SELECT t.partition, t.handler, t.dead, (SELECT count(*) FROM onward_dead_letter d"
    "  WHERE d.subscription = t.subscription AND d.partition = t.partition AND d.handler = t.handler"
    "  AND d.state IN ('dead', 'retrying')) AS kept"
    " FROM onward_tally t WHERE t.subscription = ? AND t.dead > 0 AND kept < t.dead"
)

Progress = Callable[[str, int, int], None]

MOST_NAMES = 100  # lost events named one by one, per partition
MOST_VIOLATIONS = 20  # rows shown per invariant
INVARIANT_TICKS = 50_000  # of 10,000 steps each, some ten seconds: where nobody works on the file
INVARIANT_TICKS_BESIDE = 5_000  # some second: a longer read would keep a write-ahead log in use from starting over


def _untold(_what: str, _done: int, _of: int) -> None:
    """Nobody looks on."""


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


def audit(path: str | Path, *, deep: bool = False, progress: Progress = _untold) -> Report:
    """Adds a file up in bounded steps, also while services work on it; `deep` compares the ids of all events.

    What the services say they have done is read at one moment, and the log after it, only up to where it ended then: an
    event that moves meanwhile is neither lost nor doubled. `progress` is told what is looked at, how many events of it
    are behind, and of how many. Raises StoreError when the file can't be read.
    """
    with inspecting(path) as inspection:
        with inspection.snapshot():
            bounds = audit_log.bounds(inspection)
            said = accounts(inspection)
        found = _lanes(inspection, bounds, progress)
        problems = [problem for lane in found for problem in _of_lane(lane, said.live)]
        recent = sum(max(0, lane.end - begin(lane, bounds, deep=deep)) for lane in bounds)
        problems += map(_of_double, doubles(inspection, bounds, deep=deep, step=_steps(progress, "ids", recent)))
        by_place = {(lane.bounds.topic, lane.bounds.partition): lane for lane in found}
        audits = list(audited(said, by_place))
        problems += [problem for each in audits for problem in _of_account(each)]
        tallies = [each.tally for each in audits if each.tally is not None]
        problems += [Problem(Wrong.UNBALANCED, each.sentence, abs(each.excess)) for each in check(tallies)]
        problems += _missing_letters(inspection)
        invariants = inspection.rows("SELECT service, name, sql FROM onward_invariant ORDER BY service, name")
        for done, (service, name, sql) in enumerate(invariants):
            progress("invariants", done, len(invariants))
            problems += _of_invariant(inspection, service, name, sql)
        events = sum(lane.stored.count for lane in found)
        return Report(str(inspection.path), events, tuple(tallies), len(invariants), tuple(problems))


def _lanes(inspection: Inspection, bounds: list[Bounds], progress: Progress) -> list[Lane]:
    step = _steps(progress, "log", sum(max(0, lane.end - lane.first) for lane in bounds))
    return [audit_log.look(inspection, lane, step) for lane in bounds]


def _steps(progress: Progress, what: str, of: int) -> audit_log.Step:
    """Adds up what steps say, for `progress`."""
    done = 0

    def step(events: int) -> None:
        nonlocal done
        done += events
        progress(what, done, of)

    progress(what, 0, of)
    return step


def _of_lane(lane: Lane, live: list[Subscribed]) -> Iterator[Problem]:
    lost, bounds = lane.lost, lane.bounds
    where = f"{bounds.topic}, partition {bounds.partition}"
    for name in lost.names(MOST_NAMES):
        offset = int(name.rpartition(" ")[2])
        readers = [each for each in live if each.topic == bounds.topic]
        waiting = [each.title for each in readers if _waits(each, bounds.partition, offset)]
        owed = "every subscription is past it" if readers else "nobody subscribes to it"
        if waiting:
            owed = f"not yet handled by {', '.join(waiting)}"
        yield Problem(Wrong.LOST, f"Lost event: {name}: its row is gone from the log, {owed}.")
    if lost.count > MOST_NAMES or not lane.complete:
        more = lost.count - MOST_NAMES if lane.complete else 0
        number = f"{more:,}" if lane.complete else "Many"
        yield Problem(Wrong.LOST, f"{number} more events of {where} are lost.", more)
    for stray in lane.stray.intervals():
        yield Problem(
            Wrong.DAMAGED,
            f"The log has {len(stray)} rows of {where} from offset {stray.start} on"
            f" that its counters ({bounds.first} to {bounds.end}) do not cover: something else wrote them, or set a"
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
    """Counted as dead letters, and fewer are there. More are not wrong: an earlier life of a subscription left them.

    One statement for each subscription: what is counted and what is there change together.
    """
    for subscription, service, name in inspection.rows("SELECT id, service, name FROM onward_subscription ORDER BY id"):
        for partition, handler, dead, kept in inspection.rows(_LETTERS_MISSED, subscription):
            yield Problem(
                Wrong.LOST,
                f"Lost dead letters: {service}/{name}, partition {partition}, handler {handler or '(none chosen)'}"
                f" counts {dead} and {kept} are there.",
                dead - kept,
            )


def _of_invariant(inspection: Inspection, service: str, name: str, sql: str) -> Iterator[Problem]:
    beside = bool(inspection.members())
    ticks = INVARIANT_TICKS_BESIDE if beside else INVARIANT_TICKS
    try:
        columns, rows, more = inspection.bounded(sql, rows=MOST_VIOLATIONS, steps=ticks)
    except StoreError as error:
        hint = " Or audit while no service runs on the file: it may take longer then." if beside else ""
        yield Problem(Wrong.VIOLATED, f"Invariant {name!r} of {service} could not be checked: {error}{hint}")
        return
    for row in rows:
        shown = ", ".join(f"{column}={value!r}"[:200] for column, value in zip(columns, row, strict=True))
        yield Problem(Wrong.VIOLATED, f"Invariant {name!r} of {service} does not hold: {shown}.")
    if more:
        yield Problem(Wrong.VIOLATED, f"Invariant {name!r} of {service} is violated by more rows than are shown.")
