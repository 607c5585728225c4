"""Numbers for events on their way out: dense per (topic, partition) in the order in which they are given."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

from onward.ledger.producers import FIRST_NUMBER

Lane = tuple[str, int]
"""A topic and one of its partitions."""


@dataclass(frozen=True, slots=True)
class Numbering:
    """The last number that one incarnation has given out in each lane, those without one left out.

    A new incarnation begins with an empty one. Go on with what `give` returned only when the numbers are known to be
    stored: after an outcome that is not known, go on as another incarnation, or a number may name two events.
    """

    last: Mapping[Lane, int] = field(default_factory=lambda: MappingProxyType({}))

    def give(self, rows: Iterable[Sequence[Lane]]) -> tuple[Numbering, list[tuple[int, ...]]]:
        """A number for each event of each row, which names the events' lanes; and the numbering to go on with."""
        last = dict(self.last)
        given = []
        for lanes in rows:
            numbers = []
            for lane in lanes:
                number = last[lane] = last.get(lane, FIRST_NUMBER - 1) + 1
                numbers.append(number)
            given.append(tuple(numbers))
        return Numbering(MappingProxyType(last)), given
