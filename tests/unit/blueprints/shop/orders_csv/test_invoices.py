"""Invoices from files: adjacent or scattered, packed or plain, damaged or whole."""

import gzip
from decimal import Decimal
from pathlib import Path

import pytest

from onward.blueprints.shop.lines import Kind
from onward.blueprints.shop.orders_csv import OrdersFileError, Reject, Survey, read_invoices, rejects_file, take_survey

HEADER = "InvoiceNo,StockCode,Description,Quantity,UnitPrice,CustomerID,Country\n"
EARLIER = "line,reason,original\n3,of an earlier run,x\n"


def written(tmp_path: Path, body: str) -> Path:
    path = tmp_path / "orders.csv"
    path.write_text(HEADER + body, encoding="utf-8")
    return path


def surveyed(path: Path) -> tuple[Survey, list[Reject]]:
    rejects: list[Reject] = []
    return take_survey(path, rejected=rejects.append), rejects


def shape(path: Path) -> list[tuple[str, list[str]]]:
    found, _ = surveyed(path)
    return [(invoice.number, [line.sku for line in invoice.lines]) for invoice in read_invoices(path, found.scattered)]


def test_rows_of_one_number_are_one_invoice_in_file_order(tmp_path: Path) -> None:
    path = written(tmp_path, "1,a,,1,1,9,UK\n1,b,,1,1,9,UK\n2,c,,1,1,,FR\nC3,a,,-1,1,9,UK\n")
    found, _ = surveyed(path)
    first, second, third = read_invoices(path, found.scattered)
    assert (first.order_id, first.customer_id, [line.sku for line in first.lines]) == ("1", "9", ["a", "b"])
    assert (second.customer_id, second.country) == (None, "FR")
    assert (third.is_cancellation, third.number, third.order_id) == (True, "C3", "3")
    assert (found.orders, found.cancellations, found.rows) == (2, 1, 4)


def test_scattered_rows_are_one_invoice_where_its_last_row_stands(tmp_path: Path) -> None:
    path = written(tmp_path, "1,a,,1,1,,UK\n2,b,,1,1,,UK\n1,c,,1,1,,UK\n3,d,,1,1,,UK\n1,e,,1,1,,UK\n4,f,,1,1,,UK\n")
    assert shape(path) == [("2", ["b"]), ("3", ["d"]), ("1", ["a", "c", "e"]), ("4", ["f"])]
    assert surveyed(path)[0].scattered == {"1": 3}


def test_totals_are_exact_and_by_kind(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        "1,a,,6,2.55,,UK\n1,b,,2,0,,UK\n2,a,,-4,0,,UK\nA3,B,,1,-110.06,,UK\nC4,a,,-2,2.55,,UK\nC4,a,,zero,1,,UK\n",
    )
    found, rejects = surveyed(path)
    assert {kind: (total.lines, total.units, total.amount) for kind, total in found.totals.items()} == {
        Kind.SALE: (1, 6, Decimal("15.30")),
        Kind.GIVEAWAY: (1, 2, Decimal(0)),
        Kind.ADJUSTMENT: (2, -3, Decimal("-110.06")),
        Kind.RETURN: (1, -2, Decimal("-5.10")),
    }
    assert [(reject.line, reject.original) for reject in rejects] == [(7, b"C4,a,,zero,1,,UK")]
    assert found.rejected == 1


def test_an_invoice_takes_a_bounded_number_of_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("onward.blueprints.shop.orders_csv.survey.INVOICE_LINES", 2)
    monkeypatch.setattr("onward.blueprints.shop.orders_csv.invoices.INVOICE_LINES", 2)
    path = written(tmp_path, "1,a,,1,1,,UK\n1,b,,1,1,,UK\n1,c,,1,1,,UK\n2,d,,1,1,,UK\n")
    found, rejects = surveyed(path)
    assert [(reject.line, reject.reason) for reject in rejects] == [(4, "invoice 1 already has 2 lines")]
    assert rejects[0].original == b"1,c,,1,1,,UK"
    assert found.totals[Kind.SALE].units == 3
    assert shape(path) == [("1", ["a", "b"]), ("2", ["d"])]


