"""`onward status`: where each service stands on each topic."""

from __future__ import annotations

import time
from itertools import groupby

import click

from onward.cli.options import json_option
from onward.cli.output import json_out, table
from onward.cli.stores import view_options
from onward.inspection.status import Holder, Status, with_rates
from onward.inspection.view import StoreView

SAMPLE_S = 1.0


@click.command()
@view_options
@click.option("--watch", is_flag=True, help="Look again every second until Ctrl-C.")
@json_option
def status(view: StoreView, watch: bool, as_json: bool) -> None:
    """Show lag, rate over one second, who holds which partition, dead letters, what is parked behind them, outboxes.

    Exit codes: 0 shown, 1 the store can't be read.

    Example: onward status --watch
    """
    before = view.status()
    try:
        while True:
            before = _sampled(view, before)
            if as_json:
                json_out(before, one_line=watch)
            else:
                if watch:
                    click.clear()
                _print(before)
            if not watch:
                return
    except KeyboardInterrupt:
        return


def _sampled(view: StoreView, before: Status) -> Status:
    began = time.monotonic()
    time.sleep(SAMPLE_S)
    return with_rates(before, view.status(), time.monotonic() - began)


def _print(status: Status) -> None:
    if not status.subscriptions:
        click.echo("No service has subscribed on this store yet: start one with `onward run MODULE:APP`.")
    else:
        table(
            ("service", "topic", "handlers", "lag", "per second", "handled", "dead", "parked", "held by"),
            [
                (
                    each.service,
                    each.topic,
                    ", ".join(each.handlers),
                    each.lag,
                    each.rate_per_s or 0.0,
                    each.handled,
                    each.dead_letters + each.retrying,
                    each.parked,
                    _holders(each.holders),
                )
                for each in status.subscriptions
            ],
        )
    if status.topics:
        click.echo()
        table(
            ("topic", "partitions", "events kept", "bytes kept", "delayed"),
            [(each.topic, each.partitions, each.events, each.bytes, each.delayed) for each in status.topics],
        )
    if status.outboxes:
        click.echo()
        table(
            ("outbox", "oldest waits s", "relay"),
            [(each.service, each.oldest_age_s, "leads" if each.led else "none leads") for each in status.outboxes],
        )
        for each in status.outboxes:
            for barred in each.barred:
                click.echo(f"\n{each.service}: events for topic {barred.topic} wait, the others go on. {barred.why}")
    if status.unknown:
        click.echo(f"\n{status.unknown}")


def _holders(holders: tuple[Holder, ...]) -> str:
    """`pid 41: 0-3; nobody: 4-7`; a process that may be on another machine by the end of its member's id.

    `last …` is one that may be dead.
    """
    by_reader: dict[str, list[int]] = {}
    for holder in holders:
        reader = "nobody" if holder.member is None else f"…{holder.member[-8:]}"
        if holder.pid is not None:
            reader = f"pid {holder.pid}"
        elif not holder.sure:
            reader = f"last {reader}"
        by_reader.setdefault(reader, []).append(holder.partition)
    return "; ".join(f"{reader}: {_ranges(partitions)}" for reader, partitions in by_reader.items())


def _ranges(numbers: list[int]) -> str:
    runs: list[str] = []
    for _, run in groupby(enumerate(numbers), key=lambda pair: pair[1] - pair[0]):
        found = [number for _, number in run]
        runs.append(str(found[0]) if len(found) == 1 else f"{found[0]}-{found[-1]}")
    return ",".join(runs)
