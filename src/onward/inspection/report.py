"""What an audit found, and the sentences for it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

from onward.errors import StoreError
from onward.inspection.accounts import Subscribed
from onward.inspection.sums import Accounts, Audited, Came, Kept, Moved, audited
from onward.ledger import Tally, check

MOST_NAMES = 100  # lost events named one by one, per partition
MOST_VIOLATIONS = 20  # rows shown per invariant
LONGEST_CELL = 200  # characters

Progress = Callable[[str, int, int], None]
"""Told what is looked at, how many of it are behind, and of how many."""


def untold(_what: str, _done: int, _of: int) -> None:
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
    """One thing that is wrong: a sentence for people, and how many events or rows it is about.

    One with an `id` is on record for good, and may be accepted; `accepted` is when that was, for people, "" before.
    """

    kind: Wrong
    sentence: str
    count: int = 1
    id: int | None = None
    accepted: str = ""


@dataclass(frozen=True, slots=True)
class Report:
    """What an audit found; `invariants` counts those that were run, `events` those that the logs hold.

    `unknown` says what could not be looked at, and so is not among what was proved; "" where all was. `accepted` are
    findings that somebody has accepted: they are none of the problems any more.
    """

    database: str
    events: int
    tallies: tuple[Tally, ...]
    invariants: int
    problems: tuple[Problem, ...]
    unknown: str = ""
    accepted: tuple[Problem, ...] = ()

    @classmethod
    def of(
        cls,
        database: str,
        events: int,
        tallies: tuple[Tally, ...],
        invariants: int,
        found: Sequence[Problem],
        unknown: str,
    ) -> Report:
        """With what was found divided into problems and what is accepted."""
        problems = tuple(each for each in found if not each.accepted)
        accepted = tuple(each for each in found if each.accepted)
        return cls(database, events, tallies, invariants, problems, unknown, accepted)

    @property
    def balanced(self) -> bool:
        return not self.problems


def of_accounts(
    said: Accounts, kept: Callable[[Subscribed, int], Kept | None]
) -> tuple[tuple[Tally, ...], list[Problem]]:
    """The sums of all accounts beside what was found of their logs, and what is wrong with them."""
    audits = list(audited(said, kept))
    problems = [problem for each in audits for problem in _of_account(each)]
    problems += [problem for each in said.moved.values() for moved in each for problem in _of_move(moved)]
    for each in said.live:
        for account in each.accounts:
            # What is done beyond the position has its numbers on record, and what lacks among them may be under way.
            for came in said.came.get((each.id, account.partition), ()) if not account.beyond else ():
                problems += _of_numbers(each, account.partition, came)
    tallies = tuple(each.tally for each in audits if each.tally is not None)
    problems += [Problem(Wrong.UNBALANCED, each.sentence, abs(each.excess)) for each in check(tallies)]
    return tallies, problems


def _of_account(account: Audited) -> Iterator[Problem]:
    where = f"Subscription {account.subscription.title}, partition {account.partition}"
    if account.damage:
        yield Problem(Wrong.DAMAGED, f"{where}: {account.damage}.")
    if account.lost is not None:
        for name in account.lost.names(MOST_NAMES):
            yield Problem(Wrong.LOST, f"Lost event: {name}: it left the log before {where} handled it.")
        if account.lost.count > MOST_NAMES:
            more = account.lost.count - MOST_NAMES
            yield Problem(Wrong.LOST, f"{more:,} more events left the log before {where} handled them.", more)


def _of_numbers(subscription: Subscribed, partition: int, came: Came) -> Iterator[Problem]:
    """What a producer numbered before others that came, and that did not."""
    try:
        lost = came.lost(subscription.topic, partition)
    except ValueError as error:
        where = f"Subscription {subscription.title}, partition {partition}, incarnation {came.incarnation}"
        yield Problem(Wrong.DAMAGED, f"{where}: the numbers that came are damaged: {error}.")
        return
    for name in lost.names(MOST_NAMES):
        sentence = f"Lost event: {name}: it did not come to {subscription.title}, and what was sent after it did."
        yield Problem(Wrong.LOST, sentence)
    if lost.count > MOST_NAMES:
        more = lost.count - MOST_NAMES
        yield Problem(Wrong.LOST, f"{more:,} more events of incarnation {came.incarnation} did not come.", more)


def _of_move(moved: Moved) -> Iterator[Problem]:
    """Nothing where nothing was lost by it."""
    if moved.lost == 0:
        return
    lost = "Events may be lost, and can't be counted" if moved.lost is None else f"{moved.lost:,} events are lost"
    yield Problem(
        Wrong.LOST,
        f"{lost}: {moved.subscription}, partition {moved.partition}, went on at offset {moved.to_offset} instead of"
        f" {moved.from_offset} on {moved.at}, since {moved.why}.",
        moved.lost or 1,
        moved.id,
        moved.accepted,
    )


def unknown_finding(finding_id: int) -> StoreError:
    return StoreError(
        f"There is no finding {finding_id} that can be accepted: `onward audit` shows the numbers of those that can."
        " Nothing was changed.",
        id=finding_id,
    )


def of_letters(subscription: str, partition: int, handler: str, dead: int, kept: int) -> Problem:
    """Counted as dead letters, and fewer are there."""
    return Problem(
        Wrong.LOST,
        f"Lost dead letters: {subscription}, partition {partition}, handler {handler or '(none chosen)'}"
        f" counts {dead} and {kept} are there.",
        dead - kept,
    )


def of_keys(
    subscription: str, handler: str, key: str, waiting: int, parked: int, letter: int | None, state: str | None
) -> Iterator[Problem]:
    """A key whose events wait: as many as its row counts, and for a dead letter that somebody can still decide."""
    where = f"{subscription}, handler {handler}, key {key!r}"[:LONGEST_CELL]
    if parked < waiting:
        sentence = f"Lost parked events: {where} counts {waiting} and {parked} are there."
        yield Problem(Wrong.LOST, sentence, waiting - parked)
    elif parked > waiting:
        yield Problem(
            Wrong.DAMAGED, f"{where} counts {waiting} parked events and {parked} are there.", parked - waiting
        )
    if letter is not None and state not in {"dead", "retrying"}:
        found = f"is {state}" if state is not None else "this handler does not have"
        yield Problem(
            Wrong.DAMAGED,
            f"{where} waits for dead letter {letter}, which {found}: nobody decides it any more, and what is parked"
            " behind it stays there.",
        )


def of_violations(
    service: str, name: str, columns: Sequence[str], rows: Sequence[Sequence[object]], *, more: bool
) -> Iterator[Problem]:
    for row in rows:
        shown = ", ".join(f"{column}={value!r}"[:LONGEST_CELL] for column, value in zip(columns, row, strict=True))
        yield Problem(Wrong.VIOLATED, f"Invariant {name!r} of {service} does not hold: {shown}.")
    if more:
        yield Problem(Wrong.VIOLATED, f"Invariant {name!r} of {service} is violated by more rows than are shown.")


def unchecked(service: str, name: str, why: str) -> Problem:
    return Problem(Wrong.VIOLATED, f"Invariant {name!r} of {service} could not be checked: {why}")
