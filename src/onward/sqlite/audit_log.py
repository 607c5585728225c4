"""Is every event that was given an offset still in the log, and there once?"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from onward import ids
from onward.ledger import IntervalSet, Lost
from onward.sqlite.inspection import Inspection
from onward.sqlite.log import LANE_SHIFT, OFFSET_MASK

RECENT = 100_000  # events of each partition that are compared by id, unless all are
MOST_GAPS = 10_000
MOST_DOUBLES = 100

_SPAN = "SELECT count(*), min(pos), max(pos) FROM onward_log WHERE pos >= ? AND pos < ?"
_RUNS = (
    "SELECT pos, before FROM (SELECT pos, lag(pos) OVER (ORDER BY pos) AS before FROM onward_log"
    " WHERE pos >= ? AND pos < ?) WHERE before IS NULL OR pos <> before + 1 LIMIT ?"
)
_DOUBLES = (
    "SELECT g.id, g.source, count(*), min(g.pos), max(g.pos) FROM onward_lane l CROSS JOIN onward_log g"
    " ON g.pos >= (l.id << 40 | max(l.first_offset, l.next_offset - ?1)) AND g.pos < (l.id + 1 << 40)"
    " GROUP BY g.id, g.source HAVING count(*) > 1 LIMIT ?2"
)


@dataclass(frozen=True, slots=True)
class Lane:
    """One partition of the log: its bounds, the offsets stored within them, and those stored outside."""

    id: int
    topic: str
    partition: int
    first: int
    end: int
    stored: IntervalSet
    stray: IntervalSet
    complete: bool  # False when there are more gaps than were looked at

    @property
    def lost(self) -> Lost:
        """Offsets that were given out, not pruned, and whose row is gone."""
        return Lost(self.topic, self.partition, IntervalSet.of_ranges(self.stored.missing(self.end, base=self.first)))


@dataclass(frozen=True, slots=True)
class Double:
    """Rows that claim to be the same event."""

    event_id: str
    source: str
    count: int
    first: str
    last: str


def lanes(inspection: Inspection) -> Iterator[Lane]:
    """Every partition of every topic, looked at one by one."""
    for lane, topic, partition, first, end in inspection.rows(
        "SELECT l.id, t.name, l.partition, l.first_offset, l.next_offset FROM onward_lane l"
        " JOIN onward_topic t ON t.id = l.topic ORDER BY t.name, l.partition"
    ):
        rows, complete = _stored(inspection, lane, first, end)
        inside = _within(rows, first, end)
        below, above = _within(rows, 0, first), _within(rows, end, OFFSET_MASK + 1)
        yield Lane(lane, topic, partition, first, end, inside, below.union(above), complete)


def doubles(inspection: Inspection, *, deep: bool) -> Iterator[Double]:
    """Events that are in the log more than once: among the recent ones, or `deep`, among all."""
    names = {
        row[0]: (row[1], row[2])
        for row in inspection.rows(
            "SELECT l.id, t.name, l.partition FROM onward_lane l JOIN onward_topic t ON t.id = l.topic"
        )
    }
    sources = dict(inspection.rows("SELECT id, name FROM onward_source"))
    recent = OFFSET_MASK if deep else RECENT
    for event_id, source, count, first, last in inspection.stream(_DOUBLES, recent, MOST_DOUBLES):
        shown = ids.text(event_id) if isinstance(event_id, bytes) else event_id
        yield Double(shown, sources.get(source, "?"), count, _place(names, first), _place(names, last))


def _stored(inspection: Inspection, lane: int, first: int, end: int) -> tuple[IntervalSet, bool]:
    bounds = (lane << LANE_SHIFT, (lane + 1) << LANE_SHIFT)
    count, lowest, highest = inspection.rows(_SPAN, *bounds)[0]
    if not count:
        return IntervalSet(), True
    if count == highest - lowest + 1:
        return IntervalSet.of(range(lowest & OFFSET_MASK, (highest & OFFSET_MASK) + 1)), True
    ends: list[int] = []
    for pos, before in inspection.stream(_RUNS, *bounds, MOST_GAPS):
        if before is not None:
            ends.append((before & OFFSET_MASK) + 1)
        ends.append(pos & OFFSET_MASK)
    ends.append((highest & OFFSET_MASK) + 1)
    return IntervalSet(tuple(ends)), len(ends) < 2 * MOST_GAPS


def _within(stored: IntervalSet, start: int, stop: int) -> IntervalSet:
    cut = (range(max(each.start, start), min(each.stop, stop)) for each in stored.intervals())
    return IntervalSet.of_ranges(each for each in cut if each)


def _place(names: dict[int, tuple[str, int]], pos: int) -> str:
    topic, partition = names[pos >> LANE_SHIFT]
    return f"{topic}, partition {partition}, offset {pos & OFFSET_MASK}"
