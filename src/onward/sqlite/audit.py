"""The audit: is every event accounted for, and does what the services say must hold, hold?"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from onward.errors import StoreError
from onward.inspection.accounts import Subscribed
from onward.inspection.ends import ask
from onward.inspection.report import (
    MOST_NAMES,
    MOST_VIOLATIONS,
    Problem,
    Progress,
    Report,
    Wrong,
    of_accounts,
    of_keys,
    of_letters,
    of_violations,
    unchecked,
    untold,
)
from onward.inspection.sums import Kept
from onward.inspection.view import LogsView
from onward.sqlite import audit_log
from onward.sqlite.audit_accounts import accounts
from onward.sqlite.audit_doubles import Double, begin, doubles
from onward.sqlite.audit_log import Bounds, Lane
from onward.sqlite.inspection import Inspection, inspecting

_LETTERS_MISSED = (
    "SELECT t.partition, t.handler, t.dead, (SELECT count(*) FROM onward_dead_letter d"
    "  WHERE d.subscription = t.subscription AND d.partition = t.partition AND d.handler = t.handler"
    "  AND d.state IN ('dead', 'retrying')) AS kept"
    " FROM onward_tally t WHERE t.subscription = ? AND t.dead > 0 AND kept < t.dead"
)
_KEYS_WRONG = (
    "SELECT s.service || '/' || s.name, k.handler, k.key, k.waiting,"
    " (SELECT count(*) FROM onward_parked p WHERE p.blocked = k.id) AS parked, k.letter, d.state"
    " FROM onward_blocked k JOIN onward_subscription s ON s.id = k.subscription"
    " LEFT JOIN onward_dead_letter d ON d.id = k.letter AND (d.subscription, d.handler) = (k.subscription, k.handler)"
    " WHERE parked <> k.waiting OR (k.letter IS NOT NULL AND coalesce(d.state, '') NOT IN ('dead', 'retrying'))"
    " ORDER BY k.id"
)

INVARIANT_TICKS = 50_000  # of 10,000 steps each, some ten seconds: where nobody works on the file
INVARIANT_TICKS_BESIDE = 5_000  # some second: a longer read would keep a write-ahead log in use from starting over


def audit(path: str | Path, *, deep: bool = False, progress: Progress = untold, logs: LogsView | None = None) -> Report:
    """Adds a file up in bounded steps, also while services work on it; `deep` compares the ids of all events.

    What the services say they have done is read at one moment, and the log after it, only up to where it ended then: an
    event that moves meanwhile is neither lost nor doubled. `progress` is told what is looked at, how many events of it
    are behind, and of how many. `logs` are those that the file does not hold. Raises StoreError when the file can't be
    read, and BrokerError.
    """
    with inspecting(path) as inspection:
        with inspection.snapshot():
            bounds = audit_log.bounds(inspection)
            said = accounts(inspection)
        ends = ask(logs, said.live)
        found = _lanes(inspection, bounds, progress)
        problems = [problem for lane in found for problem in _of_lane(lane, said.live)]
        recent = sum(max(0, lane.end - begin(lane, bounds, deep=deep)) for lane in bounds)
        problems += map(_of_double, doubles(inspection, bounds, deep=deep, step=_steps(progress, "ids", recent)))
        by_place = {(lane.bounds.topic, lane.bounds.partition): lane for lane in found}

        def kept(subscription: Subscribed, partition: int) -> Kept | None:
            place = (subscription.topic, partition)
            if subscription.elsewhere:
                return ends.kept(place)
            lane = by_place[place]
            return Kept(lane.bounds.first, lane.bounds.end, lane.stored)

        tallies, wrong = of_accounts(said, kept)
        problems += wrong
        problems += _missing_letters(inspection)
        problems += [problem for row in inspection.rows(_KEYS_WRONG) for problem in of_keys(*row)]
        invariants = inspection.rows("SELECT service, name, sql FROM onward_invariant ORDER BY service, name")
        for done, (service, name, sql) in enumerate(invariants):
            progress("invariants", done, len(invariants))
            problems += _of_invariant(inspection, service, name, sql)
        events = sum(lane.stored.count for lane in found) + ends.events
        return Report.of(str(inspection.path), events, tallies, len(invariants), problems, ends.unknown)


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


def _missing_letters(inspection: Inspection) -> Iterator[Problem]:
    """Counted as dead letters, and fewer are there. More are not wrong: an earlier life of a subscription left them.

    One statement for each subscription: what is counted and what is there change together.
    """
    for subscription, service, name in inspection.rows("SELECT id, service, name FROM onward_subscription ORDER BY id"):
        for partition, handler, dead, kept in inspection.rows(_LETTERS_MISSED, subscription):
            yield of_letters(f"{service}/{name}", partition, handler, dead, kept)


def _of_invariant(inspection: Inspection, service: str, name: str, sql: str) -> Iterator[Problem]:
    beside = bool(inspection.members())
    ticks = INVARIANT_TICKS_BESIDE if beside else INVARIANT_TICKS
    try:
        columns, rows, more = inspection.bounded(sql, rows=MOST_VIOLATIONS, steps=ticks)
    except StoreError as error:
        hint = " Or audit while no service runs on the file: it may take longer then." if beside else ""
        yield unchecked(service, name, f"{error}{hint}")
        return
    yield from of_violations(service, name, columns, rows, more=more)
