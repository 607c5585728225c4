"""Points: for whole pounds paid by known customers, withdrawn with the money."""

from decimal import Decimal

from onward.blueprints.shop.events import PointsEarned
from onward.blueprints.shop.lines import Line
from tests.unit.blueprints.shop.box import Box
from tests.unit.blueprints.shop.orders import cancellation, delivery, order


def test_a_payment_earns_a_point_for_each_whole_pound(shop: Box) -> None:
    shop.publish(order("1", Line("mug", "Mug", 1, Decimal("12.99")), backorder=True))
    shop.settle()
    assert PointsEarned(channel="web", order_id="1", customer_id="Ada", points=12, balance=12) in shop.heard


def test_balances_add_up_and_refunds_withdraw(shop: Box) -> None:
    shop.publish(delivery(mug=9), order("1"), order("2"), cancellation("C1"))
    shop.settle()
    assert shop.rows("SELECT customer_id, points, earned, withdrawn FROM loyalty_account") == [("Ada", 25, 50, 25)]
    assert shop.violations() == {}


def test_nobody_earns_points_without_a_name(shop: Box) -> None:
    shop.publish(order("1", backorder=True, customer=None))
    shop.settle()
    assert shop.rows("SELECT COUNT(*) FROM loyalty_account") == [(0,)]
