"""Reading relays' numbers: runs of them, since what one relay sends in one go has numbers that follow each other."""

from __future__ import annotations

from collections.abc import Sequence
from operator import itemgetter

from onward.ids import time_of
from onward.ledger import Run
from onward.ports import Record

_number_of = itemgetter(5)


def runs(records: Sequence[Record], topic: str, partition: int) -> list[Run]:
    """The runs in a delivery, rising by offset. A number of another topic or partition is none, nor is one misspelt."""
    written = list(map(_number_of, records))
    first = written[0]
    if first is None and not any(written):
        return []
    here = b" %s %d " % (topic.encode(), partition)
    opening = _read(first, here, records[0][0])
    if opening is not None and records[-1][0] - records[0][0] == len(records) - 1:
        prefix = first[: first.rindex(b" ") + 1]
        number = opening.number
        if written == [prefix + b"%d" % each for each in range(number, number + len(records))]:
            return [opening._replace(events=len(records))]
    found: list[Run] = []
    for record in records:
        run = _read(record[5], here, record[0])
        if run is None:
            continue
        last = found[-1] if found else None
        if (
            last is not None
            and run.incarnation == last.incarnation
            and (run.number - last.number, run.offset - last.offset) == (last.events, last.events)
        ):
            found[-1] = last._replace(events=last.events + 1)
        else:
            found.append(run)
    return found


def _read(written: bytes | None, here: bytes, offset: int) -> Run | None:
    incarnation, separator, number = (written or b"").partition(here)
    if not separator or not number.isdigit() or len(number) > 18:
        return None
    try:
        opened = time_of(bytes.fromhex(incarnation.decode()))
    except ValueError:
        return None
    return Run(incarnation.decode(), opened, int(number), offset, 1) if int(number) else None
