"""Which events of a log came before: a relay that is not sure sends again, and the copy stands further on."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import NamedTuple

from onward.ledger.producers import Numbers, ProducerLedger


class Run(NamedTuple):
    """Events of one incarnation that follow each other: the one at `offset + i` has `number + i`."""

    incarnation: str
    opened: datetime
    number: int
    offset: int
    events: int

    def part(self, first: int, end: int) -> Run:
        """Of the numbers from `first` to below `end`, all of them in the run."""
        return self._replace(number=first, offset=self.offset + first - self.number, events=end - first)


@dataclass(frozen=True, slots=True)
class Arrivals:
    """What came on one partition: `stored` up to where its account stands, and the `runs` from there on.

    A number counts where it comes first. So what is a repetition is a fact of the log alone, and the same for
    everybody who begins where `stored` ends, however much had been delivered or handled before.
    """

    stored: ProducerLedger
    runs: tuple[Run, ...] = ()

    def arrive(self, begin: int, runs: Iterable[Run]) -> tuple[Arrivals, list[range]]:
        """With these runs of a delivery that begins at the offset `begin`; and the offsets of repetitions in it.

        What lies from `begin` on is delivered again. The offsets come as ranges, rising.
        """
        kept = list(_below(self.runs, begin))
        seen = _recorded(self.stored, kept)
        repeated: list[range] = []
        for run in runs:
            seen = seen.open(run.incarnation, run.opened)
            new = list(seen.incarnations[run.incarnation].done.missing(run.number + run.events, base=run.number))
            fresh = [run.part(each.start, each.stop) for each in new]
            repeated += _between(run, fresh)
            seen = _recorded(seen, fresh)
            kept += fresh
        return replace(self, runs=tuple(kept)), repeated

    def upto(self, position: int) -> tuple[Arrivals, Mapping[str, Numbers]]:
        """With what lies below this offset stored; and the numbers of the incarnations for which that is news."""
        passed = list(_below(self.runs, position))
        stored = _recorded(self.stored, passed)
        ahead = tuple(
            run.part(max(run.number, run.number + position - run.offset), run.number + run.events)
            for run in self.runs
            if run.offset + run.events > position
        )
        return Arrivals(stored, ahead), {run.incarnation: stored.incarnations[run.incarnation] for run in passed}


def _below(runs: Sequence[Run], offset: int) -> Iterable[Run]:
    """What of them lies below an offset."""
    for run in runs:
        if run.offset >= offset:
            return
        yield run.part(run.number, min(run.number + run.events, run.number + offset - run.offset))


def _between(run: Run, fresh: Sequence[Run]) -> Iterable[range]:
    """The offsets of a run that are in none of these parts of it."""
    at = run.offset
    for part in fresh:
        if part.offset > at:
            yield range(at, part.offset)
        at = part.offset + part.events
    if at < run.offset + run.events:
        yield range(at, run.offset + run.events)


def _recorded(ledger: ProducerLedger, runs: Iterable[Run]) -> ProducerLedger:
    for run in runs:
        ledger = ledger.open(run.incarnation, run.opened)
        ledger = ledger.record(run.incarnation, range(run.number, run.number + run.events))
    return ledger
