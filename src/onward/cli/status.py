"""`onward status`: where each service stands on each topic."""

from __future__ import annotations

import time
from itertools import groupby
from pathlib import Path

import click

from onward.cli.options import database_option, json_option
from onward.cli.output import json_out, table
from onward.sqlite.inspection import Inspection, inspecting
from onward.sqlite.status import Holder, Status, with_rates
from onward.sqlite.status import status as look

SAMPLE_S = 1.0


@click.command()
@database_option
@click.option("--watch", is_flag=True, help="Look again every second until Ctrl-C.")
@json_option
def status(database: Path, watch: bool, as_json: bool) -> None:
    """Show lag, rate over one second, who holds which partition, and dead letters, by service and topic.

    Exit codes: 0 shown, 1 the file can't be read.

    Example: onward status --watch
    """
    with inspecting(database) as inspection:
        before = look(inspection)
        try:
            while True:
                before = _sampled(inspection, before)
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


def _sampled(inspection: Inspection, before: Status) -> Status:
    began = time.monotonic()
    time.sleep(SAMPLE_S)
    return with_rates(before, look(inspection), time.monotonic() - began)


def _print(status: Status) -> None:
    if not status.subscriptions:
        click.echo("No service has subscribed on this file yet: start one with `onward run MODULE:APP`.")
    else:
        table(
            ("service", "topic", "handlers", "lag", "per second", "handled", "dead", "held by"),
            [
                (
                    each.service,
                    each.topic,
                    ", ".join(each.handlers),
                    each.lag,
                    each.rate_per_s or 0.0,
                    each.handled,
                    each.dead_letters + each.retrying,
                    _holders(each.holders),
                )
                for each in status.subscriptions
            ],
        )
    click.echo()
    table(
        ("topic", "partitions", "events kept", "bytes kept", "delayed"),
        [(each.topic, each.partitions, each.events, each.bytes, each.delayed) for each in status.topics],
    )


def _holders(holders: tuple[Holder, ...]) -> str:
    """`pid 41: 0-3; nobody: 4-7`."""
    by_pid: dict[int | None, list[int]] = {}
    for holder in holders:
        by_pid.setdefault(holder.pid, []).append(holder.partition)
    return "; ".join(
        f"{'nobody' if pid is None else f'pid {pid}'}: {_ranges(partitions)}" for pid, partitions in by_pid.items()
    )


def _ranges(numbers: list[int]) -> str:
    runs: list[str] = []
    for _, run in groupby(enumerate(numbers), key=lambda pair: pair[1] - pair[0]):
        found = [number for _, number in run]
        runs.append(str(found[0]) if len(found) == 1 else f"{found[0]}-{found[-1]}")
    return ",".join(runs)
