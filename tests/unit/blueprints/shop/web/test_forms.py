"""What a browser sends is checked; what is wrong is said in a sentence."""

import json
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onward.blueprints.shop.web.desk import Basket
from onward.blueprints.shop.web.forms import basket_of

GOOD = {"customer": " Ada  Lovelace ", "payment_method": "account", "items": [{"sku": "OS-MUG", "quantity": 2}]}


def test_prices_come_from_the_catalogue_and_names_are_tidied() -> None:
    basket = basket_of(json.dumps(GOOD).encode())
    assert isinstance(basket, Basket)
    assert basket.customer == "Ada Lovelace"
    assert [(line.sku, line.quantity, line.unit_price) for line in basket.lines] == [("OS-MUG", 2, Decimal("12.50"))]


def test_lines_of_one_product_become_one_line() -> None:
    basket = basket_of(json.dumps({**GOOD, "items": GOOD["items"] * 2}).encode())  # type: ignore[operator]
    assert isinstance(basket, Basket)
    assert [line.quantity for line in basket.lines] == [4]


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"customer": "  "}, "Please give a name of 1 to 60 characters."),
        ({"customer": "x" * 61}, "Please give a name of 1 to 60 characters."),
        ({"customer": "Ada\u202e"}, "Please give a name of 1 to 60 characters."),
        ({"payment_method": "gold"}, "Please choose how to pay."),
        ({"items": []}, "The basket is empty."),
        ({"items": [{"sku": "OS-YACHT", "quantity": 1}]}, "There is no product 'OS-YACHT'."),
        ({"items": [{"sku": "OS-MUG", "quantity": 0}]}, "Of each product you can order 1 to 20."),
        ({"items": [{"sku": "OS-MUG", "quantity": -1}]}, "Of each product you can order 1 to 20."),
        ({"items": [{"sku": "OS-MUG", "quantity": 11}] * 2}, "Of each product you can order 1 to 20."),
        ({"items": [{"sku": "OS-MUG", "quantity": 1}] * 21}, "A basket holds 20 lines at most."),
        ({"items": [{"sku": "OS-MUG", "quantity": 1, "unit_price": 0}]}, "The order can't be read"),
        ({"extra": 1}, "The order can't be read"),
    ],
)
def test_a_mistake_is_told(change: dict[str, object], sentence: str) -> None:
    answer = basket_of(json.dumps({**GOOD, **change}).encode())
    assert isinstance(answer, str)
    assert answer.startswith(sentence)


@given(st.binary(max_size=100))
def test_any_bytes_are_a_basket_or_a_sentence(body: bytes) -> None:
    assert isinstance(basket_of(body), Basket | str)
