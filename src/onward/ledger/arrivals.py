"""Which events of a log came before: a relay that is not sure sends again, and the copy stands further on."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from operator import attrgetter
from types import MappingProxyType
from typing import NamedTuple

from onward.ledger.position import Position
from onward.ledger.producers import Numbers, ProducerLedger


class Run(NamedTuple):
    """Events of one incarnation that follow each other: the one at `offset + i` has `number + i`."""

    incarnation: str
    opened: datetime
    number: int
    offset: int
    events: int

    @property
    def end(self) -> int:
        """The offset behind its last event."""
        return self.offset + self.events

    def part(self, first: int, end: int) -> Run:
        """Of the numbers from `first` to below `end`, all of them in the run."""
        return self._replace(number=first, offset=self.offset + first - self.number, events=end - first)

    def between(self, begin: int, end: int) -> Run:
        """What of it lies at the offsets from `begin` to below `end`: without events, 0 or fewer, where none does."""
        begin, end = max(begin, self.offset), min(end, self.end)
        return self._replace(number=self.number + begin - self.offset, offset=begin, events=end - begin)


_offset, _end = attrgetter("offset"), attrgetter("end")


@dataclass(frozen=True, slots=True)
class Arrivals:
    """What came on one partition: the numbers `stored`, and the `runs` that are to be, once they are done.

    A number counts where it comes first. It is stored by the commit that does that first place, below the position or
    beyond it: what is done is never handled again, whereas what is not is delivered again, to whoever has the partition
    then, and must not look as if it had come before. So what is a repetition is a fact of the log alone, and the same
    for everybody, however much had been delivered or handled before.

    `seen` are the numbers of both, and all that lies below `reached` has been told apart since `stored` was read. The
    store may hold more incarnations than `stored` does: those that sort before `whole_from` are to be looked for.
    """

    stored: ProducerLedger
    seen: ProducerLedger
    runs: tuple[Run, ...] = ()
    reached: int = 0
    whole_from: str = ""

    @classmethod
    def after(cls, stored: ProducerLedger, whole_from: str = "") -> Arrivals:
        """Where whoever claims a partition begins."""
        return cls(stored, stored, whole_from=whole_from)

    def strangers(self, runs: Iterable[Run]) -> set[str]:
        """Incarnations of these runs whose numbers may be stored and were not read: for `recalled`, then `arrive`."""
        if not self.whole_from:
            return set()
        return {run.incarnation for run in runs if run.incarnation < self.whole_from} - self.seen.incarnations.keys()

    def recalled(self, found: Mapping[str, Numbers]) -> Arrivals:
        """With what is stored of strangers."""
        return replace(
            self,
            stored=_holding(self.stored, {**self.stored.incarnations, **found}),
            seen=_holding(self.seen, {**self.seen.incarnations, **found}),
        )

    def arrive(self, runs: Iterable[Run]) -> tuple[Arrivals, list[range]]:
        """With these runs of a delivery, rising by offset; and the offsets of repetitions in it, as ranges, rising.

        Deliveries leave nothing out. One may come again: it holds the same repetitions, and what was stored meanwhile
        counts as one, being done.
        """
        seen, kept, reached = dict(self.seen.incarnations), list(self.runs), self.reached
        repeated: list[range] = []
        for run in runs:
            if run.offset >= self.reached:
                first, new = [], run
            else:
                first, new = list(_between(self.runs, run.offset, run.end)), run.between(self.reached, run.end)
            if new.events > 0:
                known = seen.get(run.incarnation) or self._unseen(run)
                fresh = list(_fresh(known, new))
                for each in fresh:
                    known = _joined(known, each)
                    _append(kept, each)
                seen[run.incarnation] = known
                reached = run.end
                first += fresh
            repeated += _others(run, first)
        return replace(self, seen=_holding(self.seen, seen), runs=tuple(kept), reached=reached), repeated

    def _unseen(self, run: Run) -> Numbers:
        return self.seen.open(run.incarnation, run.opened).incarnations[run.incarnation]

    def at(self, position: Position) -> tuple[Arrivals, Mapping[str, Numbers]]:
        """With what is done by then stored; and the numbers of the incarnations for which that is news."""
        left = list(self.runs)
        done = [run for each in _done(position) for run in _taken(left, each)]
        if not done:
            return self, {}
        news: dict[str, Numbers] = {}
        for run in done:
            known = news.get(run.incarnation) or self.stored.incarnations.get(run.incarnation)
            news[run.incarnation] = _joined(known or Numbers(self.seen.incarnations[run.incarnation].owed_from), run)
        stored = _holding(self.stored, {**self.stored.incarnations, **news})
        return replace(self, stored=stored, runs=tuple(left)), news


def _fresh(known: Numbers, run: Run) -> Iterator[Run]:
    """What of it has numbers that were not seen."""
    bounds = known.done.bounds
    if not bounds or run.number >= bounds[-1]:
        yield run
    else:
        for each in known.done.missing(run.number + run.events, base=run.number):
            yield run.part(each.start, each.stop)


def _done(position: Position) -> Iterator[range]:
    yield range(position.next)
    yield from position.beyond.intervals()


def _span(runs: Sequence[Run], begin: int, end: int) -> slice:
    """Where those are that have events at the offsets from `begin` to below `end`."""
    return slice(bisect_right(runs, begin, key=_end), bisect_left(runs, end, key=_offset))


def _between(runs: Sequence[Run], begin: int, end: int) -> Iterator[Run]:
    """What of them lies at the offsets from `begin` to below `end`."""
    return (run.between(begin, end) for run in runs[_span(runs, begin, end)])


def _taken(runs: list[Run], offsets: range) -> list[Run]:
    """What of them lies at these offsets, taken out of the list."""
    span = _span(runs, offsets.start, offsets.stop)
    found = runs[span]
    if found:
        outside = found[0].between(0, offsets.start), found[-1].between(offsets.stop, found[-1].end)
        runs[span] = [run for run in outside if run.events > 0]
    return [run.between(offsets.start, offsets.stop) for run in found]


def _append(runs: list[Run], run: Run) -> None:
    """Behind the last one, or as part of it."""
    if runs:
        incarnation, _, number, offset, events = last = runs[-1]
        if (incarnation, number + events, offset + events) == (run.incarnation, run.number, run.offset):
            runs[-1] = last._replace(events=events + run.events)
            return
    runs.append(run)


def _others(run: Run, parts: Sequence[Run]) -> Iterator[range]:
    """The offsets of a run that are in none of these parts of it."""
    at = run.offset
    for part in parts:
        if part.offset > at:
            yield range(at, part.offset)
        at = part.end
    if at < run.end:
        yield range(at, run.end)


def _joined(known: Numbers, run: Run) -> Numbers:
    owed_from = run.number if known.owed_from is None else known.owed_from
    return Numbers(owed_from, known.done.add_range(run.number, run.number + run.events))


def _holding(ledger: ProducerLedger, incarnations: dict[str, Numbers]) -> ProducerLedger:
    return replace(ledger, incarnations=MappingProxyType(incarnations))
