"""Invoices of a file: rows of one number put together, in bounded memory, wherever in the file they stand."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from onward.blueprints.shop.lines import Line
from onward.blueprints.shop.orders_csv.records import Reject, opened, records
from onward.blueprints.shop.orders_csv.rows import Row, RowReader

INVOICE_LINES = 2_000  # of at most 500 bytes each: an event may be 1 MiB


@dataclass(frozen=True, slots=True)
class Invoice:
    """One invoice or cancellation. Customer and country are those of its first row."""

    number: str
    customer_id: str | None
    country: str
    lines: list[Line]

    @property
    def is_cancellation(self) -> bool:
        return self.number.startswith("C")

    @property
    def order_id(self) -> str:
        """What an invoice and its cancellation have in common: the number without its leading C."""
        return self.number.removeprefix("C")


def rows(path: Path) -> Iterator[Row | Reject]:
    """Every row of the file, good or not. Raises OrdersFileError when the file can't be used at all."""
    with opened(path) as stream:
        found = records(stream)
        reader = RowReader(next(found, None))
        for record in found:
            yield record if isinstance(record, Reject) else reader.row(record)


def read_invoices(path: Path, scattered: Mapping[str, int]) -> Iterator[Invoice]:
    """The file's invoices, in the order in which their last rows stand.

    `scattered`, as a survey of the same file found it, has the number of rows of each invoice whose rows are not
    adjacent: these alone are held in memory until they are whole. Rows beyond 2,000 of one invoice are left
    out, as the survey has rejected them.
    """
    held: dict[str, list[Row]] = {}
    current: list[Row] = []
    for row in rows(path):
        if isinstance(row, Reject):
            continue
        if current and current[0].invoice != row.invoice:
            yield _invoice(current)
            current = []
        if row.invoice in scattered:
            parts = held.setdefault(row.invoice, [])
            parts.append(row)
            if len(parts) == scattered[row.invoice]:
                yield _invoice(held.pop(row.invoice))
        elif len(current) < INVOICE_LINES:
            current.append(row)
    if current:
        yield _invoice(current)


def _invoice(of_rows: list[Row]) -> Invoice:
    first = of_rows[0]
    return Invoice(first.invoice, first.customer_id, first.country, [row.line for row in of_rows[:INVOICE_LINES]])
