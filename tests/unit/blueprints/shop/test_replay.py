"""A replay publishes each invoice of a file once, by however many processes, and its sums are the file's."""

import asyncio
from decimal import Decimal
from pathlib import Path

import pytest

from onward.blueprints.shop import inventory, payment, replay, shipping
from onward.blueprints.shop.books import Books, differences, read_books
from onward.blueprints.shop.events import OrderCancelled, OrderPlaced
from onward.blueprints.shop.lines import Kind, Line
from onward.blueprints.shop.orders_csv import Invoice, Survey, take_survey
from onward.testing import Harness

SHOP = (inventory.app, payment.app, shipping.app, replay.app)
BODY = """1,a,Mug,6,2.55,9,UK
1,b,Gift,2,0,9,UK
2,a,damaged,-4,0,,UK
C1,a,Mug,-2,2.55,9,UK
3,c,Pin,3,0.001,,FR
"""


def orders(tmp_path: Path, body: str = BODY) -> tuple[Path, Survey]:
    path = tmp_path / "orders.csv"
    path.write_text("InvoiceNo,StockCode,Description,Quantity,UnitPrice,CustomerID,Country\n" + body, encoding="utf-8")
    return path, take_survey(path, rejected=lambda _: None)


async def always(_done: int) -> bool:
    return True


def test_what_the_services_count_is_what_the_file_says(tmp_path: Path) -> None:
    path, survey = orders(tmp_path)

    async def run() -> None:
        async with Harness(*SHOP) as shop:
            assert await replay.publish(path, survey, go_on=always) == 4
            await shop.settle()
            books = await read_books(replay.channel_of(survey))
            assert books == Books(
                reserved={Kind.SALE: 9, Kind.GIVEAWAY: 2, Kind.ADJUSTMENT: -4},
                returned=2,
                taken={Kind.SALE: Decimal("15.303"), Kind.GIVEAWAY: Decimal(0), Kind.ADJUSTMENT: Decimal(0)},
                refunded=Decimal("5.10"),
                parcels=2,
                parcel_units=11,
                returned_units=2,
                open_parcels=0,
            )
            assert (books.net_units, books.net_money) == (5, Decimal("10.203"))
            assert differences(survey, books) == []

    asyncio.run(run())


def test_a_replay_goes_on_where_it_was_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replay, "BATCH", 1)
    path, survey = orders(tmp_path)

    async def two_only(done: int) -> bool:
        return done < 2

    async def run() -> None:
        async with Harness(*SHOP) as shop:
            assert await replay.publish(path, survey, go_on=two_only) == 2
            assert await replay.published(survey) == 2
            assert await replay.publish(path, survey, go_on=always) == 4
            assert await replay.publish(path, survey, go_on=always) == 4
            await shop.settle()
            placed = [event.order_id for event in shop.published if isinstance(event, OrderPlaced)]
            assert sorted(placed) == ["1", "2", "3"]
            assert differences(survey, await read_books(replay.channel_of(survey))) == []

    asyncio.run(run())


def test_a_second_replay_of_the_same_file_at_the_same_time_publishes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replay, "BATCH", 1)
    path, survey = orders(tmp_path)

    async def another_goes_first(done: int) -> bool:
        if done == 1:
            await replay.publish(path, survey, go_on=always)
        return True

    async def run() -> None:
        async with Harness(*SHOP) as shop:
            with pytest.raises(replay.ReplayError, match="Nothing was published twice"):
                await replay.publish(path, survey, go_on=another_goes_first)
            await shop.settle()
            assert differences(survey, await read_books(replay.channel_of(survey))) == []

    asyncio.run(run())


def test_another_file_in_the_same_store_has_books_of_its_own(tmp_path: Path) -> None:
    path, survey = orders(tmp_path)
    (tmp_path / "more").mkdir()
    other_path, other = orders(tmp_path / "more", BODY + "1,a,Mug,1,1,9,UK\n4,d,Pin,1,1,,UK\n")

    async def run() -> None:
        async with Harness(*SHOP) as shop:
            await replay.publish(path, survey, go_on=always)
            await replay.publish(other_path, other, go_on=always)
            await shop.settle()
            for found in (survey, other):
                assert differences(found, await read_books(replay.channel_of(found))) == []

    asyncio.run(run())


def test_a_cancellation_counts_what_comes_back_in_positive_numbers() -> None:
    invoice = Invoice("C536379", "14527", "UK", [Line("D", "Discount", -1, Decimal("27.5"))])
    assert replay.event_of(invoice, "file") == OrderCancelled(
        channel="file",
        order_id="536379",
        cancellation_id="C536379",
        customer_id="14527",
        lines=[Line("D", "Discount", 1, Decimal("27.5"))],
    )


def test_every_sum_that_differs_is_named(tmp_path: Path) -> None:
    _, survey = orders(tmp_path)
    empty = Books(dict.fromkeys(Kind, 0), 0, {kind: Decimal(0) for kind in Kind}, Decimal(0), 0, 0, 0, 1)
    assert differences(survey, empty) == [
        "sale units reserved: the file says 9, the services 0",
        "giveaway units reserved: the file says 2, the services 0",
        "adjustment units reserved: the file says -4, the services 0",
        "units returned to stock: the file says 2, the services 0",
        "units sent: the file says 11, the services 0",
        "units sent back: the file says 2, the services 0",
        "parcels left open: the file says 0, the services 1",
        "sale money taken: the file says £15.303, the services £0.00",
        "money refunded: the file says £5.10, the services £0.00",
    ]
