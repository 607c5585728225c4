"""Where services begin that are new to a store, as it is written on the command line."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any, TypeVar

import click

from onward.errors import DeclarationError

Command = TypeVar("Command", bound=Callable[..., Any])


def start_option(command: Command) -> Command:
    """`--start`: "now", "earliest", an ISO time, or "" where it is not given."""
    return click.option(
        "--start",
        default="",
        metavar="now|earliest|TIME",
        callback=_start,
        help="Where services begin that are new to the store: now, earliest, or a time such as 2026-07-01T08:00Z."
        " Without it, each handler where its declaration says.",
    )(command)


def read_start(text: str) -> str | datetime:
    """Raises DeclarationError."""
    if text in ("now", "earliest"):
        return text
    try:
        found = datetime.fromisoformat(text)
    except ValueError as error:
        raise DeclarationError(
            f"{text!r} is not where a service can begin: say now, earliest, or a time such as 2026-07-01T08:00Z."
        ) from error
    if found.tzinfo is None:
        raise DeclarationError(
            f"{text!r} has no time zone: add one, such as 2026-07-01T08:00Z or 2026-07-01T10:00+02:00."
        )
    return found


def _start(_ctx: click.Context, _parameter: click.Parameter, given: str) -> str:
    if given:
        try:
            read_start(given)
        except DeclarationError as error:
            raise click.BadParameter(str(error)) from error
    return given
