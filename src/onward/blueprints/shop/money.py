"""Exact money: Decimal in events, whole ten-thousandths of a pound in SQL, never a float."""

from decimal import Decimal

PLACES = 4
_ONE = 10**PLACES
_STEP = Decimal(1).scaleb(-PLACES)


def to_e4(amount: Decimal) -> int:
    """The amount in ten-thousandths of a pound.

    Raises ValueError for an amount with more than four decimal places, which could not be kept exactly.
    """
    scaled = amount * _ONE
    whole = int(scaled)
    if whole != scaled:
        raise ValueError(f"{amount} has more than {PLACES} decimal places and can't be kept exactly.")
    return whole


def from_e4(amount_e4: int) -> Decimal:
    """The inverse of `to_e4`, with two decimal places, or as many more as it takes to be exact."""
    amount = Decimal(amount_e4) * _STEP
    places = 2 if amount_e4 % 100 == 0 else PLACES
    return amount.quantize(Decimal(1).scaleb(-places))


def pounds(amount: Decimal) -> str:
    """Money for people: `£1,234.50`, with a true minus sign before the pound."""
    sign = "\N{MINUS SIGN}" if amount < 0 else ""
    places = max(2, -int(amount.normalize().as_tuple().exponent))
    return f"{sign}£{abs(amount):,.{places}f}"
