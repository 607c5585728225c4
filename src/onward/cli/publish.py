"""`onward publish`: JSON lines of any program become events."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import click

from onward.cli.json_lines import LineForm, outgoing
from onward.cli.options import database_option, json_option
from onward.cli.output import QUIET_S, json_out, progress
from onward.errors import SettingError
from onward.ports import Outgoing
from onward.sqlite.ingest import Ingest, ingesting
from onward.topics import Topic

BATCH = 1000
MOST_REPORTED = 100
LONGEST_LINE = 64 << 20  # bytes; what a line without an end may take of memory


class Intake:
    """Counts what was read and keeps what was refused: on stderr, and in a file when one is named."""

    def __init__(self, form: LineForm, rejects: IO[bytes] | None) -> None:
        self.published = 0
        self.rejected = 0
        self._form = form
        self._rejects = rejects
        self._began = time.monotonic()

    def batches(self, lines: IO[bytes]) -> Iterator[list[Outgoing]]:
        """Good lines as events, up to 1,000 at a time."""
        batch: list[Outgoing] = []
        number = 0
        while line := lines.readline(LONGEST_LINE):
            number += 1
            if not line.strip():
                continue
            try:
                batch.append(outgoing(line, self._form))
            except ValueError as error:
                self._reject(number, line, error)
            if len(batch) == BATCH:
                yield batch
                batch = []
        if batch:
            yield batch

    def passed(self, count: int) -> None:
        self.published += count
        seconds = time.monotonic() - self._began
        if seconds > QUIET_S:
            progress(f"{self.published:,} published, {self.published / seconds:,.0f} a second")

    def _reject(self, number: int, line: bytes, error: ValueError) -> None:
        self.rejected += 1
        if self._rejects is not None:
            self._rejects.write(line if line.endswith(b"\n") else line + b"\n")
        if self.rejected <= MOST_REPORTED:
            click.echo(f"line {number}: {error}", err=True)
        elif self.rejected == MOST_REPORTED + 1:
            click.echo("More lines are refused and not listed; their number comes at the end.", err=True)


@click.command()
@click.argument("arguments", metavar="[TOPIC] [FILE]", nargs=-1)
@click.option("--type", "event_type", default="", help="The wire type of the events; without it they name none.")
@click.option("--version", default=1, show_default=True, help="The version of that type.")
@click.option("--key", metavar="FIELD", help="The field whose value is the key that keeps order.")
@click.option("--source", default="onward-publish", show_default=True, help="Who published them.")
@click.option(
    "--rejects",
    type=click.Path(dir_okay=False, path_type=Path),
    help="A file for the lines refused; replaced if it is there.",
)
@database_option
@json_option
def publish(
    arguments: tuple[str, ...],
    event_type: str,
    version: int,
    key: str | None,
    source: str,
    rejects: Path | None,
    database: Path,
    as_json: bool,
) -> None:
    """Publish JSON lines of FILE, or of stdin, to TOPIC: one object a line, its bytes kept as they are.

    With --type, TOPIC may be left out where a handler on record takes the type: write `--type T -` or
    `--type T FILE`. Without --type the events name no type and are taken for the one type of their topic. A line
    that can't be an event is reported with its number and skipped; the others are published, 1,000 a transaction.

    Exit codes: 0 all published, 1 some lines were refused or publishing failed, 2 wrong usage.

    Example: onward publish orders orders.jsonl --type shop.order_placed --key order_id
    """
    topic, file = _arguments(arguments, event_type)
    with ingesting(database) as ingest, click.open_file(file, "rb") as lines:
        form = LineForm(Topic(topic or _topic_of(ingest, event_type)).name, event_type, version, key)
        kept = rejects.open("wb") if rejects is not None else None
        intake = Intake(form, kept)
        try:
            for batch in intake.batches(lines):
                ingest.append(batch, source)
                intake.passed(len(batch))
        finally:
            if kept is not None:
                kept.close()
            progress("")
            _print(intake, form, as_json)
    if intake.rejected:
        sys.exit(1)


def _arguments(arguments: tuple[str, ...], event_type: str) -> tuple[str | None, str]:
    """(topic, file): a single argument beside --type is a file when it is "-" or there is one."""
    if len(arguments) > 2 or not (arguments or event_type):
        raise click.UsageError("Name a TOPIC and perhaps a FILE, or --type and perhaps a FILE.")
    if len(arguments) == 2:
        return arguments[0], _readable(arguments[1])
    if not arguments:
        return None, "-"
    if event_type and (arguments[0] == "-" or Path(arguments[0]).is_file()):
        return None, arguments[0]
    return arguments[0], "-"


def _readable(file: str) -> str:
    if file != "-" and not Path(file).is_file():
        raise click.UsageError(f"There is no file {file}.")
    return file


def _topic_of(ingest: Ingest, event_type: str) -> str:
    topics = ingest.topic_of(event_type)
    if len(topics) != 1:
        found = f"handlers take it on {', '.join(topics)}" if topics else "no handler on record takes it"
        raise SettingError(f"Name the topic for type {event_type!r}: {found}. Nothing was published.")
    return topics[0]


def _print(intake: Intake, form: LineForm, as_json: bool) -> None:
    if as_json:
        json_out({"topic": form.topic, "published": intake.published, "rejected": intake.rejected})
    else:
        refused = f", {intake.rejected:,} lines refused" if intake.rejected else ""
        click.echo(f"{intake.published:,} events published to {form.topic}{refused}.")
