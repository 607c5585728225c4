"""Parcels: one for each order with goods in it, sent once."""

from decimal import Decimal

from onward.blueprints.shop.events import ShipmentAbandoned, ShipmentDispatched
from onward.blueprints.shop.lines import Line
from tests.unit.blueprints.shop.box import Box
from tests.unit.blueprints.shop.orders import MUG, cancellation, delivery, order


def test_a_parcel_holds_what_is_sent_and_not_what_is_written_off(shop: Box) -> None:
    shop.publish(order("1", MUG, Line("mug", "damaged", -1, Decimal(0)), backorder=True))
    shop.settle()
    sent = ShipmentDispatched(channel="web", order_id="1", units=2, country="United Kingdom")
    assert sent in shop.heard


def test_an_order_that_only_adjusts_the_books_needs_no_parcel(shop: Box) -> None:
    shop.publish(order("1", Line("mug", "damaged", -10, Decimal(0)), backorder=True))
    shop.settle()
    assert shop.titles() == ["order_placed", "stock_reserved", "payment_taken"]
    assert shop.violations() == {}


def test_a_parcel_waits_for_goods_when_the_payment_is_first(shop: Box) -> None:
    shop.publish(delivery(mug=5), order())
    shop.deliver(("payment", "orders"))
    shop.deliver(("shipping", "payments"))
    assert shop.titles()[2:] == ["payment_taken"]
    shop.deliver(("shipping", "orders"))
    assert "shipment_dispatched" not in shop.titles()
    shop.settle()
    assert shop.titles().count("shipment_dispatched") == 1


def test_an_abandoned_parcel_says_why(shop: Box) -> None:
    shop.publish(order())
    shop.settle()
    (abandoned,) = (event for event in shop.heard if isinstance(event, ShipmentAbandoned))
    assert abandoned.reason == "the goods are out of stock"


def test_parcels_that_come_back_are_counted(shop: Box) -> None:
    shop.publish(cancellation("C9"))
    shop.settle()
    assert shop.rows("SELECT entry, parcels, units FROM shipping_books") == [("returned", 1, 2)]
