"""How fast a subscription is, from two looks at it."""

from dataclasses import replace

import pytest

from onward.inspection.status import Standing, Status, with_rates

SHIPPING = Standing("shipping", "transactional", "orders", ("ship",), 0, 100, 0, 0, 0, ())
PAYMENT = replace(SHIPPING, service="payment", handled=7)


def seen(*standings: Standing) -> Status:
    return Status("shop.db", standings, ())


def test_a_rate_is_what_was_handled_between_two_looks_by_second() -> None:
    before, after = seen(SHIPPING, PAYMENT), seen(replace(SHIPPING, handled=150), replace(PAYMENT, handled=8))
    rated = with_rates(before, after, 2.0)
    assert [each.rate_per_s for each in rated.subscriptions] == [25.0, 0.5]
    assert [each.handled for each in rated.subscriptions] == [150, 8]


@pytest.mark.parametrize("before", [(), (replace(SHIPPING, handled=101),), (PAYMENT,)])
def test_a_subscription_that_was_not_there_or_began_anew_has_no_rate_yet(before: tuple[Standing, ...]) -> None:
    (found,) = with_rates(seen(*before), seen(SHIPPING), 1.0).subscriptions
    assert found.rate_per_s == 0
