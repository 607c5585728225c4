"""`onward demo shop`: the interactive shop, or a replay of real orders."""

import asyncio
import json
import os
import sys
from pathlib import Path

import click
from rich.console import Console

from onward.blueprints.shop import replay, replaying, summary
from onward.blueprints.shop.open_shop import keep_open
from onward.blueprints.shop.terminal import shown
from onward.settings import Settings
from onward.settings import shown as shown_address

UNFINISHED = 3


@click.command(
    name="shop",
    help="""Run the shop: inventory, payment and shipping, each a service of its own.

    Without --orders it opens a storefront at a local address: order, watch the journey, stop a service and start it
    again. With --orders it replays invoices from a CSV file (gzip too), compares every sum with the file's, and
    audits the log; killed in the middle it goes on where it was when started again.

    Exit codes: 0 closed, or every sum exact; 1 it failed and says why; 2 wrong usage; 3 a sum differs, the audit found
    something, or it was stopped before the end.

    Example: onward demo shop --orders online-retail.csv.gz --json
    """,
)
@click.option("--orders", type=click.Path(path_type=Path), help="A CSV file of invoices to replay.")
@click.option(
    "--rejects",
    type=click.Path(path_type=Path),
    help="Where rows that can't be order lines are kept; by default NAME.rejects.csv in this folder.",
)
@click.option(
    "--database", "-d", metavar="PATH", help="The SQLite file; by default what ONWARD_STORE names, else ./onward.db."
)
@click.option("--store", metavar="URL", help="sqlite:///FILE or postgresql://…, in place of ONWARD_STORE.")
@click.option("--broker", metavar="URL", help="sqlite:///FILE or kafka://…, in place of ONWARD_BROKER.")
@click.option(
    "--port", type=click.IntRange(0, 65535), help="Where the storefront listens; by default 8765, or any free."
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")
def main(
    orders: Path | None,
    rejects: Path | None,
    database: str | None,
    store: str | None,
    broker: str | None,
    port: int | None,
    as_json: bool,
) -> None:
    if database is not None and store is not None:
        raise click.UsageError("--store and --database both name the store; leave one of them out.")
    if database is not None:
        store = f"sqlite:///{database.removeprefix('sqlite:///')}"
    # The services are children and read it there.
    os.environ.update({name: url for name, url in (("ONWARD_STORE", store), ("ONWARD_BROKER", broker)) if url})
    os.environ.setdefault("ONWARD_LOG_LEVEL", "WARNING")
    where = replay.app.settings  # which fails here and not in a child where it can't be used
    if orders is None:
        sys.exit(_open(where, port, as_json))
    sys.exit(_replay(orders, rejects or Path(f"{_stem(orders)}.rejects.csv"), as_json))


def _open(where: Settings, port: int | None, as_json: bool) -> int:
    place = shown_address(where.store) if where.database is None else str(where.database)
    events = f", its events on {shown_address(where.broker)}" if not where.is_one_file else ""

    def opened(address: str) -> None:
        if as_json:
            click.echo(json.dumps({"address": address, "database": place}))
        else:
            click.echo(f"The shop is open at {address} (its data is in {place}{events}). Ctrl-C closes it.")

    states, finished = asyncio.run(keep_open(port, opened))
    for state in states:
        fact = {"service": state.name, "handled": state.handled, "dead": state.dead}
        sentence = f"{state.name}: {state.handled:,} events handled, {state.dead:,} dead letters"
        click.echo(json.dumps(fact) if as_json else sentence)
    return 0 if finished else UNFINISHED


def _replay(orders: Path, rejects: Path, as_json: bool) -> int:
    console = Console(stderr=True)
    with shown(console) as progress:
        survey, named = replaying.look_into(orders, rejects, progress)
        for reject in named:
            console.print(f"line {reject.line}: {reject.reason}", markup=False, highlight=False, soft_wrap=True)
        if survey.rejected > len(named):
            console.print(
                f"… and {survey.rejected - len(named):,} more, in {rejects}",
                markup=False,
                highlight=False,
                soft_wrap=True,
            )
        ended = asyncio.run(replaying.run(orders, survey, rejects, progress))
    if isinstance(ended, int):
        sentence = (
            f"Stopped with {ended:,} of {survey.invoices:,} invoices published; the same command goes on from there."
        )
        click.echo(json.dumps({"published": ended, "invoices": survey.invoices}) if as_json else sentence)
        return UNFINISHED
    if as_json:
        click.echo(json.dumps(summary.as_json(ended), indent=2))
    else:
        summary.show(ended, Console())
    return 0 if ended.exact else UNFINISHED


def _stem(orders: Path) -> str:
    return orders.name.removesuffix(".gz").removesuffix(".csv")
