"""What is on its way out of a database, as whoever looks at it sees it."""

from __future__ import annotations

from onward.inspection.status import Barred, Leaving
from onward.stores.postgres.inspection import Inspection
from onward.stores.postgres.outbox import PostgresOutbox

# Each name is the next of an index, which the planner has to be told: how much waits makes no difference.
_NO_OTHER_WAY = "SET LOCAL enable_seqscan = off; SET LOCAL enable_bitmapscan = off; SET LOCAL enable_sort = off"
_SERVICES = (
    "WITH RECURSIVE waiting (service) AS ("
    "(SELECT service FROM onward.outbox WHERE epoch IS NULL ORDER BY service LIMIT 1) UNION ALL"
    " SELECT (SELECT o.service FROM onward.outbox o WHERE o.epoch IS NULL AND o.service > w.service"
    "  ORDER BY o.service LIMIT 1) FROM waiting w WHERE w.service IS NOT NULL)"
    " SELECT service FROM waiting WHERE service IS NOT NULL UNION SELECT service FROM onward.relay"
)
_BARRED = "SELECT service, topic, why FROM onward.barred ORDER BY service, topic"
_NOW = "SELECT extract(epoch FROM clock_timestamp())::float8"


async def outboxes(inspection: Inspection) -> list[Leaving]:
    """Of each service that has had a relay or has something to relay, by the server's clock. Raises StoreError."""
    async with inspection.snapshot() as snapshot:
        await snapshot.session.script(_NO_OTHER_WAY, "Looking at outboxes")
        services = sorted(service for (service,) in await snapshot.rows(_SERVICES))
        refused = dict(await snapshot.rows("SELECT service, count(*) FROM onward.refused GROUP BY service"))
        barred = [(service, Barred(topic, why)) for service, topic, why in await snapshot.rows(_BARRED)]
        ((now,),) = await snapshot.rows(_NOW)
    found: list[Leaving] = []
    for service in services:
        outbox = PostgresOutbox(inspection.address, service)
        try:
            oldest, led = await outbox.stats()
        finally:
            outbox.close()
        age_s = None if oldest is None else max(0.0, now - oldest / 1_000_000)
        its_own = tuple(each for whose, each in barred if whose == service)
        found.append(Leaving(service, age_s, led, refused.get(service, 0), its_own))
    return found
