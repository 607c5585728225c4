"""Where a time is in a lane, whose records are in the order of time but for those that were delayed."""

from __future__ import annotations

from collections.abc import Iterator

import apsw

from onward.delays import due_of
from onward.ports import Record
from onward.sqlite.log import READ_CHUNK, read


def since(connection: apsw.Connection, lane: int, micros: int, first: int, end: int) -> int:
    """The first offset from `first` on that was published at that time or later, or due then; `end` if there is none.

    Delayed events keep the time of their publishing, so each look is at the next one that was not delayed: by the
    others a search would go past events that came after the time.
    """
    low, high = first, end
    while low < high:
        middle = (low + high) // 2
        punctual = next((each for each in _records(connection, lane, middle, high) if due_of(each[7]) is None), None)
        if punctual is not None and punctual[6] < micros:
            low = punctual[0] + 1
        else:
            high = middle
    for record in _records(connection, lane, low, end):  # what was delayed and came next: in the order of being due
        due = due_of(record[7])
        if due is None or due >= micros:
            return int(record[0])
    return end


def _records(connection: apsw.Connection, lane: int, offset: int, end: int) -> Iterator[Record]:
    """The first alone, then in chunks: mostly it is enough."""
    limit = 1
    while offset < end:
        found = read(connection, lane, offset, min(limit, end - offset))
        if not found:
            return
        yield from found
        offset, limit = found[-1][0] + 1, READ_CHUNK
