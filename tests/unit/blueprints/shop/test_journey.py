"""A journey in words: each outcome reads as what it is."""

from contextlib import closing

import pytest

from onward.blueprints.shop.events import OrderFact
from onward.blueprints.shop.journey import Standing, Tone, standing, step_of
from tests.unit.blueprints.shop.box import Box, whole_shop
from tests.unit.blueprints.shop.orders import cancellation, delivery, order


def journey(box: Box) -> Standing:
    steps = [step_of(event) for event in box.heard if isinstance(event, OrderFact)]
    return standing(step for step in steps if step is not None)


def lanes(found: Standing) -> list[tuple[str, str]]:
    return [(lane.label, lane.tone.value) for lane in found.lanes]


def test_a_fresh_order_waits_for_all_three() -> None:
    with closing(whole_shop()) as box:
        box.publish(order())
        found = journey(box)
    assert (found.headline, found.tone, found.settled) == ("In progress", Tone.WAITING, False)
    assert lanes(found) == [
        ("Waiting for stock", "waiting"),
        ("Waiting for payment", "waiting"),
        ("Waiting for a parcel", "waiting"),
    ]


@pytest.mark.parametrize(
    ("method", "stock", "first", "headline", "lanes_then"),
    [
        (
            "card-4242",
            5,
            [],
            "On its way",
            [("Stock reserved", "good"), ("Payment taken", "good"), ("Parcel dispatched", "good")],
        ),
        (
            "card-4242",
            1,
            [("payment", "orders")],
            "Out of stock, refunded",
            [("Out of stock", "bad"), ("Payment refunded", "undone"), ("Parcel abandoned", "undone")],
        ),
        (
            "card-4242",
            1,
            [("inventory", "orders"), ("payment", "stock")],
            "Out of stock, never charged",
            [("Out of stock", "bad"), ("Payment voided", "undone"), ("Parcel abandoned", "undone")],
        ),
        (
            "card-0002",
            5,
            [("inventory", "orders")],
            "Payment declined, stock released",
            [("Stock released", "undone"), ("Payment declined", "bad"), ("Parcel abandoned", "undone")],
        ),
        (
            "card-0002",
            5,
            [("payment", "orders"), ("inventory", "payments")],
            "Payment declined, stock released",
            [("Nothing reserved", "undone"), ("Payment declined", "bad"), ("Parcel abandoned", "undone")],
        ),
        (
            "card-0002",
            1,
            [],
            "Out of stock and declined",
            [("Out of stock", "bad"), ("Payment declined", "bad"), ("Parcel abandoned", "undone")],
        ),
    ],
)
def test_each_end_of_a_journey_reads_as_what_happened(
    method: str, stock: int, first: list[tuple[str, str]], headline: str, lanes_then: list[tuple[str, str]]
) -> None:
    with closing(whole_shop()) as box:
        box.publish(delivery(mug=stock))
        box.settle()
        box.publish(order(method=method))
        box.settle(first)
        found = journey(box)
    assert found.headline == headline
    assert found.settled
    assert lanes(found) == lanes_then


def test_a_refusal_is_not_settled_before_it_is_undone() -> None:
    with closing(whole_shop()) as box:
        box.publish(delivery(mug=1))
        box.settle()
        box.publish(order())
        box.deliver(("payment", "orders"))
        box.deliver(("inventory", "orders"))
        found = journey(box)
    assert (found.headline, found.settled) == ("Out of stock", False)


def test_a_shortage_says_how_many_are_left() -> None:
    with closing(whole_shop()) as box:
        box.publish(delivery(mug=1))
        box.settle()
        box.publish(order())
        box.settle()
        details = [step.detail for event in box.heard if isinstance(event, OrderFact) and (step := step_of(event))]
    assert "mug: 1 left" in details


def test_a_cancellation_is_no_step_of_an_order() -> None:
    assert step_of(cancellation("C1")) is None
