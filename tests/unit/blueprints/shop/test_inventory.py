"""Stock: what an order takes, what a refusal and a return give back."""

from decimal import Decimal

from onward.blueprints.shop.events import OutOfStock, StockLevel, StockReserved
from onward.blueprints.shop.lines import Line
from tests.unit.blueprints.shop.box import Box
from tests.unit.blueprints.shop.orders import MUG, cancellation, delivery, order


def test_reserved_stock_is_told_with_the_level_left(shop: Box) -> None:
    shop.publish(delivery(mug=5), order())
    shop.settle()
    assert StockReserved(channel="web", order_id="1", units=2, levels=[StockLevel("mug", 3, 2)]) in shop.heard


def test_an_order_with_one_product_short_takes_none_of_the_others(shop: Box) -> None:
    shop.publish(delivery(mug=5, clock=0), order("1", MUG, Line("clock", "Clock", 1, Decimal(64))))
    shop.settle()
    assert OutOfStock(channel="web", order_id="1", short=[StockLevel("clock", 0, 1)]) in shop.heard
    assert shop.rows("SELECT sku, free FROM inventory_stock ORDER BY sku") == [("clock", 0), ("mug", 5)]


def test_two_lines_of_one_product_count_together(shop: Box) -> None:
    shop.publish(delivery(mug=3), order("1", MUG, MUG))
    shop.settle()
    assert OutOfStock(channel="web", order_id="1", short=[StockLevel("mug", 3, 1)]) in shop.heard


def test_a_backorder_takes_stock_below_zero(shop: Box) -> None:
    shop.publish(order(backorder=True))
    shop.settle()
    assert shop.rows("SELECT free FROM inventory_stock") == [(-2,)]
    assert shop.violations() == {}


def test_returned_goods_are_back_on_the_shelf(shop: Box) -> None:
    shop.publish(delivery(mug=5), order(), cancellation("C1"))
    shop.settle()
    assert shop.rows("SELECT free, reserved, returned FROM inventory_stock") == [(5, 2, 2)]
    assert shop.rows("SELECT entry, kind, units FROM inventory_books ORDER BY entry") == [
        ("reserved", "sale", 2),
        ("returned", "return", 2),
    ]


def test_units_are_booked_by_kind_of_line(shop: Box) -> None:
    lines = (MUG, Line("mug", "gift", 3, Decimal(0)), Line("mug", "damaged", -4, Decimal(0)))
    shop.publish(order("1", *lines, backorder=True))
    shop.settle()
    assert shop.rows("SELECT kind, units FROM inventory_books ORDER BY kind") == [
        ("adjustment", -4),
        ("giveaway", 3),
        ("sale", 2),
    ]
    assert shop.violations() == {}
