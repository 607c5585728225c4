"""The end of a replay, for people as tables and for programs as one JSON object with the same figures."""

from dataclasses import dataclass
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from onward.blueprints.shop.books import ORDER_KINDS, Books, differences
from onward.blueprints.shop.lines import Kind
from onward.blueprints.shop.money import from_e4, pounds
from onward.blueprints.shop.orders_csv import Survey
from onward.runtime.outlook import Verdict

SHOWN_PROBLEMS = 20


@dataclass(frozen=True, slots=True)
class Summary:
    """What a file held, what the services made of it, and what the audit found."""

    file: str
    rejects_file: str | None
    survey: Survey
    published: int
    books: Books
    dead_letters: int
    verdict: Verdict

    @property
    def differences(self) -> list[str]:
        return differences(self.survey, self.books)

    @property
    def exact(self) -> bool:
        """Everything was published, every sum is the file's, and the audit found nothing."""
        return self.published == self.survey.invoices and not self.differences and self.verdict.balanced


def as_json(summary: Summary) -> dict[str, Any]:
    """Money as text, so that no reader makes a float of it."""
    survey, books = summary.survey, summary.books
    return {
        "file": summary.file,
        "rows": survey.rows,
        "rejected": survey.rejected,
        "rejects_file": summary.rejects_file,
        "orders": survey.orders,
        "cancellations": survey.cancellations,
        "published": summary.published,
        "totals": {
            kind.value: {"lines": total.lines, "units": total.units, "money": str(total.amount)}
            for kind, total in survey.totals.items()
        },
        "inventory": {
            "reserved": {kind.value: books.reserved[kind] for kind in ORDER_KINDS},
            "returned": books.returned,
            "net_units": books.net_units,
        },
        "payment": {
            "taken": {kind.value: str(books.taken[kind]) for kind in ORDER_KINDS},
            "refunded": str(books.refunded),
            "net_money": str(books.net_money),
        },
        "shipping": {
            "parcels": books.parcels,
            "units_sent": books.parcel_units,
            "units_sent_back": books.returned_units,
            "open_parcels": books.open_parcels,
        },
        "dead_letters": summary.dead_letters,
        "differences": summary.differences,
        "audit": {
            "balanced": summary.verdict.balanced,
            "events": summary.verdict.events,
            "invariants": summary.verdict.invariants,
            "problems": list(summary.verdict.problems),
        },
        "exact": summary.exact,
    }


def show(summary: Summary, console: Console) -> None:
    """Print the tables and the verdict."""
    survey, books = summary.survey, summary.books
    console.print(
        f"{survey.orders:,} orders and {survey.cancellations:,} cancellations in {survey.rows:,} rows of"
        f" {summary.file}",
        highlight=False,
        markup=False,
        soft_wrap=True,
    )
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("")
    for heading in ("file: units", "inventory", "file: money", "payment"):
        table.add_column(heading, justify="right")
    for kind in ORDER_KINDS:
        total = survey.totals[kind]
        table.add_row(
            f"{kind.value}s",
            f"{total.units:,}",
            f"{books.reserved[kind]:,}",
            pounds(total.amount),
            pounds(books.taken[kind]),
        )
    returns = survey.totals[Kind.RETURN]
    table.add_row(
        "returns", f"{returns.units:,}", f"{-books.returned:,}", pounds(returns.amount), pounds(-books.refunded)
    )
    table.add_section()
    units = sum(total.units for total in survey.totals.values())
    money = sum(total.amount_e4 for total in survey.totals.values())
    table.add_row("[bold]net", f"{units:,}", f"{books.net_units:,}", _money(money), pounds(books.net_money))
    console.print(table)
    console.print(
        f"shipping sent {books.parcels:,} parcels with {books.parcel_units:,} units, and expects"
        f" {books.returned_units:,} units back",
        highlight=False,
        markup=False,
        soft_wrap=True,
    )
    _show_verdict(summary, console)


def _show_verdict(summary: Summary, console: Console) -> None:
    if summary.survey.rejected:
        console.print(
            f"{summary.survey.rejected:,} rows were left out; each is in {summary.rejects_file} with its reason",
            highlight=False,
            markup=False,
            soft_wrap=True,
        )
    for sentence in summary.differences:
        console.print(f"differs: {sentence}", highlight=False, markup=False, soft_wrap=True, style="red")
    for sentence in summary.verdict.problems[:SHOWN_PROBLEMS]:
        console.print(sentence, highlight=False, markup=False, soft_wrap=True, style="red")
    if summary.dead_letters:
        console.print(
            f"{summary.dead_letters:,} dead letters; see `onward dead-letters list`",
            highlight=False,
            markup=False,
            soft_wrap=True,
            style="red",
        )
    if summary.exact:
        console.print(
            f"Every sum is the file's, to the penny. The audit balances: {summary.verdict.events:,} events in the log,"
            f" {summary.verdict.invariants} invariants hold.",
            highlight=False,
            markup=False,
            soft_wrap=True,
            style="green",
        )
    else:
        console.print("NOT exact; see above.", style="bold red")


def _money(amount_e4: int) -> str:
    return pounds(from_e4(amount_e4))
