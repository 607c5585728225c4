"""Which rows are order lines, and what is said of those that are not."""

import io
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onward.blueprints.shop.orders_csv.errors import OrdersFileError
from onward.blueprints.shop.orders_csv.records import LINE_BYTES, Record, Reject, records
from onward.blueprints.shop.orders_csv.rows import Row, RowReader

HEADER = b"InvoiceNo,StockCode,Description,Quantity,UnitPrice,CustomerID,Country\r\n"
GOOD = b"536365,85123A,HANGING HEART,6,2.55,17850,United Kingdom\r\n"


def read(body: bytes, header: bytes = HEADER) -> list[Row | Reject]:
    found = records(io.BytesIO(header + body))
    reader = RowReader(next(found, None))
    return [record if isinstance(record, Reject) else reader.row(record) for record in found]


def only(body: bytes) -> Row | Reject:
    (row,) = read(body)
    return row


def reasons(body: bytes) -> list[tuple[int, str] | int]:
    return [(row.line, row.reason) if isinstance(row, Reject) else row.number for row in read(body)]


def test_a_row_is_read_as_it_stands() -> None:
    row = only(GOOD)
    assert isinstance(row, Row)
    assert (row.number, row.invoice, row.customer_id, row.country) == (2, "536365", "17850", "United Kingdom")
    assert (row.line.sku, row.line.quantity, row.line.unit_price) == ("85123A", 6, Decimal("2.55"))


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (b"536365,85123A,HEART,6,2.55,17850", "it has 6 columns where the header has 7"),
        (b"536365,85123A,HEART,6,2.55,17850,UK,", "it has 8 columns where the header has 7"),
        (b",85123A,HEART,6,2.55,17850,UK", "InvoiceNo is empty"),
        (b"536365, ,HEART,6,2.55,17850,UK", "StockCode is empty"),
        (b"C,85123A,HEART,6,2.55,17850,UK", "InvoiceNo is a C without a number"),
        (b"536365,85123A,HEART,six,2.55,17850,UK", "Quantity 'six' is not a whole number"),
        (b"536365,85123A,HEART,6.0,2.55,17850,UK", "Quantity '6.0' is not a whole number"),
        (b"536365,85123A,HEART,1_0,2.55,17850,UK", "Quantity '1_0' is not a whole number"),
        (b"536365,85123A,HEART,,2.55,17850,UK", "Quantity '' is not a whole number"),
        (b"536365,85123A,HEART,0,2.55,17850,UK", "Quantity is zero"),
        (b"536365,85123A,HEART,1000001,2.55,17850,UK", "Quantity 1,000,001 is beyond 1,000,000"),
        (b"536365,85123A,HEART,6,NaN,17850,UK", "UnitPrice 'NaN' is not a number"),
        (b"536365,85123A,HEART,6,Infinity,17850,UK", "UnitPrice 'Infinity' is not a number"),
        (b"536365,85123A,HEART,6,1e9,17850,UK", "UnitPrice '1e9' is not a number"),
        (b"536365,85123A,HEART,6,.,17850,UK", "UnitPrice '.' is not a number"),
        (b"536365,85123A,HEART,6,1000000.01,17850,UK", "UnitPrice 1,000,000.01 is beyond 1,000,000"),
        (b"536365,85123A,HEART,6,0.00001,17850,UK", "UnitPrice 0.00001 has more than 4 decimal places"),
        (b"536365,85123A,HEART,1000000,1000,17850,UK", "Quantity times UnitPrice is beyond 100,000,000"),
        (b"536365,85123A,HE\0RT,6,2.55,17850,UK", "a text holds control characters"),
        (b"536365,85123A,HEART,6,2.55,17850,\x81K", "the text is neither UTF-8 nor Windows-1252"),
        (b"536365," + b"x" * 33 + b",HEART,6,2.55,17850,UK", "StockCode is over 32 characters long"),
        (b"536365,85123A," + b"x" * 249 + b",6,2.55,17850,UK", "a text is over 250 bytes long"),
        (b"5\x073,85123A,HEART,6,2.55,17850,UK", "InvoiceNo holds characters that can't be printed"),
    ],
)
def test_a_row_that_cannot_be_an_order_line_says_why_and_stops_nothing(row: bytes, reason: str) -> None:
    before, reject, after = read(GOOD + row + b"\n" + GOOD)
    assert isinstance(reject, Reject)
    assert reject.line == 3
    assert reject.reason.startswith(reason)
    assert reject.original == row
    assert isinstance(before, Row)
    assert isinstance(after, Row)


