"""A frozen set of whole numbers that costs what its gaps cost, not what its members cost."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from operator import lt
from typing import Final

LARGEST: Final = 2**63 - 2
"""The largest number a set can hold: its exclusive end still fits a signed 64-bit column."""

MAX_ENCODED_BYTES: Final = 1 << 16
"""What `to_bytes` writes and `from_bytes` reads at most: some thirty thousand gaps."""

_FORMAT: Final = 1
_VARINT_BYTES: Final = 9


@dataclass(frozen=True, slots=True)
class IntervalSet:
    """A set of numbers from 0 to `LARGEST`, held as sorted half-open intervals that do not touch.

    `bounds` is flat, (start, end, start, end, …), strictly rising: equal sets have equal bounds.
    """

    bounds: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        bounds = self.bounds
        if not bounds:
            return
        if len(bounds) & 1 or not all(map(lt, bounds, bounds[1:])):
            raise ValueError(f"Bounds must come in pairs and rise strictly; got {len(bounds)} from {bounds[:6]}.")
        if bounds[0] < 0 or bounds[-1] > LARGEST + 1:
            raise ValueError(f"Numbers go from 0 to {LARGEST}; got {bounds[0]} to {bounds[-1] - 1}.")

    @classmethod
    def of(cls, numbers: Iterable[int]) -> IntervalSet:
        """The set of exactly these numbers; repeats count once. A range of step 1 costs nothing."""
        if isinstance(numbers, range) and numbers.step == 1:
            return cls((numbers.start, numbers.stop)) if numbers else cls()
        ordered = sorted(set(numbers))
        if not ordered:
            return cls()
        first, last = ordered[0], ordered[-1]
        if last - first + 1 == len(ordered):
            return cls((first, last + 1))
        bounds = [first]
        for before, after in pairwise(ordered):
            if after != before + 1:
                bounds += (before + 1, after)
        bounds.append(last + 1)
        return cls(tuple(bounds))

    @classmethod
    def of_ranges(cls, ranges: Iterable[range]) -> IntervalSet:
        """The set of these ranges of step 1. Raises ValueError if one is empty or they do not rise apart."""
        return cls(tuple(bound for each in ranges for bound in (each.start, each.stop)))

    def __contains__(self, number: int) -> bool:
        return bool(bisect_right(self.bounds, number) & 1)

    def __bool__(self) -> bool:
        return bool(self.bounds)

    @property
    def count(self) -> int:
        """How many numbers are in the set."""
        return sum(self.bounds[1::2]) - sum(self.bounds[::2])

    def intervals(self) -> Iterator[range]:
        """The intervals in rising order, as ranges."""
        return map(range, self.bounds[::2], self.bounds[1::2])

    def mark(self, base: int = 0) -> int:
        """The lowest number from `base` on that is not in the set: everything from `base` to below it is."""
        at = bisect_right(self.bounds, base)
        return self.bounds[at] if at & 1 else base

    def missing(self, upto: int, base: int = 0) -> Iterator[range]:
        """The gaps in [base, upto), in rising order: at most one more than the set has intervals."""
        at = self.mark(base)
        index = bisect_right(self.bounds, at)
        while at < upto:
            if index == len(self.bounds):
                yield range(at, upto)
                return
            yield range(at, min(self.bounds[index], upto))
            at = self.bounds[index + 1]
            index += 2

    def first_common(self, other: IntervalSet) -> int | None:
        """The lowest number that both sets hold, or None when they are disjoint."""
        few, many = sorted((self.bounds, other.bounds), key=len)
        for start, end in zip(few[::2], few[1::2], strict=True):
            at = bisect_right(many, start)
            if at & 1:
                return start
            if at < len(many) and many[at] < end:
                return many[at]
        return None

    def add(self, number: int) -> IntervalSet:
        """The set with `number` in it; adding twice is adding once."""
        return self.add_range(number, number + 1)

    def add_range(self, start: int, end: int) -> IntervalSet:
        """The set with all of [start, end) in it. Raises ValueError when `end` is below `start`."""
        if end < start:
            raise ValueError(f"A range can't end before it starts; got [{start}, {end}).")
        if start == end:
            return self
        bounds = self.bounds
        # left for the start and right for the end: an interval that only touches the range is merged with it.
        low, high = bisect_left(bounds, start), bisect_right(bounds, end)
        head = bounds[:low] if low & 1 else (*bounds[:low], start)
        tail = bounds[high:] if high & 1 else (end, *bounds[high:])
        return IntervalSet(head + tail)

    def union(self, other: IntervalSet) -> IntervalSet:
        """The set of the numbers that are in either."""
        if not self or not other:
            return self or other
        merged: list[int] = []
        for interval in sorted([*self.intervals(), *other.intervals()], key=_start):
            if merged and interval.start <= merged[-1]:
                merged[-1] = max(merged[-1], interval.stop)
            else:
                merged += (interval.start, interval.stop)
        return IntervalSet(tuple(merged))

    def to_bytes(self) -> bytes:
        """The set's one encoding: a format byte, then the distance between neighbouring bounds as varints.

        Raises ValueError beyond `MAX_ENCODED_BYTES`, so that whatever was written can be read.
        """
        written = bytearray([_FORMAT])
        previous = -1
        for bound in self.bounds:
            # Bounds rise strictly, so a distance is never 0 and 0 stands for 1; the first start may be 0.
            distance = bound - previous - 1
            while distance > 0x7F:
                written.append(distance & 0x7F | 0x80)
                distance >>= 7
            written.append(distance)
            previous = bound
        if len(written) > MAX_ENCODED_BYTES:
            raise ValueError(
                f"{len(self.bounds) // 2} intervals take {len(written)} bytes; at most {MAX_ENCODED_BYTES} "
                "can be stored. Wait for gaps to close before more is done out of order."
            )
        return bytes(written)

    @classmethod
    def from_bytes(cls, encoded: bytes) -> IntervalSet:
        """The set that `to_bytes` wrote. Raises ValueError for anything that `to_bytes` does not write."""
        if not encoded or encoded[0] != _FORMAT or len(encoded) > MAX_ENCODED_BYTES:
            raise ValueError(
                f"Not an interval set of format {_FORMAT}, at most {MAX_ENCODED_BYTES} bytes long: "
                f"{len(encoded)} bytes that begin with {encoded[:4].hex() or 'nothing'}."
            )
        bounds: list[int] = []
        previous, at = -1, 1
        while at < len(encoded):
            distance, at = _read_varint(encoded, at)
            previous += distance + 1
            bounds.append(previous)
        return cls(tuple(bounds))


def _start(interval: range) -> int:
    return interval.start


def _read_varint(encoded: bytes, at: int) -> tuple[int, int]:
    """The number that begins at `at`, and where the next does. Raises ValueError if cut short or padded."""
    value = 0
    for index, byte in enumerate(encoded[at : at + _VARINT_BYTES]):
        value |= (byte & 0x7F) << 7 * index
        if byte < 0x80:
            if index and not byte:
                break
            return value, at + index + 1
    raise ValueError(f"The number at byte {at} of an interval set is cut short, too large, or padded.")
