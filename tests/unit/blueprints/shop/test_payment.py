"""Money: exact to the last place, declined by rules a person can see, given back once."""

from decimal import Decimal

import pytest

from onward.blueprints.shop.events import PaymentRefunded, PaymentTaken
from onward.blueprints.shop.lines import Line
from onward.blueprints.shop.payment import reason_to_decline
from tests.unit.blueprints.shop.box import Box
from tests.unit.blueprints.shop.orders import cancellation, order


@pytest.mark.parametrize(
    ("method", "total", "reason"),
    [
        ("card-4242", "500.00", None),
        ("card-4242", "500.01", "over the card limit of £500.00"),
        ("card-0002", "1.00", "the bank declined the card"),
        ("account", "99999.99", None),
    ],
)
def test_cards_have_a_limit_and_one_is_always_declined(method: str, total: str, reason: str | None) -> None:
    assert reason_to_decline(method, Decimal(total)) == reason


def test_a_third_of_a_penny_is_kept_exactly(shop: Box) -> None:
    shop.publish(order("1", Line("pin", "Pin", 3, Decimal("0.0033")), method="account", backorder=True))
    shop.settle()
    taken = PaymentTaken(channel="web", order_id="1", customer_id="Ada", amount=Decimal("0.0099"))
    assert taken in shop.heard
    assert shop.rows("SELECT amount_e4 FROM payment_books") == [(99,)]


def test_a_cancellation_is_refunded_without_its_order_being_known(shop: Box) -> None:
    shop.publish(cancellation("C536379", Line("D", "Discount", 1, Decimal("27.5"))))
    shop.settle()
    refunded = PaymentRefunded(
        channel="web", order_id="536379", cancellation_id="C536379", customer_id="Ada", amount=Decimal("27.5")
    )
    assert refunded in shop.heard
    assert shop.rows("SELECT entry, kind, amount_e4 FROM payment_books") == [("refunded", "return", 275_000)]
    assert shop.violations() == {}


def test_a_refund_for_missing_stock_names_the_customer(shop: Box) -> None:
    shop.publish(order())
    shop.settle([("payment", "orders")])
    assert [event.customer_id for event in shop.heard if isinstance(event, PaymentRefunded)] == ["Ada"]