@pytest.mark.parametrize(
    ("row", "quantity", "price"),
    [
        (b"A563185,B,Adjust bad debt,1,-11062.06,,UK", 1, "-11062.06"),
        (b"536589,21777,,-10,0,,UK", -10, "0"),
        (b"536365, 85123A ,HEART, +6 , 2.5 ,17850,UK", 6, "2.5"),
        (b"536365,85123A,HEART,6,0.0010000,17850,UK", 6, "0.001"),
        (b"536365,85123A,HEART,6,.5,17850,UK", 6, "0.5"),
    ],
)
def test_adjustments_giveaways_and_odd_spellings_are_order_lines(row: bytes, quantity: int, price: str) -> None:
    found = only(row)
    assert isinstance(found, Row)
    assert (found.line.quantity, found.line.unit_price) == (quantity, Decimal(price))


@pytest.mark.parametrize("text", ["£40 voucher".encode("cp1252"), "£40 voucher".encode()])
def test_old_and_new_encodings_are_both_read(text: bytes) -> None:
    row = only(b"1,gift," + text + b",1,34.04,,UK\n")
    assert isinstance(row, Row)
    assert row.line.description == "£40 voucher"


def test_quoted_fields_may_hold_commas_quotes_and_line_ends() -> None:
    row, after = read(b'1,a,"SET OF 3, ""BIG"",\nRED",1,1,,UK\n' + GOOD)
    assert isinstance(row, Row)
    assert row.line.description == 'SET OF 3, "BIG",\nRED'
    assert isinstance(after, Row)
    assert after.number == 4


def test_a_quote_never_closed_costs_its_own_line_only() -> None:
    rows = reasons(b'1,a,"open,1,1,,UK\n' + GOOD * 3)
    assert rows == [(2, "a quote is opened and never closed"), 3, 4, 5]


def test_a_quote_in_the_wrong_place_costs_its_own_line_only() -> None:
    (reject, row) = read(b'1,a,"wrong"place,1,1,,UK\n' + GOOD)
    assert isinstance(reject, Reject)
    assert reject.reason.startswith("the quotes are wrong")
    assert isinstance(row, Row)


def test_an_endless_line_costs_itself_only() -> None:
    rows = read(b"1,a," + b"x" * (3 * LINE_BYTES) + b"\n" + GOOD)
    assert isinstance(rows[0], Reject)
    assert rows[0].reason == "the line is over 65,536 bytes long"
    assert len(rows[0].original) == 4096
    assert isinstance(rows[1], Row)
    assert rows[1].number == 3


def test_a_line_that_fills_the_limit_at_the_end_of_the_file_is_one_reject() -> None:
    assert reasons(b"x" * LINE_BYTES) == [(2, "the line is over 65,536 bytes long")]


def test_blank_lines_count_but_are_no_rows() -> None:
    assert reasons(b"\r\n\n" + GOOD + b"\n") == [4]


def test_columns_may_stand_in_any_order_among_others_after_a_byte_order_mark() -> None:
    header = b"\xef\xbb\xbfCountry,customerid, UnitPrice,Quantity,Description,StockCode,InvoiceNo,InvoiceDate\n"
    (row,) = read(b"UK,9,1.5,2,Mug,m,77,yesterday\n", header)
    assert isinstance(row, Row)
    assert (row.invoice, row.customer_id, row.line.quantity, row.country) == ("77", "9", 2, "UK")


@pytest.mark.parametrize("header", [b"", b"InvoiceNo;StockCode\n", b"InvoiceNo,StockCode,Description,Quantity,Price\n"])
def test_a_file_with_other_columns_is_refused_as_a_whole(header: bytes) -> None:
    with pytest.raises(OrdersFileError, match="must name the columns InvoiceNo, StockCode"):
        read(b"", header)


@given(st.binary(max_size=300))
def test_any_bytes_are_rows_or_rejects_and_never_an_error(body: bytes) -> None:
    assert {type(found) for found in read(body)} <= {Row, Reject}


@given(st.text(alphabet='1a",\n.-', max_size=60))
def test_no_text_swallows_the_good_rows_behind_it(text: str) -> None:
    rows = read(text.encode() + b"\n" + GOOD * 20)
    assert sum(isinstance(row, Row) and row.invoice == "536365" for row in rows) >= 4


def test_records_are_read_one_at_a_time() -> None:
    def endless() -> io.RawIOBase:
        class Endless(io.RawIOBase):
            def readable(self) -> bool:
                return True

            def readinto(self, buffer: bytearray) -> int:  # type: ignore[override]
                chunk = GOOD[: len(buffer)]
                buffer[: len(chunk)] = chunk
                return len(chunk)

        return Endless()

    found = records(io.BufferedReader(endless(), buffer_size=len(GOOD)))
    assert [type(next(found)) for _ in range(5)] == [Record] * 5
