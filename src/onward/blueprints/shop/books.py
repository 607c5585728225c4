"""What the services' own books say about one channel, and whether it is what the file says."""

from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from onward import App
from onward.blueprints.shop import inventory, payment, shipping
from onward.blueprints.shop.lines import Kind
from onward.blueprints.shop.money import from_e4, pounds
from onward.blueprints.shop.orders_csv import Survey

ORDER_KINDS = (Kind.SALE, Kind.GIVEAWAY, Kind.ADJUSTMENT)


@dataclass(frozen=True, slots=True)
class Books:
    """Units and money by kind as the three services counted them; `open_parcels` wait for something."""

    reserved: dict[Kind, int]
    returned: int
    taken: dict[Kind, Decimal]
    refunded: Decimal
    parcels: int
    parcel_units: int
    returned_units: int
    open_parcels: int

    @property
    def net_units(self) -> int:
        return sum(self.reserved.values()) - self.returned

    @property
    def net_money(self) -> Decimal:
        return sum(self.taken.values(), -self.refunded)


async def read_books(channel: str) -> Books:
    """Each service's books, read from the service's own store; which is opened if it is not open yet."""
    units = await _rows(
        inventory.app, "SELECT entry, kind, units FROM inventory_books WHERE channel = :channel", channel
    )
    money = await _rows(
        payment.app, "SELECT entry, kind, amount_e4 FROM payment_books WHERE channel = :channel", channel
    )
    parcels = await _rows(
        shipping.app,
        "SELECT entry, parcels, units FROM shipping_books WHERE channel = :channel"
        " UNION ALL SELECT 'open', COUNT(*), 0 FROM shipping_parcel WHERE channel = :channel AND state = 'open'"
        " AND units > 0",
        channel,
    )
    counted = {(entry, kind): number for entry, kind, number in units}
    charged = {(entry, kind): from_e4(number) for entry, kind, number in money}
    sent = {entry: (number, of_units) for entry, number, of_units in parcels}
    return Books(
        reserved={kind: counted.get(("reserved", kind.value), 0) for kind in ORDER_KINDS},
        returned=counted.get(("returned", Kind.RETURN.value), 0),
        taken={kind: charged.get(("taken", kind.value), from_e4(0)) for kind in ORDER_KINDS},
        refunded=charged.get(("refunded", Kind.RETURN.value), from_e4(0)),
        parcels=sent.get("dispatched", (0, 0))[0],
        parcel_units=sent.get("dispatched", (0, 0))[1],
        returned_units=sent.get("returned", (0, 0))[1],
        open_parcels=sent["open"][0],
    )


def differences(survey: Survey, books: Books) -> list[str]:
    """A sentence for each sum in which the services and the file differ; none when every one is equal."""
    totals = survey.totals
    units = [(f"{kind.value} units reserved", totals[kind].units, books.reserved[kind]) for kind in ORDER_KINDS]
    money = [(f"{kind.value} money taken", totals[kind].amount, books.taken[kind]) for kind in ORDER_KINDS]
    money.append(("money refunded", -totals[Kind.RETURN].amount, books.refunded))
    units += [
        ("units returned to stock", -totals[Kind.RETURN].units, books.returned),
        ("units sent", totals[Kind.SALE].units + totals[Kind.GIVEAWAY].units, books.parcel_units),
        ("units sent back", -totals[Kind.RETURN].units, books.returned_units),
        ("parcels left open", 0, books.open_parcels),
    ]
    return [
        *(f"{what}: the file says {said:,}, the services {did:,}" for what, said, did in units if said != did),
        *(
            f"{what}: the file says {pounds(said)}, the services {pounds(did)}"
            for what, said, did in money
            if said != did
        ),
    ]


async def _rows(app: App, sql: str, channel: str) -> list[tuple[Any, ...]]:
    return (await app.read(sql, channel=channel)).rows
