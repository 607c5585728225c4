"""An order's journey as a person reads it: a step for each fact, and from the steps how the order stands."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import Enum

from onward.blueprints.shop.catalogue import BY_SKU
from onward.blueprints.shop.events import (
    OrderFact,
    OrderPlaced,
    OutOfStock,
    PaymentDeclined,
    PaymentRefunded,
    PaymentTaken,
    PaymentVoided,
    PointsEarned,
    ShipmentAbandoned,
    ShipmentDispatched,
    ShipmentOpened,
    StockLevel,
    StockReleased,
    StockReserved,
)
from onward.blueprints.shop.money import pounds


class Tone(Enum):
    """How a step or a state is meant to feel; the page chooses colours by it."""

    WAITING = "waiting"
    GOOD = "good"
    BAD = "bad"
    UNDONE = "undone"


@dataclass(frozen=True, slots=True)
class Step:
    """One fact in words. `after_ms` counts from the order's placing, as the storefront saw it."""

    service: str
    title: str
    detail: str
    tone: Tone
    after_ms: int = 0


@dataclass(frozen=True, slots=True)
class Lane:
    """How one service's part of an order stands."""

    service: str
    label: str
    tone: Tone


@dataclass(frozen=True, slots=True)
class Standing:
    """How the whole order stands: a headline, and a lane for each service of the shop."""

    headline: str
    tone: Tone
    settled: bool
    lanes: Sequence[Lane]


def step_of(fact: OrderFact) -> Step | None:
    """The step a fact makes in its order's journey, or None for a fact that is none."""
    match fact:
        case OrderPlaced():
            return Step("storefront", "Order placed", f"{pounds(fact.total)} in total", Tone.GOOD)
        case StockReserved():
            return Step("inventory", "Stock reserved", _units(fact.units), Tone.GOOD)
        case OutOfStock():
            return Step("inventory", "Out of stock", _shortage(fact.short), Tone.BAD)
        case StockReleased(units=0):
            return Step("inventory", "Nothing reserved", "The payment was declined first", Tone.UNDONE)
        case StockReleased():
            return Step("inventory", "Stock released", f"{_units(fact.units)} back on the shelf", Tone.UNDONE)
        case PaymentTaken():
            return Step("payment", "Payment taken", pounds(fact.amount), Tone.GOOD)
        case PaymentDeclined():
            return Step("payment", "Payment declined", _sentence(fact.reason), Tone.BAD)
        case PaymentVoided():
            return Step("payment", "Payment voided", f"{pounds(fact.amount)} was never charged", Tone.UNDONE)
        case PaymentRefunded():
            return Step("payment", "Payment refunded", f"{pounds(fact.amount)} went back", Tone.UNDONE)
        case ShipmentOpened():
            return Step("shipping", "Parcel opened", "Waiting for goods and payment", Tone.WAITING)
        case ShipmentDispatched():
            return Step("shipping", "Parcel dispatched", f"{_units(fact.units)} to {fact.country}", Tone.GOOD)
        case ShipmentAbandoned():
            return Step("shipping", "Parcel abandoned", _sentence(fact.reason), Tone.UNDONE)
        case PointsEarned():
            balance = f"The balance is {fact.balance:,}"
            return Step("loyalty", f"{fact.points:,} points earned", balance, Tone.GOOD)
        case _:
            return None


def standing(steps: Iterable[Step]) -> Standing:
    """How an order with these steps stands. The order of the steps does not matter."""
    found = list(steps)
    titles = {step.title for step in found}
    lanes = [_lane(service, found) for service in ("inventory", "payment", "shipping")]
    short, declined = "Out of stock" in titles, "Payment declined" in titles
    if "Parcel dispatched" in titles:
        return Standing("On its way", Tone.GOOD, True, lanes)
    if not short and not declined:
        return Standing("In progress", Tone.WAITING, False, lanes)
    money_settled = declined or bool(titles & {"Payment refunded", "Payment voided"})
    goods_settled = short or bool(titles & {"Stock released", "Nothing reserved"})
    settled = money_settled and goods_settled and "Parcel abandoned" in titles
    if short and declined:
        headline = "Out of stock and declined"
    elif short:
        headline = "Out of stock"
        headline += ", refunded" if "Payment refunded" in titles else ", never charged" * money_settled
    else:
        headline = "Payment declined" + ", stock released" * goods_settled
    return Standing(headline, Tone.BAD, settled, lanes)


_WAITING_LABELS = {
    "inventory": "Waiting for stock",
    "payment": "Waiting for payment",
    "shipping": "Waiting for a parcel",
}


def _lane(service: str, steps: Sequence[Step]) -> Lane:
    """The service's last word on the order, where an undoing outranks what it undoes."""
    own = [step for step in steps if step.service == service]
    if not own:
        return Lane(service, _WAITING_LABELS[service], Tone.WAITING)
    rank = [Tone.WAITING, Tone.GOOD, Tone.BAD, Tone.UNDONE]
    last = max(own, key=lambda step: rank.index(step.tone))
    return Lane(service, last.title, last.tone)


def _units(units: int) -> str:
    return f"{units:,} item" if units == 1 else f"{units:,} items"


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]


def _shortage(short: Sequence[StockLevel]) -> str:
    return "; ".join(
        f"{BY_SKU[level.sku].name if level.sku in BY_SKU else level.sku}: {max(level.free, 0) or 'none'} left"
        for level in short
    )
