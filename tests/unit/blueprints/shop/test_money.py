"""Money is exact, there and back."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onward.blueprints.shop.money import from_e4, pounds, to_e4


@given(st.decimals(min_value=-(10**11), max_value=10**11, places=4))
def test_money_survives_the_store_exactly(amount: Decimal) -> None:
    assert from_e4(to_e4(amount)) == amount


def test_an_amount_that_could_not_be_kept_exactly_is_refused() -> None:
    with pytest.raises(ValueError, match="more than 4 decimal places"):
        to_e4(Decimal("0.00001"))


@pytest.mark.parametrize(
    ("e4", "text"), [(125_000, "12.50"), (-125_000, "-12.50"), (99, "0.0099"), (0, "0.00"), (10_000, "1.00")]
)
def test_money_from_the_store_has_pence_or_as_many_places_as_it_needs(e4: int, text: str) -> None:
    assert str(from_e4(e4)) == text


@pytest.mark.parametrize(
    ("amount", "text"),
    [("841344.33", "£841,344.33"), ("-5", "−£5.00"), ("0.0033", "£0.0033"), ("0", "£0.00"), ("1E+3", "£1,000.00")],  # noqa: RUF001
)
def test_money_for_people_reads_like_a_price_tag(amount: str, text: str) -> None:
    assert pounds(Decimal(amount)) == text
