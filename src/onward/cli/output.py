"""What commands print: tables for people, JSON for programs. Neither is coloured, so NO_COLOR has nothing to do."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

import click
import msgspec

QUIET_S = 2.0  # what takes no longer tells nothing of its progress
WIDEST = 80  # characters of one cell


def table(headers: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Columns as wide as their content; numbers to the right."""
    shown = [[_cell(value) for value in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(headers, *shown, strict=True)]
    numeric = [all(isinstance(row[index], (int, float)) for row in rows) for index in range(len(headers))]
    for line in ([str(header).upper() for header in headers], *shown):
        cells = (
            cell.rjust(width) if right else cell.ljust(width)
            for cell, width, right in zip(line, widths, numeric, strict=True)
        )
        click.echo("  ".join(cells).rstrip())


def json_out(value: object, *, one_line: bool = False) -> None:
    """Print a value that msgspec can write; bytes that are JSON or text appear as such."""
    written = msgspec.json.encode(value, enc_hook=str)
    click.echo(written if one_line else msgspec.json.format(written, indent=2))


def as_data(value: bytes | None) -> Any:
    """The content of an event's bytes: JSON as it is, other text as text, else base64 under a name that says so."""
    if value is None:
        return None
    try:
        return msgspec.Raw(value) if msgspec.json.decode(value) is not None else None
    except (msgspec.DecodeError, UnicodeDecodeError):
        try:
            return value.decode()
        except UnicodeDecodeError:
            return {"base64": value}


def as_text(value: bytes | None) -> str:
    return "" if value is None else value.decode("utf-8", "backslashreplace")


def counted(count: int, thing: str) -> str:
    """`counted(1, "event")` is "1 event"; of all other numbers there are "events"."""
    return f"{count:,} {thing}" if count == 1 else f"{count:,} {thing}s"


def progress(text: str) -> None:
    """One line on stderr that is written over by the next; nothing where stderr is no terminal."""
    if sys.stderr.isatty():
        click.echo(f"\r\x1b[K{text}", nl=False, err=True)


def _cell(value: object) -> str:
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:,.1f}"
    if isinstance(value, int):
        return f"{value:,}"
    text = " ".join(str(value).split())
    return text if len(text) <= WIDEST else text[: WIDEST - 1] + "…"
