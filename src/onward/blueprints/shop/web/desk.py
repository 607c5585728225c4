"""What the page needs of the shop: to take orders, and to see what became of them."""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Protocol

from onward.blueprints.shop.journey import Step
from onward.blueprints.shop.lines import Line

RUSH_ORDERS = 250


@dataclass(frozen=True, slots=True)
class Basket:
    """What a customer orders: 1 to 20 lines of products of the catalogue, 1 to 20 of each."""

    customer: str
    payment_method: str
    lines: Sequence[Line]


@dataclass(frozen=True, slots=True)
class OrderView:
    """An order with its journey so far. `revision` grows with every change to any order."""

    order_id: str
    customer: str
    placed_at_ms: int
    total: Decimal
    lines: Sequence[Line]
    steps: Sequence[Step]
    revision: int


class Desk(Protocol):
    """Takes orders and keeps their journeys. An order that was taken is never lost."""

    async def place(self, basket: Basket) -> str:
        """Store the order and publish it, both or neither. Returns the order's id."""
        ...

    async def rush(self) -> int:
        """Publish a crowd's orders, 250 at once, for goods that never run out. Returns how many."""
        ...

    async def restock(self) -> None:
        """Have every product of the catalogue delivered once more."""
        ...

    async def orders_since(self, revision: int, limit: int) -> Sequence[OrderView]:
        """The last `limit` orders placed of those that changed after `revision`, oldest change first."""
        ...

    async def levels(self) -> dict[str, int]:
        """How many of each product are free, as far as the storefront has heard."""
        ...
