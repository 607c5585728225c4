"""What happens in the shop: the facts its services tell each other, one order's facts in order."""

from decimal import Decimal

import msgspec

from onward import Event
from onward.blueprints.shop.lines import Line, value_of


class OrderFact(Event, abstract=True, key="order_id", frozen=True, kw_only=True):
    """A fact about one order. `channel` is where the order came from; an order's id is unique in its channel."""

    channel: str
    order_id: str


class OrderPlaced(OrderFact, type="shop.order_placed", topic="orders"):
    """Someone ordered. `backorder` says that stock may go below zero for it rather than refuse it.

    `payment_method` is "account", or "card-" and the card's last four digits.
    """

    customer_id: str | None
    country: str
    lines: list[Line]
    payment_method: str = "account"
    backorder: bool = False

    @property
    def total(self) -> Decimal:
        """What the customer owes, exact."""
        return value_of(self.lines)


class OrderCancelled(OrderFact, type="shop.order_cancelled", topic="orders"):
    """Goods came back and are to be refunded. Quantities are of what is returned, so they are positive.

    The order need not be known: customers return what they bought before the books begin.
    """

    cancellation_id: str
    customer_id: str | None
    lines: list[Line]

    @property
    def total(self) -> Decimal:
        """What the customer gets back, exact."""
        return value_of(self.lines)


class StockLevel(msgspec.Struct, frozen=True):
    """How many of a product are free to be ordered; of two levels the one with the higher revision is newer."""

    sku: str
    free: int
    revision: int


class StockReserved(OrderFact, type="shop.stock_reserved", topic="stock"):
    """All of an order's goods are set aside. `levels` is empty for backorders: they ask no level."""

    units: int
    levels: list[StockLevel] = msgspec.field(default_factory=list)


class OutOfStock(OrderFact, type="shop.out_of_stock", topic="stock"):
    """At least one product is short, so nothing was set aside. `short` says how many of each are free."""

    short: list[StockLevel]


class StockReleased(OrderFact, type="shop.stock_released", topic="stock"):
    """Goods set aside are free again, as the order was not paid. No units: it was known before any were taken."""

    units: int
    levels: list[StockLevel] = msgspec.field(default_factory=list)


class StockReturned(OrderFact, type="shop.stock_returned", topic="stock"):
    """Returned goods are back on the shelf."""

    cancellation_id: str
    units: int


class PaymentTaken(OrderFact, type="shop.payment_taken", topic="payments"):
    """The customer was charged; a negative amount is a credit."""

    customer_id: str | None
    amount: Decimal


class PaymentDeclined(OrderFact, type="shop.payment_declined", topic="payments"):
    """The bank or the shop's own limit said no; nothing was charged."""

    amount: Decimal
    reason: str


class PaymentVoided(OrderFact, type="shop.payment_voided", topic="payments"):
    """The order was out of stock before it was charged, so it never will be."""

    amount: Decimal


class PaymentRefunded(OrderFact, type="shop.payment_refunded", topic="payments"):
    """Money went back: for a cancellation, or, with `cancellation_id` None, for an order out of stock."""

    customer_id: str | None
    amount: Decimal
    cancellation_id: str | None = None


class ShipmentOpened(OrderFact, type="shop.shipment_opened", topic="shipping"):
    """A parcel waits for its goods and its payment, whichever comes first."""

    units: int


class ShipmentDispatched(OrderFact, type="shop.shipment_dispatched", topic="shipping"):
    """Goods were there and paid: the parcel left."""

    units: int
    country: str


class ShipmentAbandoned(OrderFact, type="shop.shipment_abandoned", topic="shipping"):
    """The parcel will never leave, as goods or payment were refused."""

    reason: str


class PointsEarned(OrderFact, type="shop.points_earned", topic="loyalty"):
    """A customer's loyalty points for one payment, and the balance after it."""

    customer_id: str
    points: int
    balance: int


class Goods(msgspec.Struct, frozen=True):
    """Units of one product in a delivery."""

    sku: str
    units: int


class DeliveryArrived(Event, type="shop.delivery_arrived", topic="deliveries", key="delivery_id"):
    """A lorry brought goods to the shop."""

    delivery_id: str
    goods: list[Goods]


class DeliveryShelved(Event, type="shop.delivery_shelved", topic="deliveries", key="delivery_id"):
    """A delivery's goods can be ordered now."""

    delivery_id: str
    levels: list[StockLevel]
