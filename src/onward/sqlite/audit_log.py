"""Is every event that was given an offset still in the log? Looked at in steps, beside those who write and prune.

A step is one statement, so it sees the rows beside the counters that belong to them, and keeps nobody's write-ahead log
from starting over for longer than it takes to count some thousand rows.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from onward.ledger import IntervalSet, Lost
from onward.sqlite.inspection import Inspection
from onward.sqlite.log import LANE_SHIFT, OFFSET_MASK

STEP_ROWS = 20_000  # looked at in one read transaction
MOST_GAPS = 10_000
MOST_STRAY = 10_000

_LANES = (
    "SELECT l.id, t.name, l.partition, l.first_offset, l.next_offset FROM onward_lane l"
    " JOIN onward_topic t ON t.id = l.topic ORDER BY t.name, l.partition"
)
_COUNT = (
    "SELECT (SELECT first_offset FROM onward_lane WHERE id = ?1), count(*), min(pos), max(pos)"
    " FROM (SELECT pos FROM onward_log WHERE pos >= ?2 AND pos < ?3 ORDER BY pos LIMIT ?4)"
)
_PLACES = (
    "SELECT l.first_offset, g.pos FROM onward_lane l LEFT JOIN onward_log g ON g.pos >= ?2 AND g.pos < ?3"
    " WHERE l.id = ?1 ORDER BY g.pos LIMIT ?4"
)
_STRAY = (
    "SELECT pos FROM onward_log WHERE pos >= ?1 << 40"
    " AND pos < (?1 << 40 | (SELECT first_offset FROM onward_lane WHERE id = ?1))"
    " UNION ALL SELECT pos FROM onward_log"
    " WHERE pos >= (?1 << 40 | (SELECT next_offset FROM onward_lane WHERE id = ?1)) AND pos < ?1 + 1 << 40 LIMIT ?2"
)

Step = Callable[[int], None]
"""Told after each step how many events it looked at."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """One partition of the log as its counters had it at one moment: the first offset kept, and the next one given."""

    id: int
    topic: str
    partition: int
    first: int
    end: int


@dataclass(frozen=True, slots=True)
class Lane:
    """What was found behind these bounds: offsets without a row, and rows that the counters do not cover."""

    bounds: Bounds
    missing: IntervalSet
    stray: IntervalSet
    complete: bool  # False when there are more gaps than were looked at

    @property
    def stored(self) -> IntervalSet:
        """What is there, or was handled and pruned since the bounds were read."""
        return IntervalSet.of_ranges(self.missing.missing(self.bounds.end, base=self.bounds.first))

    @property
    def lost(self) -> Lost:
        """Offsets that were given out, not pruned, and whose row is gone."""
        return Lost(self.bounds.topic, self.bounds.partition, self.missing)


def bounds(inspection: Inspection) -> list[Bounds]:
    """Of every partition of every topic, by topic."""
    return [Bounds(*row) for row in inspection.rows(_LANES)]


def look(inspection: Inspection, lane: Bounds, step: Step) -> Lane:
    """Compare a partition's rows with its offsets, up to where it ended when its bounds were read."""
    gaps: list[range] = []
    at = lane.first
    while at < lane.end and len(gaps) <= MOST_GAPS:
        first, rows, upto = _step(inspection, lane, at)
        gaps += [range(max(gap.start, first), gap.stop) for gap in rows.missing(upto, base=at) if gap.stop > first]
        step(upto - at)
        at = upto
    stray = (pos & OFFSET_MASK for (pos,) in inspection.rows(_STRAY, lane.id, MOST_STRAY))
    missing = _joined(gaps[:MOST_GAPS])
    return Lane(lane, missing, IntervalSet.of(stray), complete=len(gaps) <= MOST_GAPS)


def _step(inspection: Inspection, lane: Bounds, at: int) -> tuple[int, IntervalSet, int]:
    """The first offset kept now, the offsets found from `at` on, and how far that was looked at."""
    base = lane.id << LANE_SHIFT
    where = (lane.id, base | at, base | lane.end, STEP_ROWS)
    ((first, count, lowest, highest),) = inspection.rows(_COUNT, *where)
    if count == 0:
        return first, IntervalSet(), lane.end
    if count == highest - lowest + 1:
        found = IntervalSet.of(range(lowest & OFFSET_MASK, (highest & OFFSET_MASK) + 1))
    else:
        rows = inspection.rows(_PLACES, *where)
        first = rows[0][0]
        found = IntervalSet.of(pos & OFFSET_MASK for _, pos in rows if pos is not None)
        count = found.count
    return first, found, found.bounds[-1] if count == STEP_ROWS else lane.end


def _joined(gaps: list[range]) -> IntervalSet:
    """Gaps in rising order; one that a step's end cut in two is one again."""
    bounds: list[int] = []
    for gap in gaps:
        if bounds and gap.start == bounds[-1]:
            bounds[-1] = gap.stop
        else:
            bounds += (gap.start, gap.stop)
    return IntervalSet(tuple(bounds))


def place(lanes: dict[int, Bounds], pos: int) -> str:
    """Where a row of the log is, in words."""
    lane = lanes[pos >> LANE_SHIFT]
    return f"{lane.topic}, partition {lane.partition}, offset {pos & OFFSET_MASK}"
