"""How far one subscription is on one partition of a log, whatever order its events finished in."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import pairwise

from onward.ledger.intervals import IntervalSet


@dataclass(frozen=True, slots=True)
class Position:
    """What is done from `start` on: everything below `next`, and the offsets in `beyond`, all above it.

    Events before `start` are not owed: they count as done, and not as handled. It is below 0 where some were handled
    in an earlier log of the same name. Raises ValueError for
    fields that no sequence of `finish` leads to, such as a row that something else has changed.
    """

    start: int
    next: int
    beyond: IntervalSet = field(default=IntervalSet())

    def __post_init__(self) -> None:
        if not 0 <= self.next >= self.start:
            raise ValueError(f"A position is at 0 or later and can't be before its start: {self}.")
        if self.beyond and self.beyond.bounds[0] <= self.next:
            raise ValueError(f"Offsets done out of order must lie above the next one: {self}.")

    @property
    def handled_count(self) -> int:
        """How many offsets from the start on are done."""
        return self.next - self.start + self.beyond.count

    def done_since(self, before: Position) -> int:
        """How many offsets were done between an earlier position and this one."""
        return self.handled_count - before.handled_count

    def done(self, offset: int) -> bool:
        """Whether this offset needs no handling any more."""
        return offset < self.next or offset in self.beyond

    def unfinished(self, end: int) -> Iterator[range]:
        """The offsets below `end`, the log's end, that are not done: as ranges, in rising order."""
        return self.beyond.missing(end, base=self.next)

    def in_flight(self, end: int) -> int:
        """How many offsets below `end`, the log's end, are not done: 0 also when the log was cut back."""
        return sum(map(len, self.unfinished(end)))

    def finish(self, offsets: Iterable[int], void: Iterable[range] = ()) -> Position:
        """The position with these offsets done, in whatever order they come; `next` moves over closed gaps.

        `void` are ranges, rising, that hold no event. Raises ValueError, naming the offset, when one is done already or
        comes twice: an effect counted twice is a bug, never noise.
        """
        listed = offsets if isinstance(offsets, range) else list(offsets)
        finished = IntervalSet.of(listed)
        if finished.count != len(listed):
            ordered = sorted(listed)
            self._refuse(next(first for first, second in pairwise(ordered) if first == second))
        empty = IntervalSet.of_ranges(void)
        if empty:
            both = finished.first_common(empty)
            if both is not None:
                self._refuse(both)
            finished = finished.union(empty)
        if finished and finished.bounds[0] < self.next:
            self._refuse(finished.bounds[0])
        common = self.beyond.first_common(finished)
        if common is not None:
            self._refuse(common)
        return self._closed(self.beyond.union(finished))

    def finish_through(self, end: int) -> Position:
        """The position with every offset below `end` done, those done before among them.

        Raises ValueError when `end` is below `next`: a position never goes back.
        """
        if end < self.next:
            self._refuse(end)
        return self._closed(self.beyond.add_range(self.next, end))

    def on_another_log(self, next_offset: int, others: int = 0) -> Position:
        """Where to go on in a log whose offsets mean other events from `others` on; what was handled stays counted."""
        kept = IntervalSet.of_ranges(
            range(each.start, min(each.stop, others)) for each in self.beyond.intervals() if each.start < others
        )
        return Position(next_offset + kept.count - self.handled_count, next_offset, kept)

    def _closed(self, done: IntervalSet) -> Position:
        mark = done.mark(self.next)
        return Position(self.start, mark, done if mark == self.next else IntervalSet(done.bounds[2:]))

    def _refuse(self, offset: int) -> None:
        raise ValueError(
            f"Offset {offset} is finished already: all below {self.next} are, and {self.beyond.count} more. "
            "Counting it again would hide a double effect."
        )
