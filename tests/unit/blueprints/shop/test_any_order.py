"""Whatever arrives first, an order comes to the same end, and nothing is done or undone twice."""

from contextlib import closing

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.blueprints.shop.box import Box, whole_shop
from tests.unit.blueprints.shop.orders import delivery, order


def shuffled(box: Box, data: st.DataObject) -> None:
    while waiting := box.waiting():
        box.deliver(data.draw(st.sampled_from(waiting)))


@given(st.data())
def test_goods_and_money_in_any_order_send_one_parcel(data: st.DataObject) -> None:
    with closing(whole_shop()) as box:
        box.publish(delivery(mug=5))
        box.settle()
        box.publish(order())
        shuffled(box, data)
        assert sorted(box.titles()) == [
            "delivery_arrived",
            "delivery_shelved",
            "order_placed",
            "payment_taken",
            "points_earned",
            "shipment_dispatched",
            "shipment_opened",
            "stock_reserved",
        ]
        assert box.rows("SELECT free, reserved FROM inventory_stock") == [(3, 2)]
        assert box.rows("SELECT entry, kind, amount_e4 FROM payment_books") == [("taken", "sale", 250_000)]
        assert box.rows("SELECT entry, parcels, units FROM shipping_books") == [("dispatched", 1, 2)]
        assert box.violations() == {}


@given(st.data())
def test_missing_stock_in_any_order_leaves_no_money_with_the_shop(data: st.DataObject) -> None:
    with closing(whole_shop()) as box:
        box.publish(delivery(mug=1))
        box.settle()
        box.publish(order())
        shuffled(box, data)
        titles = box.titles()
        assert titles.count("out_of_stock") == 1
        assert titles.count("shipment_abandoned") == 1
        assert titles.count("payment_refunded") + titles.count("payment_voided") == 1
        assert titles.count("payment_refunded") == titles.count("payment_taken")
        assert box.rows("SELECT free, reserved FROM inventory_stock") == [(1, 0)]
        assert box.rows(
            "SELECT COALESCE(SUM(CASE entry WHEN 'taken' THEN amount_e4 ELSE -amount_e4 END), 0) FROM payment_books"
        ) == [(0,)]
        assert box.rows("SELECT COALESCE(SUM(points), 0) FROM loyalty_account") == [(0,)]
        assert box.violations() == {}


@given(st.data())
def test_declined_payment_in_any_order_leaves_the_stock_as_it_was(data: st.DataObject) -> None:
    with closing(whole_shop()) as box:
        box.publish(delivery(mug=5))
        box.settle()
        box.publish(order(method="card-0002"))
        shuffled(box, data)
        titles = box.titles()
        assert titles.count("payment_declined") == 1
        assert titles.count("stock_released") == 1
        assert titles.count("shipment_abandoned") == 1
        assert "payment_taken" not in titles
        assert box.rows("SELECT free, reserved - released FROM inventory_stock") == [(5, 0)]
        assert box.rows("SELECT COUNT(*) FROM inventory_held") == [(0,)]
        assert box.violations() == {}


@given(st.data())
def test_missing_stock_and_declined_payment_undo_nothing(data: st.DataObject) -> None:
    with closing(whole_shop()) as box:
        box.publish(order(method="card-0002"))
        shuffled(box, data)
        titles = box.titles()
        undone = {"payment_taken", "payment_refunded", "stock_reserved", "shipment_dispatched"}
        assert undone.isdisjoint(titles)
        assert titles.count("shipment_abandoned") == 1
        assert box.rows("SELECT COUNT(*) FROM payment_books") == [(0,)]
        assert box.rows("SELECT COUNT(*) FROM inventory_books") == [(0,)]
        assert box.violations() == {}


@given(
    st.lists(st.tuples(st.integers(1, 4), st.sampled_from(["card-4242", "card-0002", "account"])), max_size=6),
    st.data(),
)
def test_many_orders_for_few_goods_never_oversell(orders: list[tuple[int, str]], data: st.DataObject) -> None:
    with closing(whole_shop()) as box:
        box.publish(delivery(mug=5))
        box.settle()
        for number, (_, method) in enumerate(orders):
            box.publish(order(str(number), method=method))
        shuffled(box, data)
        sent = box.titles().count("shipment_dispatched")
        assert box.rows("SELECT free FROM inventory_stock") == [(5 - 2 * sent,)]
        assert box.rows("SELECT COUNT(*) FROM shipping_parcel WHERE state = 'open'") == [(0,)]
        assert box.violations() == {}


@pytest.mark.parametrize(
    ("again", "violated"),
    [
        (("inventory", "orders"), "inventory: every order is heard of once"),
        (("payment", "orders"), "payment: every order is charged once"),
        (("shipping", "orders"), "shipping: every fact about an order is heard of once"),
        (("shipping", "payments"), "shipping: every fact about an order is heard of once"),
    ],
)
def test_an_event_that_took_effect_twice_would_show(shop: Box, again: tuple[str, str], violated: str) -> None:
    shop.publish(delivery(mug=5), order())
    shop.deliver(("inventory", "deliveries"))
    for place in [("inventory", "orders"), ("payment", "orders"), ("shipping", "orders"), ("shipping", "payments")]:
        if place == again:
            shop.queues[place].append(shop.queues[place][0])
            shop.deliver(place)
        shop.deliver(place)
    assert violated in shop.violations()


def test_an_effect_behind_the_shops_back_shows_in_the_books(shop: Box) -> None:
    shop.publish(delivery(mug=5), order())
    shop.settle()
    shop.connection.execute("UPDATE payment_books SET amount_e4 = amount_e4 * 2")
    shop.connection.execute("UPDATE inventory_stock SET free = free + 1")
    shop.connection.execute("UPDATE shipping_books SET parcels = parcels + 1")
    assert set(shop.violations()) == {
        "payment: the books hold what the orders hold",
        "inventory: stock is what came in less what went out",
        "shipping: the books hold what the parcels hold",
    }
