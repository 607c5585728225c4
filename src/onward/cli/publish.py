"""`onward publish`: JSON lines of any program become events."""

from __future__ import annotations

import os
import stat
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import IO

import click

from onward.cli.feed import Feed, descriptor_of, interrupts
from onward.cli.json_lines import LineForm, outgoing
from onward.cli.options import database_option, json_option
from onward.cli.output import QUIET_S, counted, json_out, progress
from onward.errors import SettingError
from onward.events.names import MOST_VERSIONS, TOPIC_RULE, TYPE_RULE, is_topic_name, is_type_name
from onward.ports import Outgoing
from onward.sqlite.ingest import Ingest, ingesting

BATCH = 1000
MOST_REPORTED = 100
INTERRUPTED = 3

_ANOTHER_FILE = "Nothing was published; name another file with --rejects."


class Intake:
    """Counts what was read and keeps what was refused: on stderr, and in a file when one is named."""

    def __init__(self, form: LineForm, rejects: IO[bytes] | None) -> None:
        self.published = 0
        self.rejected = 0
        self._form = form
        self._rejects = rejects
        self._began = time.monotonic()

    def batches(self, lines: Iterable[bytes | None]) -> Iterator[list[Outgoing]]:
        """Good lines as events, up to 1,000 at a time, and fewer where there is None among the lines."""
        batch: list[Outgoing] = []
        number = 0
        for line in lines:
            if line is not None:
                number += 1
                if line.strip():
                    try:
                        batch.append(outgoing(line, self._form))
                    except ValueError as error:
                        self._reject(number, line, error)
            if len(batch) == BATCH or (line is None and batch):
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
            self._rejects.write(line + b"\n")
        if self.rejected <= MOST_REPORTED:
            click.echo(f"line {number}: {error}", err=True)
        elif self.rejected == MOST_REPORTED + 1:
            click.echo("More lines are refused and not listed; their number comes at the end.", err=True)


@click.command()
@click.argument("arguments", metavar="[TOPIC] [FILE]", nargs=-1)
@click.option("--type", "event_type", default="", help="The wire type of the events; without it they name none.")
@click.option(
    "--version",
    type=click.IntRange(1, MOST_VERSIONS),
    default=1,
    show_default=True,
    help="The version of that type.",
)
@click.option("--key", metavar="FIELD", help="The field whose value is the key that keeps order.")
@click.option("--source", default="onward-publish", show_default=True, help="Who published them.")
@click.option(
    "--rejects",
    type=click.Path(dir_okay=False, path_type=Path),
    help="A file for the lines refused; they come after what it holds already.",
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
    that can't be an event is reported with its number and skipped; the others are published, at most 1,000 a
    transaction, and none waits for long where they come slowly. Ctrl-C publishes what was read.

    Exit codes: 0 all published, 1 some lines were refused or publishing failed, 2 wrong usage, 3 ended by Ctrl-C.

    Example: onward publish orders orders.jsonl --type shop.order_placed --key order_id
    """
    topic, file = _arguments(arguments, event_type)
    _check_names(topic, event_type)
    if rejects is not None:
        _check_rejects(rejects, file, database)
    with _opened(file) as lines, _kept(rejects) as kept, ingesting(database) as ingest, interrupts() as alarm:
        form = LineForm(topic or _topic_of(ingest, event_type), event_type, version, key)
        feed = Feed(lines, alarm)
        intake = Intake(form, kept)
        try:
            for batch in intake.batches(feed):
                ingest.append(batch, source)
                intake.passed(len(batch))
        finally:
            progress("")
            _print(intake, form, feed.interrupted, as_json)
    if feed.interrupted:
        sys.exit(INTERRUPTED)
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
    if event_type and (arguments[0] == "-" or _is_input(arguments[0])):
        return None, arguments[0]
    return arguments[0], "-"


def _readable(file: str) -> str:
    if file != "-" and not _is_input(file):
        raise click.UsageError(f"{file} is a folder." if Path(file).is_dir() else f"There is no file {file}.")
    return file


def _is_input(file: str) -> bool:
    """A pipe with a name and a device are as good as a file."""
    return Path(file).exists() and not Path(file).is_dir()


def _check_names(topic: str | None, event_type: str) -> None:
    """What a declared event could not be called, no handler could ever ask for."""
    if topic is not None and not is_topic_name(topic):
        raise click.UsageError(f"{topic!r} can't be a topic. {TOPIC_RULE}")
    if event_type and not is_type_name(event_type):
        raise click.UsageError(f"{event_type!r} can't be a type. {TYPE_RULE}")


def _check_rejects(rejects: Path, file: str, database: Path) -> None:
    """Refuse to write into what is read, which would never end, or into the database."""
    if rejects.resolve() == database.resolve():
        raise click.UsageError(f"{rejects} is the database. {_ANOTHER_FILE}")
    if not rejects.exists() or stat.S_ISCHR(rejects.stat().st_mode):
        return
    source = descriptor_of(sys.stdin.buffer) if file == "-" else file
    for place in (source, database if database.exists() else None):
        if place is not None and os.path.samestat(os.stat(place), rejects.stat()):
            what = "the database" if place is database else "where the lines come from"
            raise click.UsageError(f"{rejects} is {what}. {_ANOTHER_FILE}")


def _opened(file: str) -> AbstractContextManager[IO[bytes]]:
    try:
        opened: AbstractContextManager[IO[bytes]] = click.open_file(file, "rb")
    except OSError as error:
        raise SettingError(f"{file} can't be read: {error.strerror}. Nothing was published.") from error
    return opened


def _kept(rejects: Path | None) -> AbstractContextManager[IO[bytes] | None]:
    if rejects is None:
        return nullcontext()
    try:
        return rejects.open("ab")
    except OSError as error:
        raise SettingError(
            f"Lines refused would be kept in {rejects}, which can't be written: {error.strerror}. {_ANOTHER_FILE}"
        ) from error


def _topic_of(ingest: Ingest, event_type: str) -> str:
    topics = ingest.topic_of(event_type)
    if len(topics) != 1:
        found = f"handlers take it on {', '.join(topics)}" if topics else "no handler on record takes it"
        raise SettingError(f"Name the topic for type {event_type!r}: {found}. Nothing was published.")
    return topics[0]


def _print(intake: Intake, form: LineForm, interrupted: bool, as_json: bool) -> None:
    if as_json:
        json_out({"topic": form.topic, "published": intake.published, "rejected": intake.rejected})
    else:
        refused = f", {counted(intake.rejected, 'line')} refused" if intake.rejected else ""
        ended = "; interrupted before the end of the input" if interrupted else ""
        click.echo(f"{counted(intake.published, 'event')} published to {form.topic}{refused}{ended}.")
