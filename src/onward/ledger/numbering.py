"""Numbers for events on their way out: dense per (topic, partition) in the order in which they are given."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from itertools import count
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

    def give(self, lanes: Iterable[Lane]) -> tuple[Numbering, list[int]]:
        """A number for each event, given its lane; and the numbering to go on with."""
        counts = defaultdict(partial(count, FIRST_NUMBER), {lane: count(last + 1) for lane, last in self.last.items()})
        given = list(map(next, map(counts.__getitem__, lanes)))
        return Numbering(MappingProxyType({lane: next(each) - 1 for lane, each in counts.items()})), given
