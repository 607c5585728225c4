"""What a browser may send, checked field by field; a mistake is a sentence for the person."""

import re

import msgspec

from onward.blueprints.shop.catalogue import BY_SKU, DECLINED_CARD, GOOD_CARD
from onward.blueprints.shop.web.desk import Basket

METHODS = frozenset({GOOD_CARD, DECLINED_CARD, "account"})
MAX_LINES = 20
MAX_QUANTITY = 20
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


class _Item(msgspec.Struct, forbid_unknown_fields=True):
    sku: str
    quantity: int


class _Order(msgspec.Struct, forbid_unknown_fields=True):
    customer: str
    payment_method: str
    items: list[_Item]


def basket_of(body: bytes) -> Basket | str:
    """The basket in a request's body, or a sentence that says what is wrong with it."""
    try:
        order = msgspec.json.decode(body, type=_Order)
    except msgspec.DecodeError as error:
        return f"The order can't be read: {error}."
    customer = " ".join(order.customer.split())
    if not 1 <= len(customer) <= 60 or _CONTROL.search(customer):
        return "Please give a name of 1 to 60 characters."
    if order.payment_method not in METHODS:
        return "Please choose how to pay."
    quantities: dict[str, int] = {}
    for item in order.items[: MAX_LINES + 1]:
        if item.sku not in BY_SKU:
            return f"There is no product {item.sku[:40]!r}."
        quantities[item.sku] = quantities.get(item.sku, 0) + item.quantity
    if not quantities:
        return "The basket is empty."
    if len(order.items) > MAX_LINES:
        return f"A basket holds {MAX_LINES} lines at most."
    if not all(1 <= quantity <= MAX_QUANTITY for quantity in quantities.values()):
        return f"Of each product you can order 1 to {MAX_QUANTITY}."
    lines = [BY_SKU[sku].line(quantity) for sku, quantity in quantities.items()]
    return Basket(customer, order.payment_method, lines)
