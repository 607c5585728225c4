"""What is told of an outbox between two looks, and when it can't be read."""

import asyncio

from onward.errors import StoreUnreachableError
from onward.relay import OutboxStats
from onward.runtime.outbox_watch import OutboxWatch


class Waiting:
    """As much of an outbox as is looked at."""

    def __init__(self) -> None:
        self.found: OutboxStats | None = None

    async def stats(self) -> OutboxStats:
        if self.found is None:
            raise StoreUnreachableError("the server is away")
        return self.found


def test_nothing_is_told_before_it_was_looked_at() -> None:
    outbox = Waiting()
    watch = OutboxWatch(outbox.stats)
    assert watch.said() is None
    asyncio.run(watch.look())
    assert watch.said() is None


def test_an_empty_outbox_has_no_age() -> None:
    outbox = Waiting()
    outbox.found = OutboxStats(None, True)
    watch = OutboxWatch(outbox.stats)
    asyncio.run(watch.look())
    assert watch.said() == {"age_s": 0.0, "led": True}


def test_what_waits_grows_older_between_two_looks() -> None:
    now = 1_000.0
    outbox = Waiting()
    outbox.found = OutboxStats(990_000_000, True)
    watch = OutboxWatch(outbox.stats, now=lambda: now)
    asyncio.run(watch.look())
    assert watch.said() == {"age_s": 10.0, "led": True}
    now = 1_005.0
    assert watch.said() == {"age_s": 15.0, "led": True}


def test_a_store_that_is_away_is_led_by_nobody_that_is_known_of() -> None:
    now = 1_000.0
    outbox = Waiting()
    outbox.found = OutboxStats(990_000_000, True)
    watch = OutboxWatch(outbox.stats, now=lambda: now)
    asyncio.run(watch.look())
    outbox.found = None
    asyncio.run(watch.look())
    assert watch.said() == {"age_s": 10.0, "led": False}
