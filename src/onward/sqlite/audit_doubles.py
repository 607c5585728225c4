"""Is any event in the log twice? Ids are copied out in steps and compared in a temporary file, beside who writes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from onward import ids
from onward.sqlite import audit_log
from onward.sqlite.audit_log import Bounds, Step, place
from onward.sqlite.fetch import fetch
from onward.sqlite.inspection import Inspection
from onward.sqlite.log import LANE_SHIFT

RECENT = 400_000  # events that are compared, evenly over the partitions, unless all are
MOST_DOUBLES = 100

_COPY = (
    "INSERT INTO temp.seen SELECT id, source, pos FROM main.onward_log WHERE pos >= ? AND pos < ? ORDER BY pos LIMIT ?"
)
_LAST = "SELECT pos FROM temp.seen ORDER BY rowid DESC LIMIT 1"
_DOUBLES = (
    "SELECT id, source, count(*), min(pos), max(pos) FROM temp.seen GROUP BY id, source HAVING count(*) > 1"
    " ORDER BY min(pos) LIMIT ?"
)


@dataclass(frozen=True, slots=True)
class Double:
    """Rows that claim to be the same event."""

    event_id: str
    source: str
    count: int
    first: str
    last: str


def doubles(inspection: Inspection, lanes: Sequence[Bounds], *, deep: bool, step: Step) -> list[Double]:
    """Events that are within these bounds more than once, at most 100: among the recent ones, or `deep`, among all."""
    sources = dict(inspection.rows("SELECT id, name FROM onward_source"))
    known = {lane.id: lane for lane in lanes}
    with inspection.scratch() as scratch:
        scratch.execute("CREATE TEMP TABLE seen (id, source, pos)")
        for lane in lanes:
            at, end = lane.id << LANE_SHIFT | begin(lane, lanes, deep=deep), lane.id << LANE_SHIFT | lane.end
            while at < end:
                scratch.execute(_COPY, (at, end, audit_log.STEP_ROWS))
                copied = scratch.changes()
                if not copied:
                    break
                at = int(scratch.execute(_LAST).get) + 1
                step(copied)
        found = fetch(scratch, _DOUBLES, (MOST_DOUBLES,))
    return [
        Double(
            ids.text(event_id) if isinstance(event_id, bytes) else str(event_id),
            sources.get(source, "?"),
            count,
            place(known, first),
            place(known, last),
        )
        for event_id, source, count, first, last in found
    ]


def begin(lane: Bounds, lanes: Sequence[Bounds], *, deep: bool) -> int:
    """The first offset of a partition whose id is compared."""
    return lane.first if deep else max(lane.first, lane.end - RECENT // len(lanes))
