"""Which of each producer's numbers one subscription has done on one partition of a broker without offsets."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from itertools import pairwise
from types import MappingProxyType

from onward.ledger.intervals import IntervalSet

FIRST_NUMBER = 1
RECENT = 64
"""Incarnations that a claim reads at most, the latest; an older one is looked for when it shows up."""


@dataclass(frozen=True, slots=True)
class Numbers:
    """The numbers of one incarnation that are done, and the number from which on every one is owed.

    `owed_from` is None while nothing is owed: the incarnation is older than the subscription and unseen.
    """

    owed_from: int | None
    done: IntervalSet = field(default=IntervalSet())


@dataclass(frozen=True, slots=True)
class ProducerLedger:
    """The numbers done, by incarnation, for a subscription that was created at `created` (an aware time)."""

    created: datetime
    incarnations: Mapping[str, Numbers] = field(default_factory=lambda: MappingProxyType({}))

    def open(self, incarnation: str, opened: datetime) -> ProducerLedger:
        """The ledger that knows this incarnation; safe to repeat.

        One opened after the subscription was created is owed from its first number. An older one had
        published before anyone here listened, so it is owed from the first number seen.
        """
        if incarnation in self.incarnations:
            return self
        return self._with(incarnation, Numbers(FIRST_NUMBER if opened > self.created else None))

    def is_new(self, incarnation: str, number: int) -> bool:
        """Whether this number has not been done.

        A number below the baseline is new too: it was delivered, so dropping it would lose it.
        """
        known = self.incarnations.get(incarnation)
        return known is None or number not in known.done

    def record(self, incarnation: str, numbers: Iterable[int]) -> ProducerLedger:
        """The ledger with these numbers done, given in the order in which they were seen.

        Raises KeyError for an incarnation that was not opened, and ValueError, naming the number, when one is
        below 1, done already or comes twice.
        """
        known = self.incarnations[incarnation]
        listed = numbers if isinstance(numbers, range) else list(numbers)
        if not listed:
            return self
        finished = IntervalSet.of(listed)
        if finished.bounds[0] < FIRST_NUMBER:
            raise ValueError(f"Numbers begin at {FIRST_NUMBER}; incarnation {incarnation} has {finished.bounds[0]}.")
        again = known.done.first_common(finished)
        if finished.count != len(listed):
            again = next(first for first, second in pairwise(sorted(listed)) if first == second)
        if again is not None:
            raise ValueError(
                f"Number {again} of incarnation {incarnation} is done already. "
                "Counting it again would hide a double effect."
            )
        owed_from = listed[0] if known.owed_from is None else known.owed_from
        return self._with(incarnation, Numbers(owed_from, known.done.union(finished)))

    def missing(self, incarnation: str, highest: int) -> Iterator[range]:
        """The numbers owed up to `highest`, inclusive, that are not done: as ranges, in rising order.

        Raises KeyError for an incarnation that was not opened.
        """
        known = self.incarnations[incarnation]
        return iter(()) if known.owed_from is None else known.done.missing(highest + 1, base=known.owed_from)

    def _with(self, incarnation: str, numbers: Numbers) -> ProducerLedger:
        return replace(self, incarnations=MappingProxyType({**self.incarnations, incarnation: numbers}))
