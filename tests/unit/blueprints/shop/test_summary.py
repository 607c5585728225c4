"""The end of a replay says the same to people and to programs, and says loudly what is not exact."""

import io
from dataclasses import replace
from decimal import Decimal

import pytest
from rich.console import Console

from onward.blueprints.shop.books import Books
from onward.blueprints.shop.lines import Kind
from onward.blueprints.shop.orders_csv import Survey, Total
from onward.blueprints.shop.summary import Summary, as_json, show
from onward.runtime.outlook import Verdict

SURVEY = Survey(
    digest="d",
    orders=2,
    cancellations=1,
    rows=4,
    rejected=0,
    totals={
        Kind.SALE: Total(2, 6, 153_000),
        Kind.GIVEAWAY: Total(1, 2, 0),
        Kind.ADJUSTMENT: Total(),
        Kind.RETURN: Total(1, -2, -51_000),
    },
    scattered={},
)
BOOKS = Books(
    reserved={Kind.SALE: 6, Kind.GIVEAWAY: 2, Kind.ADJUSTMENT: 0},
    returned=2,
    taken={Kind.SALE: Decimal("15.30"), Kind.GIVEAWAY: Decimal("0.00"), Kind.ADJUSTMENT: Decimal("0.00")},
    refunded=Decimal("5.10"),
    parcels=2,
    parcel_units=8,
    returned_units=2,
    open_parcels=0,
)
EXACT = Summary(
    file="[bold]orders.csv",
    rejects_file=None,
    survey=SURVEY,
    published=3,
    books=BOOKS,
    dead_letters=0,
    verdict=Verdict(events=12, invariants=11, problems=()),
)


def text_of(summary: Summary) -> str:
    written = io.StringIO()
    show(summary, Console(file=written, width=100))
    return written.getvalue()


def test_people_and_programs_get_the_same_figures() -> None:
    data = as_json(EXACT)
    assert data["payment"] == {
        "taken": {"sale": "15.30", "giveaway": "0.00", "adjustment": "0.00"},
        "refunded": "5.10",
        "net_money": "10.20",
    }
    assert data["totals"]["return"] == {"lines": 1, "units": -2, "money": "-5.10"}
    assert (data["inventory"]["net_units"], data["exact"]) == (6, True)
    text = text_of(EXACT)
    assert "2 orders and 1 cancellations in 4 rows of [bold]orders.csv" in text
    assert "£10.20" in text
    assert (
        "Every sum is the file's, to the penny. The audit balances: 12 events in the log, 11 invariants hold." in text
    )


@pytest.mark.parametrize(
    ("summary", "said"),
    [
        (replace(EXACT, published=2), "NOT exact"),
        (
            replace(EXACT, books=replace(BOOKS, refunded=Decimal("5.20"))),
            "differs: money refunded: the file says £5.10, the services £5.20",
        ),
        (replace(EXACT, verdict=Verdict(12, 11, ("lost: orders 3",))), "lost: orders 3"),
        (replace(EXACT, dead_letters=2, published=2), "2 dead letters; see `onward dead-letters list`"),
    ],
)
def test_what_is_not_exact_is_said(summary: Summary, said: str) -> None:
    text = text_of(summary)
    assert said in text
    assert "NOT exact" in text
    assert "to the penny" not in text
    assert as_json(summary)["exact"] is False


def test_rows_left_out_are_counted_and_do_not_make_a_replay_inexact() -> None:
    summary = replace(EXACT, survey=replace(SURVEY, rejected=6), rejects_file="orders.rejects.csv")
    assert "6 rows were left out; each is in orders.rejects.csv with its reason" in text_of(summary)
    assert as_json(summary)["exact"] is True
