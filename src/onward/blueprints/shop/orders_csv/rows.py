"""From a CSV record to a line of an invoice, or to the reason why it can't be one."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

import msgspec

from onward.blueprints.shop.lines import Line
from onward.blueprints.shop.money import PLACES
from onward.blueprints.shop.orders_csv.errors import OrdersFileError
from onward.blueprints.shop.orders_csv.records import KEPT_BYTES, Record, Reject

COLUMNS = ("InvoiceNo", "StockCode", "Description", "Quantity", "UnitPrice", "CustomerID", "Country")
MAX_QUANTITY = 1_000_000
MAX_PRICE = Decimal(1_000_000)
MAX_VALUE = Decimal(100_000_000)
MAX_CODE = 32
MAX_TEXT_BYTES = 250
_SURELY_SHORT = MAX_TEXT_BYTES // 4  # characters: each takes at most 4 bytes of JSON

_WHOLE = re.compile(r"[+-]?[0-9]{1,18}")
_NUMBER = re.compile(r"[+-]?(?:[0-9]{1,18}(?:\.[0-9]{0,18})?|\.[0-9]{1,18})")
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ufffd]")


@dataclass(frozen=True, slots=True)
class Row:
    """One order line with the invoice it belongs to. `invoice` is as the file has it, a leading C included."""

    number: int
    original: bytes
    invoice: str
    customer_id: str | None
    country: str
    line: Line


class RowReader:
    """Reads rows under one header, whose columns may stand in any order and among others."""

    def __init__(self, header: Record | Reject | None) -> None:
        """Raises OrdersFileError when the header lacks a column."""
        names = [name.strip().casefold() for name in header.fields] if isinstance(header, Record) else []
        missing = [column for column in COLUMNS if column.casefold() not in names]
        if missing:
            raise OrdersFileError(
                f"The first line of the file must name the columns {', '.join(COLUMNS)}; it lacks"
                f" {', '.join(missing)}. No order was published; give the columns these names, separated by commas.",
                missing=missing,
            )
        self._width = len(names)
        self._places: Sequence[int] = [names.index(column.casefold()) for column in COLUMNS]

    def row(self, record: Record) -> Row | Reject:
        """The row, or the reject that says why it can't be an order line."""
        found = self._read(record)
        return found if isinstance(found, Row) else Reject(record.line, found, record.original[:KEPT_BYTES])

    def _read(self, record: Record) -> Row | str:
        if len(record.fields) != self._width:
            return f"it has {len(record.fields)} columns where the header has {self._width}"
        invoice, sku, description, quantity_text, price_text, customer, country = (
            record.fields[place].strip() for place in self._places
        )
        reason = _code_reason("InvoiceNo", invoice) or _code_reason("StockCode", sku)
        if reason is None and invoice == "C":
            reason = "InvoiceNo is a C without a number"
        reason = reason or _text_reason(description, customer, country)
        if reason is not None:
            return reason
        if not _WHOLE.fullmatch(quantity_text):
            return f"Quantity {quantity_text[:40]!r} is not a whole number"
        if not _NUMBER.fullmatch(price_text):
            return f"UnitPrice {price_text[:40]!r} is not a number"
        quantity, price = int(quantity_text), Decimal(price_text)
        reason = _amount_reason(quantity, price)
        if reason is not None:
            return reason
        line = Line(sku, description, quantity, price)
        return Row(record.line, record.original, invoice, customer or None, country, line)


def _code_reason(column: str, code: str) -> str | None:
    if not code:
        return f"{column} is empty"
    if len(code) > MAX_CODE:
        return f"{column} is over {MAX_CODE} characters long"
    if not code.isprintable():
        return f"{column} holds characters that can't be printed"
    return None


def _text_reason(*texts: str) -> str | None:
    for text in texts:
        if len(text) > _SURELY_SHORT and len(msgspec.json.encode(text)) > MAX_TEXT_BYTES:
            return f"a text is over {MAX_TEXT_BYTES} bytes long"
        if _CONTROL.search(text):
            return "a text holds control characters or characters that were lost in an earlier conversion"
    return None


def _amount_reason(quantity: int, price: Decimal) -> str | None:
    if quantity == 0:
        return "Quantity is zero"
    if abs(quantity) > MAX_QUANTITY:
        return f"Quantity {quantity:,} is beyond {MAX_QUANTITY:,}"
    if abs(price) > MAX_PRICE:
        return f"UnitPrice {price:,} is beyond {MAX_PRICE:,}"
    if price != round(price, PLACES):
        return f"UnitPrice {price} has more than {PLACES} decimal places"
    if abs(quantity * price) > MAX_VALUE:
        return f"Quantity times UnitPrice is beyond {MAX_VALUE:,}"
    return None
