"""The storefront: an order and its publication are one, and journeys follow what the services say."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from decimal import Decimal

import pytest

from onward.blueprints.shop import front_desk, inventory, loyalty, payment, shipping, storefront
from onward.blueprints.shop.catalogue import BY_SKU, PRODUCTS
from onward.blueprints.shop.events import OrderPlaced, StockLevel, StockReserved
from onward.blueprints.shop.front_desk import FrontDesk
from onward.blueprints.shop.journey import standing
from onward.blueprints.shop.web.desk import Basket, OrderView
from onward.testing import Harness
from tests.unit.blueprints.shop.box import Box

SHOP = (inventory.app, payment.app, shipping.app, storefront.app)


def basket(sku: str, quantity: int = 1, method: str = "card-4242") -> Basket:
    return Basket("Ada", method, [BY_SKU[sku].line(quantity)])


@asynccontextmanager
async def opened() -> AsyncIterator[tuple[Harness, FrontDesk]]:
    async with Harness(*SHOP) as shop:
        desk = FrontDesk()
        await desk.open_shelves()
        await shop.settle()
        yield shop, desk


async def only_order(desk: FrontDesk) -> OrderView:
    (order,) = await desk.orders_since(0, 20)
    return order


def test_an_order_goes_all_the_way_and_its_journey_says_so() -> None:
    async def visit() -> None:
        async with opened() as (shop, desk):
            assert await desk.place(basket("OS-MUG", 2)) == "OS-1001"
            await shop.settle()
            order = await only_order(desk)
            assert order.total == Decimal("25.00")
            assert order.steps[0].title == "Order placed"
            assert {step.title for step in order.steps} == {
                "Order placed",
                "Stock reserved",
                "Payment taken",
                "Parcel opened",
                "Parcel dispatched",
            }
            assert standing(order.steps).headline == "On its way"
            assert (await desk.levels())["OS-MUG"] == BY_SKU["OS-MUG"].opening_stock - 2

    asyncio.run(visit())


def test_a_shortage_is_undone_and_the_shelf_says_what_is_left() -> None:
    async def visit() -> None:
        async with opened() as (shop, desk):
            await desk.place(basket("OS-CLOCK", 2))
            await shop.settle()
            stands = standing((await only_order(desk)).steps)
            assert stands.headline.startswith("Out of stock, ")
            assert stands.settled
            assert (await desk.levels())["OS-CLOCK"] == 1

    asyncio.run(visit())


def test_an_order_is_stored_only_if_it_is_published(monkeypatch: pytest.MonkeyPatch) -> None:
    async def visit() -> None:
        async with opened() as (shop, desk):

            def fail(*_args: object, **_fields: object) -> OrderPlaced:
                return OrderPlaced(
                    channel="web",
                    order_id="x" * 600,  # a key that is too long can't be published
                    customer_id="Ada",
                    country="",
                    lines=[],
                )

            monkeypatch.setattr(front_desk, "OrderPlaced", fail)
            with pytest.raises(Exception, match="key"):
                await desk.place(basket("OS-MUG"))
            assert await desk.orders_since(0, 20) == []
            assert not any(isinstance(event, OrderPlaced) for event in shop.published)

    asyncio.run(visit())


def test_the_shelves_are_filled_once_and_again_when_asked() -> None:
    async def visit() -> None:
        async with opened() as (shop, desk):
            await desk.open_shelves()
            await shop.settle()
            assert await desk.levels() == {product.sku: product.opening_stock for product in PRODUCTS}
            await desk.restock()
            await shop.settle()
            assert (await desk.levels())["OS-CLOCK"] == 2

    asyncio.run(visit())


def test_a_crowd_is_handled_and_stays_out_of_the_journeys() -> None:
    async def visit() -> None:
        async with opened() as (shop, desk):
            assert await desk.rush() == 250
            await shop.settle(timeout_s=30)
            assert await desk.orders_since(0, 20) == []
            assert shop.rows("SELECT entry, parcels FROM shipping_books WHERE channel = 'rush'") == [
                ("dispatched", 250)
            ]

    asyncio.run(visit())


def test_only_the_latest_orders_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(front_desk, "KEPT_ORDERS", 3)

    async def visit() -> None:
        async with opened() as (shop, desk):
            for _ in range(5):
                await desk.place(basket("OS-MUG"))
            await shop.settle()
            kept = await desk.orders_since(0, 20)
            assert sorted(order.order_id for order in kept) == ["OS-1003", "OS-1004", "OS-1005"]

    asyncio.run(visit())


def test_only_what_changed_since_is_read() -> None:
    async def visit() -> None:
        async with opened() as (shop, desk):
            await desk.place(basket("OS-MUG"))
            await shop.settle()
            first = await only_order(desk)
            assert await desk.orders_since(first.revision, 20) == []
            await desk.place(basket("OS-TOTE"))
            assert [order.order_id for order in await desk.orders_since(first.revision, 20)] == ["OS-1002"]

    asyncio.run(visit())


def test_points_join_the_journey_when_loyalty_joins_the_shop() -> None:
    async def visit() -> None:
        async with Harness(*SHOP, loyalty.app) as shop:
            desk = FrontDesk()
            await desk.open_shelves()
            await shop.settle()
            await desk.place(basket("OS-BLANKET"))
            await shop.settle()
            assert "89 points earned" in [step.title for step in (await only_order(desk)).steps]

    asyncio.run(visit())


def test_an_older_level_never_overwrites_a_newer_one(shop: Box) -> None:
    newer = StockReserved(channel="web", order_id="2", units=1, levels=[StockLevel("mug", 3, 7)])
    older = StockReserved(channel="web", order_id="1", units=1, levels=[StockLevel("mug", 4, 6)])
    shop.publish(newer, older)
    shop.settle()
    assert shop.rows("SELECT free, revision FROM storefront_level") == [(3, 7)]
