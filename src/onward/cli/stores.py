"""Which store and which broker a command looks at."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar

import click

from onward.errors import SettingError
from onward.inspection.record import RecordView
from onward.inspection.schema import SchemaView
from onward.runtime.adapters import adapter
from onward.runtime.views import view_of
from onward.settings import DEFAULT_URL, POSTGRES, sqlite_path
from onward.sqlite.record import FileRecord

Command = TypeVar("Command", bound=Callable[..., Any])


def view_options(command: Command) -> Command:
    """`--store`, `--database` and `--broker`; the command gets a StoreView as `view`."""

    @_store_options
    @click.option("--broker", metavar="URL", help="The broker of its services; by default what ONWARD_BROKER names.")
    @wraps(command)
    def viewing(*args: Any, store: str | None, database: str | None, broker: str | None, **options: Any) -> Any:
        return command(*args, view=view_of(chosen(store, database), broker), **options)

    return viewing  # type: ignore[return-value]  # it takes three options where the command takes their view


def _store_options(command: Command) -> Command:
    store = click.option(
        "--store",
        metavar="URL",
        help="The store: sqlite:///FILE or postgresql://…; by default what ONWARD_STORE names, else ./onward.db.",
    )
    return store(click.option("--database", "-d", metavar="PATH", help="Short for --store sqlite:///PATH.")(command))


def chosen(store: str | None, database: str | None) -> str:
    """The store's address; a file by its path alone may have any name."""
    if store is not None and database is not None:
        raise click.UsageError("--store and --database both name the store; leave one of them out.")
    if database is not None:
        return database if database.startswith("sqlite:///") else f"sqlite:///{database}"
    return store or os.environ.get("ONWARD_STORE") or DEFAULT_URL


def record_of(store: str) -> RecordView:
    """Raises SettingError and MissingExtraError."""
    if store.startswith(POSTGRES):
        found: RecordView = adapter("onward.stores.postgres.record").DatabaseRecord(store)
        return found
    return FileRecord(sqlite_path(store, "store"))


def schema_of(store: str) -> SchemaView:
    """Raises SettingError for a store that needs no migration, and for an address that can't be used."""
    if store.startswith(POSTGRES):
        found: SchemaView = adapter("onward.stores.postgres.schema").DatabaseSchema(store)
        return found
    raise SettingError(
        f"{sqlite_path(store, 'store')} is a file, and the first process of a new version that opens it brings it up to"
        " date: there is nothing to migrate. Nothing was changed; name a PostgreSQL store with --store."
    )


def _given(name: str, make: Callable[[str], object]) -> Callable[[Command], Command]:
    """`--store` and `--database`; the command gets what `make` makes of the address, as `name`."""

    def decorate(command: Command) -> Command:
        @_store_options
        @wraps(command)
        def opened(*args: Any, store: str | None, database: str | None, **options: Any) -> Any:
            return command(*args, **{name: make(chosen(store, database))}, **options)

        return opened  # type: ignore[return-value]  # it takes two options where the command takes what they name

    return decorate


schema_options = _given("schema", schema_of)
record_options = _given("record", record_of)
