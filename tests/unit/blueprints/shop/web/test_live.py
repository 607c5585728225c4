"""The live stream tells every page what changed, and is bounded whatever a page does."""

import asyncio
import json
import re
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from decimal import Decimal
from typing import Any

import pytest

from onward.blueprints.shop.journey import Step, Tone
from onward.blueprints.shop.lines import Line
from onward.blueprints.shop.web import live
from onward.blueprints.shop.web.desk import Basket
from onward.blueprints.shop.web.live import PAGES, SHOWN_ORDERS, Live, TooManyPages
from onward.errors import StoreBusyError
from tests.unit.blueprints.shop.web.fakes import FakeDesk, FakeServices

BASKET = Basket("Ada", "account", [Line("OS-MUG", "Enamel mug", 1, Decimal("12.50"))])
TAKEN = Step("payment", "Payment taken", "£12.50", Tone.GOOD)


@pytest.fixture(autouse=True)
def looks_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "LOOK_S", 0)


@asynccontextmanager
async def watching(desk: FakeDesk, services: FakeServices) -> AsyncIterator[Live]:
    found = Live(desk, services)
    watch = asyncio.create_task(found.watch())
    try:
        async with asyncio.timeout(5):
            yield found
    finally:
        watch.cancel()
        await asyncio.gather(watch, return_exceptions=True)


async def told(stream: AsyncGenerator[bytes, None], event: str) -> Any:
    """The data of the next event of that name."""
    async for part in stream:
        found = re.findall(rf"^event: {event}\ndata: (.+)$", part.decode(), re.MULTILINE)
        if found:
            return json.loads(found[-1])
    raise AssertionError("the stream ended")


def test_a_new_page_gets_the_orders_there_are(desk: FakeDesk, services: FakeServices) -> None:
    async def watch() -> None:
        await desk.place(BASKET)
        async with watching(desk, services) as found, aclosing(found.stream()) as stream:
            order = await told(stream, "order")
            assert (order["id"], order["total"], order["headline"]) == ("OS-1001", "£12.50", "In progress")

    asyncio.run(watch())


def test_a_step_reaches_every_open_page_without_being_asked_for(desk: FakeDesk, services: FakeServices) -> None:
    async def watch() -> None:
        order_id = await desk.place(BASKET)
        async with watching(desk, services) as found:
            async with aclosing(found.stream()) as one, aclosing(found.stream()) as other:
                await told(one, "order")
                await told(other, "order")
                desk.note(order_id, TAKEN)
                for stream in (one, other):
                    while len((order := await told(stream, "order"))["steps"]) < 2:
                        pass
                    assert order["steps"][1]["title"] == "Payment taken"

    asyncio.run(watch())


def test_levels_and_services_follow_what_happens(
    desk: FakeDesk, services: FakeServices, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live, "SERVICES_S", 0)

    async def watch() -> None:
        async with watching(desk, services) as found, aclosing(found.stream()) as stream:
            assert await told(stream, "levels") == {"OS-MUG": 3}
            desk.free["OS-MUG"] = 1
            while await told(stream, "levels") != {"OS-MUG": 1}:
                pass
            await services.stop("payment")
            while [each["state"] for each in await told(stream, "services")] != ["running", "stopped", "running"]:
                pass

    asyncio.run(watch())


def test_without_a_page_nobody_looks(desk: FakeDesk, services: FakeServices) -> None:
    async def watch() -> None:
        async with watching(desk, services):
            for _ in range(20):
                await asyncio.sleep(0)
            assert desk.looks == 0

    asyncio.run(watch())


def test_a_trouble_of_a_moment_is_survived(
    desk: FakeDesk, services: FakeServices, caplog: pytest.LogCaptureFixture
) -> None:
    async def watch() -> None:
        order_id = await desk.place(BASKET)
        async with watching(desk, services) as found, aclosing(found.stream()) as stream:
            await told(stream, "order")
            desk.broken = StoreBusyError("busy")
            while "can't be brought up to date" not in caplog.text:
                await asyncio.sleep(0)
            desk.broken = None
            desk.note(order_id, TAKEN)
            order = await told(stream, "order")
            assert [step["title"] for step in order["steps"]] == ["Order placed", "Payment taken"]

    asyncio.run(watch())


def test_a_page_that_does_not_read_keeps_the_latest_only(desk: FakeDesk, services: FakeServices) -> None:
    page = live._Page()
    for number in range(100):
        page.tell(f"order {number}", "order", number)
        page.tell("levels", "levels", number)
    waiting = asyncio.run(page.next()).decode()
    assert waiting.count("event: order") <= SHOWN_ORDERS + 2
    assert waiting.count("event: levels") == 1
    assert "data: 99" in waiting


def test_one_page_too_many_is_refused_and_a_closed_one_makes_room(desk: FakeDesk, services: FakeServices) -> None:
    async def watch() -> None:
        async with watching(desk, services) as found:
            streams = [found.stream() for _ in range(PAGES)]
            for stream in streams:
                await anext(stream)
            with pytest.raises(TooManyPages):
                await anext(found.stream())
            await streams.pop().aclose()
            last = found.stream()
            await anext(last)
            for stream in [*streams, last]:
                await stream.aclose()

    asyncio.run(watch())


def test_closing_the_shop_ends_the_streams(desk: FakeDesk, services: FakeServices) -> None:
    async def watch() -> None:
        async with watching(desk, services) as found:
            stream = found.stream()
            await anext(stream)
            found.close()
            assert len([part async for part in stream]) <= 1

    asyncio.run(watch())


def test_a_quiet_stream_is_kept_alive(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "HEARTBEAT_S", 0.001)
    assert asyncio.run(live._Page().next()) == b": still open\n\n"
