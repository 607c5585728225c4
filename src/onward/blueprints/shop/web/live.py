"""The live stream: what changed goes to every open page as server-sent events, bounded however slow a page is."""

import asyncio
import logging
from collections.abc import AsyncGenerator
from typing import Any

import msgspec

from onward.blueprints.shop.web.control import ServiceControl
from onward.blueprints.shop.web.desk import Desk
from onward.blueprints.shop.web.views import order_view, services_view
from onward.errors import OnwardError

PAGES = 32
SHOWN_ORDERS = 20
LOOK_S = 0.1
SERVICES_S = 1.0
HEARTBEAT_S = 15.0

logger = logging.getLogger(__name__)


class TooManyPages(Exception):
    """As many pages are open as the shop serves at once."""


class Live:
    """Looks for changes while at least one page is open, and tells all of them.

    A page that reads slowly gets the latest of each thing, never a queue of old ones: what waits for a
    page is at most 20 orders, the levels and the services.
    """

    def __init__(self, desk: Desk, control: ServiceControl) -> None:
        self._desk = desk
        self._control = control
        self._pages: set[_Page] = set()
        self._revision = 0
        self._levels: dict[str, int] = {}
        self._opened = asyncio.Event()
        self._closed = False

    async def stream(self) -> AsyncGenerator[bytes, None]:
        """One page's events until it goes away or the shop closes. Raises TooManyPages before the first."""
        if len(self._pages) >= PAGES:
            raise TooManyPages
        page = _Page()
        self._pages.add(page)
        self._opened.set()
        try:
            for order in await self._desk.orders_since(0, SHOWN_ORDERS):
                page.tell(f"order {order.order_id}", "order", order_view(order))
            page.tell("levels", "levels", await self._desk.levels())
            page.tell("services", "services", services_view(await self._control.snapshot()))
            while not self._closed:
                yield await page.next()
        finally:
            self._pages.discard(page)

    async def watch(self) -> None:
        """Run until cancelled. What can't be read for a moment is logged and looked for again."""
        services_at = 0.0
        clock = asyncio.get_running_loop()
        while True:
            if not self._pages:
                self._opened.clear()
                await self._opened.wait()
            try:
                await self._look()
                if clock.time() >= services_at:
                    services_at = clock.time() + SERVICES_S
                    self._tell("services", "services", services_view(await self._control.snapshot()))
            except OnwardError:
                logger.exception("The page can't be brought up to date; trying again.")
            await asyncio.sleep(LOOK_S)

    def close(self) -> None:
        """End every stream, so that the server can stop."""
        self._closed = True
        for page in self._pages:
            page.end()

    async def _look(self) -> None:
        for order in await self._desk.orders_since(self._revision, SHOWN_ORDERS):
            self._revision = max(self._revision, order.revision)
            self._tell(f"order {order.order_id}", "order", order_view(order))
        levels = await self._desk.levels()
        if levels != self._levels:
            self._levels = levels
            self._tell("levels", "levels", levels)

    def _tell(self, what: str, event: str, data: Any) -> None:
        for page in self._pages:
            page.tell(what, event, data)


class _Page:
    """What waits to be sent to one page, the latest of each thing."""

    def __init__(self) -> None:
        self._waiting: dict[str, bytes] = {}
        self._woken = asyncio.Event()

    def tell(self, what: str, event: str, data: Any) -> None:
        if what not in self._waiting and len(self._waiting) >= SHOWN_ORDERS + 2:
            del self._waiting[next(iter(self._waiting))]
        self._waiting[what] = b"event: %s\ndata: %s\n\n" % (event.encode(), msgspec.json.encode(data))
        self._woken.set()

    def end(self) -> None:
        self._woken.set()

    async def next(self) -> bytes:
        """What waits, joined; a comment if nothing comes for a while, which keeps the connection alive."""
        try:
            async with asyncio.timeout(HEARTBEAT_S):
                await self._woken.wait()
        except TimeoutError:
            return b": still open\n\n"
        self._woken.clear()
        waiting, self._waiting = self._waiting, {}
        return b"".join(waiting.values())
