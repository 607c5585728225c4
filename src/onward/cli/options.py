"""What several commands ask for in the same words."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from onward.errors import SettingError
from onward.settings import DEFAULT_URL, POSTGRES, shown, sqlite_path

Command = TypeVar("Command", bound=Callable[..., Any])


def database_option(command: Command) -> Command:
    """`--database`: the file, by default the one that ONWARD_STORE names, else ./onward.db."""
    return click.option(
        "--database",
        "-d",
        metavar="PATH",
        callback=_database,
        help="The SQLite file; by default what ONWARD_STORE names, else ./onward.db.",
    )(command)


def json_option(command: Command) -> Command:
    return click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")(command)


def _database(_ctx: click.Context, _parameter: click.Parameter, given: str | None) -> Path:
    if given is not None:
        return Path(given.removeprefix("sqlite:///"))
    store = os.environ.get("ONWARD_STORE") or DEFAULT_URL
    if store.startswith(POSTGRES):
        raise SettingError(
            f"This command works on the log in a file, and ONWARD_STORE names {shown(store)}, whose events are with its"
            " broker: the tools of the broker read and write them. Nothing was done; --database names a file."
        )
    return sqlite_path(store, "store")
