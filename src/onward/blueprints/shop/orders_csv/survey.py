"""A first walk through a file of orders: what is in it, what must be left out, and what it adds up to."""

import hashlib
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path

from onward.blueprints.shop.lines import Kind
from onward.blueprints.shop.money import from_e4, to_e4
from onward.blueprints.shop.orders_csv.errors import OrdersFileError
from onward.blueprints.shop.orders_csv.invoices import INVOICE_LINES, rows
from onward.blueprints.shop.orders_csv.records import KEPT_BYTES, Reject
from onward.blueprints.shop.orders_csv.rows import Row

MAX_INVOICES = 500_000
HELD_ROWS = 200_000


@dataclass(slots=True)
class Total:
    """Lines, units and money of one kind, added up as the file has them: a return's units are negative."""

    lines: int = 0
    units: int = 0
    amount_e4: int = 0

    @property
    def amount(self) -> Decimal:
        return from_e4(self.amount_e4)


@dataclass(frozen=True, slots=True)
class Survey:
    """What a file of orders holds. `scattered` counts the rows of invoices whose rows are not adjacent."""

    digest: str
    orders: int
    cancellations: int
    rows: int
    rejected: int
    totals: dict[Kind, Total]
    scattered: dict[str, int]

    @property
    def invoices(self) -> int:
        return self.orders + self.cancellations


@dataclass(slots=True)
class _Tally:
    rows_of: Counter[str] = field(default_factory=Counter)
    scattered: set[str] = field(default_factory=set)
    totals: dict[Kind, Total] = field(default_factory=lambda: {kind: Total() for kind in Kind})
    last: str = ""
    rejected: int = 0

    def add(self, row: Row) -> Reject | None:
        """Count the row, unless its invoice is full."""
        known = self.rows_of[row.invoice]
        if known >= INVOICE_LINES:
            reason = f"invoice {row.invoice} already has {INVOICE_LINES:,} lines"
            return Reject(row.number, reason, row.original[:KEPT_BYTES])
        if known and self.last != row.invoice:
            self.scattered.add(row.invoice)
        self.last = row.invoice
        self.rows_of[row.invoice] = known + 1
        total = self.totals[Kind.RETURN if row.invoice.startswith("C") else row.line.kind]
        total.lines += 1
        total.units += row.line.quantity
        total.amount_e4 += to_e4(row.line.value)
        return None


def take_survey(
    path: Path, *, rejected: Callable[[Reject], None], walked: Callable[[int], None] | None = None
) -> Survey:
    """Walk through the whole file once, handing over each reject; `walked` hears the count of rows now and then.

    Memory grows with the number of invoices, about 150 bytes each. Raises OrdersFileError, also for a
    file of over 500,000 invoices or with over 200,000 rows in scattered ones.
    """
    tally = _Tally()
    seen = 0
    for seen, row in enumerate(rows(path), start=1):
        reject = row if isinstance(row, Reject) else tally.add(row)
        if reject is not None:
            tally.rejected += 1
            rejected(reject)
        if len(tally.rows_of) > MAX_INVOICES:
            raise OrdersFileError(
                f"{path} holds more than {MAX_INVOICES:,} invoices. No order was published; split the file."
            )
        if walked is not None and seen % 5_000 == 0:
            walked(seen)
    scattered = {invoice: tally.rows_of[invoice] for invoice in tally.scattered}
    if sum(scattered.values()) > HELD_ROWS:
        raise OrdersFileError(
            f"{path} has more than {HELD_ROWS:,} rows in invoices whose rows are not adjacent, too many to hold in"
            " memory. No order was published; sort the file by InvoiceNo."
        )
    cancellations = sum(invoice.startswith("C") for invoice in tally.rows_of)
    return Survey(
        digest=_digest(path),
        orders=len(tally.rows_of) - cancellations,
        cancellations=cancellations,
        rows=seen,
        rejected=tally.rejected,
        totals=tally.totals,
        scattered=scattered,
    )


def _digest(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
