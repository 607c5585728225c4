"""A whole replay: services started, a file published, everything handled, sums compared, the audit run."""

import asyncio
import signal
from contextlib import suppress
from pathlib import Path
from time import monotonic

from onward.blueprints.shop import inventory, payment, replay, shipping
from onward.blueprints.shop.books import read_books
from onward.blueprints.shop.orders_csv import Reject, Survey, rejects_file, take_survey
from onward.blueprints.shop.summary import Summary
from onward.blueprints.shop.supervised import TARGETS
from onward.blueprints.shop.terminal import Shown
from onward.runtime.outlook import Lookout, Outlook
from onward.runtime.supervisor import Supervisor

MOST_WAITING = 50_000
LOOK_S = 0.2
NAMED_REJECTS = 10


def look_into(orders: Path, rejects: Path, shown: Shown) -> tuple[Survey, list[Reject]]:
    """The survey of a file, and its first ten rejects; all of them are in the rejects file afterwards.

    Raises OrdersFileError, and OSError when the rejects can't be written.
    """
    named: list[Reject] = []
    with rejects_file(rejects) as keep:

        def note(reject: Reject) -> None:
            keep(reject)
            if len(named) < NAMED_REJECTS:
                named.append(reject)

        return take_survey(orders, rejected=note, walked=shown.read), named


async def run(orders: Path, survey: Survey, rejects: Path, shown: Shown) -> Summary | int:
    """The summary once every event is handled, or after SIGINT or SIGTERM how many invoices are published by now.

    Whatever ends it, the services are drained, and the same call goes on later where this one was.
    """
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    try:
        await replay.published(survey)  # makes the store, so that it can be looked at
        where = replay.app.settings
        lookout = Lookout(where.store, where.broker)
        done = await _Run(survey, lookout, stop, shown).through(orders)
        if stop.is_set():
            return done
        look = await asyncio.to_thread(lookout.look)
        return Summary(
            file=orders.name,
            rejects_file=str(rejects) if survey.rejected else None,
            survey=survey,
            published=done,
            books=await read_books(replay.channel_of(survey)),
            dead_letters=sum(look[name].failures for name, _ in TARGETS),
            verdict=await asyncio.to_thread(lookout.audit),
        )
    finally:
        for app in (replay.app, inventory.app, payment.app, shipping.app):
            await app.close()


class _Run:
    def __init__(self, survey: Survey, lookout: Lookout, stop: asyncio.Event, shown: Shown) -> None:
        self.survey = survey
        self.lookout = lookout
        self.stop = stop
        self.shown = shown
        self.waiting = 0
        self.look_at = 0.0

    async def through(self, orders: Path) -> int:
        """Publish and have everything handled, unless told to stop; drain in any case."""
        supervisor = Supervisor(TARGETS)
        supervisor.failure.add_done_callback(lambda _: self.stop.set())
        try:
            await supervisor.start()
            done = await replay.publish(orders, self.survey, go_on=self._go_on)
            self.look_at = 0.0
            await self._go_on(done, most_waiting=0)
            if supervisor.failure.done():
                supervisor.failure.result()
            return done
        finally:
            await supervisor.stop_all()

    async def _go_on(self, done: int, most_waiting: int = MOST_WAITING) -> bool:
        """Show how far it is; wait while too much waits. False when told to stop."""
        while not self.stop.is_set():
            await self._look()
            self.shown.published(done, self.survey.invoices, self.waiting)
            if self.waiting <= most_waiting:
                await asyncio.sleep(0)
                return not self.stop.is_set()
            with suppress(TimeoutError):
                async with asyncio.timeout(LOOK_S):
                    await self.stop.wait()
        return False

    async def _look(self) -> None:
        """Note what waits for the services or to leave one; a service that has not registered yet counts as one."""
        if monotonic() < self.look_at:
            return
        look = await asyncio.to_thread(self.lookout.look)
        services = [look.get(name, Outlook(name, lag=1)) for name, _ in TARGETS]
        self.waiting = sum(each.waiting for each in (*services, look.get(replay.app.name, Outlook(replay.app.name))))
        self.look_at = monotonic() + LOOK_S
