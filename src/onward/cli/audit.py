"""`onward audit`: prove that every event is accounted for, or name what is not."""

from __future__ import annotations

import sys
from time import monotonic

import click

from onward.cli.options import json_option
from onward.cli.output import QUIET_S, json_out, progress, table
from onward.cli.stores import view_options
from onward.inspection.report import Progress, Report
from onward.inspection.view import Ruling, StoreView

WRONG = 3


@click.command()
@view_options
@click.option("--deep", is_flag=True, help="Compare the ids of all events, not only of the last 400,000.")
@click.option(
    "--accept",
    "accepted",
    metavar="ID",
    type=click.IntRange(1, (1 << 63) - 1),
    multiple=True,
    help="Count this finding as seen to from now on; may be repeated.",
)
@json_option
def audit(view: StoreView, deep: bool, accepted: tuple[int, ...], as_json: bool) -> None:
    """Account for every event: published = done + skipped + in flight + lost, for each subscription.

    Names each lost event, each doubled one, each sum that does not come out even, and each row that violates an
    invariant that a service declared. Changes nothing but what it is told to accept, and adds up rightly while services
    run.

    Exit codes: 0 balanced, 1 the store or its broker can't be read, or there is no finding to accept of that id, 3
    something is wrong.

    Example: onward audit --database shop.db
    """
    if accepted:
        view.rule(Ruling.ACCEPT, accepted)
    report = view.audit(deep=deep, progress=_teller())
    progress("")
    if as_json:
        json_out({"balanced": report.balanced, "report": report})
    else:
        _print(report)
    if not report.balanced:
        sys.exit(WRONG)


def _teller() -> Progress:
    """Says how far it is, once that takes longer than people wait without a word."""
    began = monotonic()

    def tell(what: str, done: int, of: int) -> None:
        if monotonic() - began > QUIET_S:
            progress(f"Auditing the {what}: {done:,} of {of:,} …")

    return tell


def _print(report: Report) -> None:
    busy = [each for each in report.tallies if each.published or each.done]
    if busy:
        table(
            ("subscription", "partition", "published", "done", "skipped", "in flight", "lost"),
            [
                (each.subscription, each.partition, each.published, each.done, each.skipped, each.in_flight, each.lost)
                for each in busy
            ],
        )
        click.echo()
    if report.unknown:
        click.echo(report.unknown)
    for problem in report.problems:
        remedy = f" Once seen to: `onward audit --accept {problem.id}`." if problem.id is not None else ""
        click.echo(f"{problem.kind.value}: {problem.sentence}{remedy}")
    for problem in report.accepted:
        click.echo(f"accepted on {problem.accepted}: {problem.kind.value}: {problem.sentence}")
    if report.balanced:
        click.echo(
            f"Balanced: {report.events:,} events in the log, {len(report.tallies)} accounts and {report.invariants}"
            " invariants hold."
        )
    else:
        click.echo(f"NOT balanced: {len(report.problems)} findings.")
