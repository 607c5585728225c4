"""What was fetched and waits to be taken, by partition: in turns, in bounds, and kept for a while for going back.

Two threads use it: the event loop takes, a fetcher adds.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from operator import itemgetter
from threading import Condition
from time import monotonic
from typing import NamedTuple

from onward.ports import DELIVERY_BYTES, Record

AHEAD_RECORDS = 4_000  # fetched and not taken yet, all partitions together, at which fetching waits
AHEAD_BYTES = 16 << 20
KEPT_RECORDS = 8_000  # taken and kept, all partitions together: a runner that goes back a little needs no fetching
KEPT_BYTES = 16 << 20
STOP_RECORDS = 2_000  # of a paused partition ahead, at which the client is told to fetch nothing of it
RESTED_S = 0.1  # a pause that lasts so long is one: shorter ones cost less than fetching again
CROWDED_S = 5.0  # no room for so long: all that wait are stopped, so that the client can be polled and stays a member

_offset_of = itemgetter(0)


def _size(records: Sequence[Record]) -> int:
    return sum(len(record[2]) for record in records if record[2])


@dataclass(slots=True)
class Lane:
    """One partition. `records` before `at` were taken and are kept; `end` is the offset to be fetched next.

    paused_at: since when nothing of it is taken.
    stopped: the client was told to fetch nothing of it.
    seek_to: where the client has to be sent before anything more is added.
    last:    the broker's end, if everything up to it is here.
    """

    end: int
    records: list[Record] = field(default_factory=list)
    at: int = 0
    ahead_bytes: int = 0
    kept_bytes: int = 0
    paused_at: float | None = None
    stopped: bool = False
    seek_to: int | None = None
    last: int | None = None

    @property
    def ahead(self) -> int:
        return len(self.records) - self.at

    def add(self, records: list[Record]) -> None:
        self.records += records
        self.end = records[-1][0] + 1
        self.last = None
        self.ahead_bytes += _size(records)

    def take(self, limit: int) -> list[Record]:
        found = self.records[self.at : self.at + limit]
        size = self.ahead_bytes if len(found) == self.ahead else _size(found)
        if size > DELIVERY_BYTES:
            sizes = list(accumulate(len(record[2] or b"") for record in found))
            count = max(1, bisect_right(sizes, DELIVERY_BYTES))
            size = sizes[count - 1]
            del found[count:]
        self.at += len(found)
        self.ahead_bytes -= size
        self.kept_bytes += size
        return found

    def forget_kept(self) -> None:
        del self.records[: self.at]
        self.at = self.kept_bytes = 0

    def go_to(self, offset: int) -> None:
        """Take from there next: from what is here, or after fetching again."""
        first = self.records[0][0] if self.records else self.end
        if first <= offset <= self.end:
            self.at = bisect_left(self.records, offset, key=_offset_of)
            self.kept_bytes = _size(self.records[: self.at])
            self.ahead_bytes = _size(self.records[self.at :])
        else:
            self._empty(offset)

    def drop_ahead(self) -> None:
        """Give its memory back, to fetch again what was not taken."""
        self._empty(self.records[self.at][0])

    def _empty(self, offset: int) -> None:
        self.records.clear()
        self.at = self.kept_bytes = self.ahead_bytes = 0
        self.end = self.seek_to = offset
        self.last = None

    def should_stop(self, now: float, crowded_s: float) -> bool:
        if self.paused_at is not None and now - self.paused_at >= RESTED_S:
            return bool(crowded_s) or self.ahead >= STOP_RECORDS
        return crowded_s >= CROWDED_S


class Taken(NamedTuple):
    """Records of one partition, at least one; `end` is the offset after them."""

    partition: int
    records: list[Record]
    end: int


class Wishes(NamedTuple):
    """What the client has to be told before it fetches on."""

    seek: dict[int, int]
    stop: list[int]
    go_on: list[int]


class Lanes:
    """The partitions that one consumer has. `added` is called, in the fetcher's thread, when someone waits for more."""

    def __init__(self, added: Callable[[], None]) -> None:
        self._added = added
        self._lanes: dict[int, Lane] = {}
        self._paused: set[int] = set()
        self._turn = -1
        self._waiting = False
        self.wishful = False
        """Whether the client has to be told something at once; what else it has to be told is a matter of time."""
        self._crowded_at: float | None = None
        self._changed = Condition()

    # ------------------------------------------------------------------------------------ the event loop

    def take(self, limit: int) -> Taken | None:
        """The next delivery, partitions taking turns; after None, `added` is called once there is something."""
        with self._changed:
            for partition in self._in_turn():
                lane = self._lanes[partition]
                if lane.paused_at is not None or not lane.ahead:
                    continue
                self._turn = partition
                records = lane.take(limit)
                self.wishful = self.wishful or lane.stopped
                self._bound_kept()
                self._changed.notify()
                return Taken(partition, records, records[-1][0] + 1)
            self._waiting = True
            return None

    def _in_turn(self) -> list[int]:
        """Those after the last one taken come first."""
        ordered = sorted(self._lanes)
        begin = bisect_left(ordered, self._turn + 1)
        return ordered[begin:] + ordered[:begin]

    def _bound_kept(self) -> None:
        lanes = self._lanes.values()
        if sum(lane.at for lane in lanes) > KEPT_RECORDS or sum(lane.kept_bytes for lane in lanes) > KEPT_BYTES:
            for lane in lanes:
                lane.forget_kept()

    def go_to(self, partition: int, offset: int) -> None:
        with self._changed:
            lane = self._lanes.get(partition)
            if lane is not None:
                lane.go_to(offset)
                self.wishful = True
                self._changed.notify()

    def pause(self, partition: int) -> None:
        with self._changed:
            self._paused.add(partition)
            if partition in self._lanes:
                self._lanes[partition].paused_at = monotonic()

    def resume(self, partition: int) -> None:
        with self._changed:
            self._paused.discard(partition)
            if partition in self._lanes:
                self._lanes[partition].paused_at = None
                self.wishful = True
                self._changed.notify()

    @property
    def waits(self) -> bool:
        """Whether anything was fetched and not taken yet."""
        with self._changed:
            return any(lane.ahead for lane in self._lanes.values())

    @property
    def held(self) -> list[int]:
        with self._changed:
            return list(self._lanes)

    def ends(self, known: Callable[[int], int]) -> Mapping[int, int]:
        """Where each partition ends: after the last record here if there is none behind it, else what is `known`."""
        with self._changed:
            return {
                partition: lane.end if lane.last is not None else max(lane.end, known(partition))
                for partition, lane in self._lanes.items()
            }

    def beyond_control(self, partition: int, offset: int) -> int:
        """The broker's end in place of `offset`, if only what is no event lies in between."""
        with self._changed:
            lane = self._lanes.get(partition)
            return offset if lane is None or lane.last is None or offset != lane.end else lane.last

    # --------------------------------------------------------------------------------------- the fetcher

    def assign(self, places: Mapping[int, int]) -> None:
        with self._changed:
            for partition, offset in places.items():
                paused_at = monotonic() if partition in self._paused else None
                self._lanes[partition] = Lane(offset, paused_at=paused_at)

    def give_up(self, partitions: Sequence[int]) -> None:
        with self._changed:
            for partition in partitions:
                self._lanes.pop(partition, None)
                self._paused.discard(partition)

    def add(self, found: Mapping[int, list[Record]]) -> None:
        """What was fetched. What comes before where a partition stands, or is to be sent elsewhere, is dropped."""
        with self._changed:
            for partition, records in found.items():
                lane = self._lanes.get(partition)
                if lane is None or lane.seek_to is not None:
                    continue
                if records[0][0] < lane.end:
                    records = [record for record in records if record[0] >= lane.end]
                if records:
                    lane.add(records)
            self._tell()

    def _tell(self) -> None:
        if self._waiting and any(lane.ahead and lane.paused_at is None for lane in self._lanes.values()):
            self._waiting = False
            self._added()

    def note_last(self, partition: int, offset: int) -> None:
        """The client has fetched all there is; `offset` is the broker's end."""
        with self._changed:
            lane = self._lanes.get(partition)
            if lane is not None and lane.seek_to is None and offset >= lane.end:
                lane.last = offset

    def refetch(self, partition: int) -> None:
        """Doubt whether what came of it just now is in order: fetch again what is not here."""
        with self._changed:
            lane = self._lanes.get(partition)
            if lane is not None and lane.seek_to is None:
                lane.seek_to = lane.end
                self.wishful = True

    def wait_for_room(self, seconds: float) -> bool:
        """Whether more may be fetched, by then."""
        with self._changed:
            found = self._changed.wait_for(self._has_room, seconds)
            if found:
                self._crowded_at = None
            return found

    def _has_room(self) -> bool:
        active = [lane for lane in self._lanes.values() if not lane.stopped]
        return (
            sum(lane.ahead for lane in active) < AHEAD_RECORDS
            and sum(lane.ahead_bytes for lane in active) < AHEAD_BYTES
        )

    def wake(self) -> None:
        with self._changed:
            self._changed.notify()

    def wishes(self, now: float) -> Wishes:
        """Taken as granted: whoever asks tells the client all of it before fetching on."""
        with self._changed:
            self.wishful = False
            crowded_s = self._crowded_s(now)
            found = Wishes({}, [], [])
            for partition, lane in self._lanes.items():
                if not lane.stopped and lane.ahead and lane.should_stop(now, crowded_s):
                    lane.stopped = True
                    found.stop.append(partition)
                elif lane.stopped and lane.paused_at is None and lane.ahead < STOP_RECORDS / 2:
                    lane.stopped = False
                    found.go_on.append(partition)
            self._bound_stopped()
            for partition, lane in self._lanes.items():
                if lane.seek_to is not None:
                    found.seek[partition], lane.seek_to = lane.seek_to, None
            return found

    def _crowded_s(self, now: float) -> float:
        if self._has_room():
            self._crowded_at = None
            return 0.0
        if self._crowded_at is None:
            self._crowded_at = now
        return now - self._crowded_at

    def _bound_stopped(self) -> None:
        """Partitions may be paused by the hundred: beyond a bound, what they hold is fetched again when they go on."""
        stopped = [lane for lane in self._lanes.values() if lane.stopped and lane.ahead]
        if (
            sum(lane.ahead for lane in stopped) > 2 * AHEAD_RECORDS
            or sum(lane.ahead_bytes for lane in stopped) > 2 * AHEAD_BYTES
        ):
            for lane in stopped:
                lane.drop_ahead()
