"""`onward tail`: the events of a topic as they are in the log, and those that come."""

from __future__ import annotations

import time
from pathlib import Path

import click

from onward.cli.options import database_option
from onward.cli.output import as_data, as_text, json_out
from onward.sqlite.inspection import inspecting
from onward.sqlite.records import LogRecord, Tail

POLL_S = 0.2


@click.command()
@click.argument("topic", required=False)
@database_option
@click.option("--from-beginning", is_flag=True, help="Begin with the oldest event that is kept.")
@click.option(
    "-n",
    "--lines",
    type=click.IntRange(0),
    default=10,
    show_default=True,
    help="Begin so many events before each partition's end.",
)
@click.option("--follow", "-f", is_flag=True, help="Go on with what comes, until Ctrl-C.")
@click.option("--json", "as_lines", is_flag=True, help="Print one JSON object a line, for programs.")
def tail(topic: str | None, database: Path, from_beginning: bool, lines: int, follow: bool, as_lines: bool) -> None:
    """Show the events of TOPIC, or of all topics, in order of time.

    Exit codes: 0 shown, 1 the file can't be read or has no such topic.

    Example: onward tail orders --from-beginning --json
    """
    with inspecting(database) as inspection:
        found = Tail(inspection, topic)
        found.start(last=None if from_beginning else lines)
        try:
            while True:
                for record in found.read():
                    _print(record, as_lines)
                if not follow:
                    return
                time.sleep(POLL_S)
        except KeyboardInterrupt:
            return


def _print(record: LogRecord, as_lines: bool) -> None:
    if as_lines:
        json_out(
            {
                "topic": record.topic,
                "partition": record.partition,
                "offset": record.offset,
                "id": record.id,
                "source": record.source,
                "type": record.type,
                "version": record.version,
                "time": record.time,
                "key": record.key,
                "extensions": as_data(record.extra),
                "data": as_data(record.value),
            },
            one_line=True,
        )
        return
    place = f"{record.topic}/{record.partition}@{record.offset}"
    kind = record.type or "(no type)"
    click.echo(f"{record.time:%Y-%m-%d %H:%M:%S} {place} {kind} {record.key or '-'} {as_text(record.value)}")
