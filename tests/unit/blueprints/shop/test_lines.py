"""What kind of line a line is, and what lines add up to."""

from decimal import Decimal

import pytest

from onward.blueprints.shop.lines import Kind, Line, units_by_sku, value_of


@pytest.mark.parametrize(
    ("quantity", "price", "kind"),
    [
        (1, "2.55", Kind.SALE),
        (1, "0", Kind.GIVEAWAY),
        (-1, "0", Kind.ADJUSTMENT),
        (-1, "2.55", Kind.ADJUSTMENT),
        (1, "-11062.06", Kind.ADJUSTMENT),
    ],
)
def test_the_signs_of_a_line_tell_its_kind(quantity: int, price: str, kind: Kind) -> None:
    assert Line("sku", "", quantity, Decimal(price)).kind is kind


def test_values_and_units_add_up_whatever_the_kind() -> None:
    lines = [
        Line("a", "", 6, Decimal("2.55")),
        Line("b", "", -1, Decimal("4.65")),
        Line("a", "", 2, Decimal(0)),
    ]
    assert value_of(lines) == Decimal("10.65")
    assert units_by_sku(lines) == {"a": 8, "b": -1}
    assert value_of([]) == 0
