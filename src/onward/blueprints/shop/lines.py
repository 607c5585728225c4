"""One line of an order, and what kind of line it is."""

from collections.abc import Iterable
from decimal import Decimal
from enum import Enum

import msgspec


class Kind(Enum):
    """What a line is, told by its signs alone; every line counts in every total, whatever its kind."""

    SALE = "sale"  # goods for money
    GIVEAWAY = "giveaway"  # goods for nothing: samples, replacements
    ADJUSTMENT = "adjustment"  # a negative count or price: write-offs, stock takes, bad debt
    RETURN = "return"  # any line of a cancellation


class Line(msgspec.Struct, frozen=True):
    """A number of one product at one price. Negative numbers are adjustments, as found in real books."""

    sku: str
    description: str
    quantity: int
    unit_price: Decimal

    @property
    def value(self) -> Decimal:
        """Quantity times unit price, exact."""
        return self.quantity * self.unit_price

    @property
    def kind(self) -> Kind:
        """What the line is when it stands in an order."""
        if self.quantity < 0 or self.unit_price < 0:
            return Kind.ADJUSTMENT
        return Kind.SALE if self.unit_price else Kind.GIVEAWAY


def value_of(lines: Iterable[Line]) -> Decimal:
    """The sum of the lines' values, exact."""
    return sum((line.value for line in lines), Decimal(0))


def units_by_sku(lines: Iterable[Line]) -> dict[str, int]:
    """How many of each product the lines add up to, in the order in which products first appear."""
    units: dict[str, int] = {}
    for line in lines:
        units[line.sku] = units.get(line.sku, 0) + line.quantity
    return units
