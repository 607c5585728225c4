"""Events of the log as people and programs want to read them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from onward import ids
from onward.errors import StoreError
from onward.sqlite.inspection import Inspection
from onward.sqlite.log import LANE_SHIFT, OFFSET_MASK
from onward.sqlite.times import from_micros

READ_AT_ONCE = 500

_READ = (
    "SELECT g.pos, k.type, coalesce(k.version, 1), g.value, g.key, g.id, s.name, g.time, g.extra FROM onward_log g"
    " LEFT JOIN onward_kind k ON k.id = g.kind LEFT JOIN onward_source s ON s.id = g.source"
    " WHERE g.pos >= ? AND g.pos < ? ORDER BY g.pos LIMIT ?"
)


@dataclass(frozen=True, slots=True)
class LogRecord:
    """One event; `type` is "" where it names none."""

    topic: str
    partition: int
    offset: int
    id: str
    source: str
    type: str
    version: int
    time: datetime
    key: str | None
    value: bytes | None
    extra: bytes | None


class Tail:
    """Reads on from where it stands in each partition of a topic, or of all topics.

    Raises StoreError for a topic that is not there.
    """

    def __init__(self, inspection: Inspection, topic: str | None) -> None:
        self._inspection = inspection
        self._topic = topic
        self._places: dict[int, int] = {}
        if topic is not None and not self._lanes():
            known = ", ".join(
                name for (name,) in inspection.rows("SELECT name FROM onward_topic ORDER BY name LIMIT 20")
            )
            raise StoreError(f"There is no topic {topic!r} in this file; it has: {known or 'none'}.", topic=topic)

    def start(self, *, last: int | None) -> None:
        """Stand at the beginning of what is kept, or `last` events of each partition before its end."""
        for lane, _, _, first, end in self._lanes():
            self._places[lane] = first if last is None else max(first, end - last)

    def read(self) -> Iterator[LogRecord]:
        """What is there and was not read yet, in order of time within each step of at most 500 a partition."""
        while True:
            found: list[LogRecord] = []
            for lane, topic, partition, first, _ in self._lanes():
                place = self._places.get(lane, first)
                base = lane << LANE_SHIFT
                rows = self._inspection.rows(_READ, base | place, (lane + 1) << LANE_SHIFT, READ_AT_ONCE)
                found += [_record(topic, partition, row) for row in rows]
                if rows:
                    self._places[lane] = (rows[-1][0] & OFFSET_MASK) + 1
            if not found:
                return
            yield from sorted(found, key=lambda record: (record.time, record.id))

    def _lanes(self) -> list[tuple[int, str, int, int, int]]:
        return [
            (row[0], row[1], row[2], row[3], row[4])
            for row in self._inspection.rows(
                "SELECT l.id, t.name, l.partition, l.first_offset, l.next_offset FROM onward_lane l"
                " JOIN onward_topic t ON t.id = l.topic WHERE ?1 IS NULL OR t.name = ?1 ORDER BY l.id",
                self._topic,
            )
        ]


def _record(topic: str, partition: int, row: tuple[object, ...]) -> LogRecord:
    pos, kind, version, value, key, event_id, source, micros, extra = row
    assert isinstance(pos, int)
    assert isinstance(micros, int)
    return LogRecord(
        topic=topic,
        partition=partition,
        offset=pos & OFFSET_MASK,
        id=ids.text(event_id) if isinstance(event_id, bytes) else str(event_id),
        source=str(source or ""),
        type=str(kind or ""),
        version=version if isinstance(version, int) else 1,
        time=from_micros(micros),
        key=key if isinstance(key, str) else None,
        value=value.encode() if isinstance(value, str) else value if isinstance(value, bytes) else None,
        extra=extra if isinstance(extra, bytes) else None,
    )
