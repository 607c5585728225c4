"""What is on its way out of a file, as whoever looks at it sees it."""

from __future__ import annotations

from time import time

from onward.inspection.status import Barred, Leaving
from onward.sqlite.inspection import Inspection
from onward.sqlite.outbox import outbox_stats

# Each name is the next of an index: how much waits makes no difference.
_NEXT = (
    "SELECT min(service) FROM ("
    "SELECT * FROM (SELECT service FROM onward_outbox WHERE epoch IS NULL AND due IS NULL AND service > ?1"
    " ORDER BY service LIMIT 1) UNION ALL "
    "SELECT * FROM (SELECT service FROM onward_outbox WHERE epoch IS NULL AND due IS NOT NULL AND service > ?1"
    " ORDER BY service LIMIT 1) UNION ALL "
    "SELECT * FROM (SELECT service FROM onward_relay WHERE service > ?1 ORDER BY service LIMIT 1))"
)

_BARRED = "SELECT topic, why FROM onward_barred WHERE service = ? ORDER BY topic"


def outboxes(inspection: Inspection) -> list[Leaving]:
    """Of each service that has had a relay or has something to relay. Raises StoreError."""
    now = time()
    found: list[Leaving] = []
    ((name,),) = inspection.rows(_NEXT, "")
    while name is not None:
        oldest, led = outbox_stats(lambda sql, params: inspection.rows(sql, *params), name, now)
        ((refused,),) = inspection.rows("SELECT count(*) FROM onward_refused WHERE service = ?", name)
        barred = tuple(Barred(*row) for row in inspection.rows(_BARRED, name))
        age_s = None if oldest is None else max(0.0, now - oldest / 1_000_000)
        found.append(Leaving(name, age_s, led, refused, barred))
        ((name,),) = inspection.rows(_NEXT, name)
    return found