@pytest.mark.parametrize(("limit", "said"), [("MAX_INVOICES", "more than 1 invoices"), ("HELD_ROWS", "not adjacent")])
def test_a_file_beyond_the_bounds_is_refused_before_anything_is_published(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: str, said: str
) -> None:
    monkeypatch.setattr(f"onward.blueprints.shop.orders_csv.survey.{limit}", 1)
    with pytest.raises(OrdersFileError, match=said):
        surveyed(written(tmp_path, "1,a,,1,1,,UK\n2,b,,1,1,,UK\n1,c,,1,1,,UK\n"))


def test_gzip_is_known_by_its_bytes_and_not_by_its_name(tmp_path: Path) -> None:
    path = tmp_path / "orders.csv"
    path.write_bytes(gzip.compress((HEADER + "1,a,,1,1,,UK\n").encode()))
    assert shape(path) == [("1", ["a"])]


def test_a_file_that_stops_being_gzip_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "orders.csv.gz"
    path.write_bytes(gzip.compress((HEADER + "1,a,,1,1,,UK\n" * 5000).encode())[:-20])
    with pytest.raises(OrdersFileError, match="stops being gzip before its end"):
        surveyed(path)


def test_an_absent_file_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(OrdersFileError, match="can't be read: No such file"):
        surveyed(tmp_path / "absent.csv")


def test_the_same_bytes_have_the_same_digest_and_others_another(tmp_path: Path) -> None:
    first = surveyed(written(tmp_path, "1,a,,1,1,,UK\n"))[0].digest
    assert surveyed(written(tmp_path, "1,a,,1,1,,UK\n"))[0].digest == first
    assert surveyed(written(tmp_path, "1,a,,2,1,,UK\n"))[0].digest != first


def test_rejects_are_kept_with_line_reason_and_original_text(tmp_path: Path) -> None:
    path = tmp_path / "rejects.csv"
    with rejects_file(path) as keep:
        keep(Reject(3, "Quantity is zero", b'1,a,"x, y",0,1,,UK'))
        keep(Reject(4, "odd bytes", b"\x81\xff"))
        assert not path.exists()
    assert path.read_text(encoding="utf-8").splitlines() == [
        "line,reason,original",
        '3,Quantity is zero,"1,a,""x, y"",0,1,,UK"',
        "4,odd bytes,\\x81\\xff",
    ]
    assert list(tmp_path.iterdir()) == [path]


def test_without_rejects_there_is_no_file_and_an_old_one_is_emptied(tmp_path: Path) -> None:
    path = tmp_path / "rejects.csv"
    with rejects_file(path):
        pass
    assert not path.exists()
    path.write_text(EARLIER, encoding="utf-8")
    with rejects_file(path):
        pass
    assert path.read_text(encoding="utf-8").splitlines() == ["line,reason,original"]


def test_a_place_that_cannot_be_written_is_a_sentence_before_anything_is_read(tmp_path: Path) -> None:
    with pytest.raises(OrdersFileError, match="name another file with --rejects"):
        rejects_file(tmp_path / "absent" / "rejects.csv").__enter__()


def test_a_failure_leaves_the_earlier_rejects_file_alone(tmp_path: Path) -> None:
    path = tmp_path / "rejects.csv"
    path.write_text(EARLIER, encoding="utf-8")

    def fail() -> None:
        with rejects_file(path) as keep:
            keep(Reject(1, "why", b""))
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert path.read_text(encoding="utf-8") == EARLIER
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("content", [b"InvoiceNo,StockCode\n1,a\n", b"\x1f\x8b\x08", b"\nline,reason,original\n"])
def test_what_is_no_rejects_file_is_never_replaced(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "orders.csv.gz"
    path.write_bytes(content)
    with pytest.raises(OrdersFileError, match=r"in place of what is there.* name another file with --rejects"):
        rejects_file(path).__enter__()
    assert path.read_bytes() == content
    assert list(tmp_path.iterdir()) == [path]


def test_a_device_is_never_replaced_by_a_file() -> None:
    with pytest.raises(OrdersFileError, match="name another file with --rejects"):
        rejects_file(Path("/dev/null")).__enter__()


def test_an_empty_file_may_become_a_rejects_file(tmp_path: Path) -> None:
    path = tmp_path / "rejects.csv"
    path.touch()
    with rejects_file(path) as keep:
        keep(Reject(3, "Quantity is zero", b"x"))
    assert path.read_text(encoding="utf-8") == "line,reason,original\n3,Quantity is zero,x\n"
