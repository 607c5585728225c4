"""The tables of onward in a file, and how an older file becomes a current one."""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

import apsw

from onward.errors import SchemaVersionError, StoreCorruptError

APPLICATION_ID = 0x6F6E7764
"""`onwd`: what `file` and SQLite's own tools show for a database that onward created."""

_VERSIONS = """
CREATE TABLE IF NOT EXISTS onward_schema (version INTEGER PRIMARY KEY, installed_at REAL NOT NULL)
"""


@dataclass(frozen=True)
class Migration:
    """One numbered step of the schema, installed whole or not at all."""

    version: int
    name: str
    sql: str


def migrations() -> tuple[Migration, ...]:
    """The steps this onward knows, by version from 1 without a gap: the `.sql` files of `migrations/`."""
    entries = files("onward.sqlite").joinpath("migrations").iterdir()
    return tuple(
        Migration(int(named[1]), named[2], entry.read_text("utf-8"))
        for entry in sorted(entries, key=lambda entry: entry.name)
        if (named := re.fullmatch(r"(\d{4})_(\w+)\.sql", entry.name))
    )


def installed_version(connection: apsw.Connection) -> int:
    """The last step that the file has; 0 for a file without onward's tables.

    Kept in a table of onward's own: `user_version` belongs to the user whose tables are in the same file.
    """
    if not connection.table_exists("main", "onward_schema"):
        return 0
    version: Any = connection.execute("SELECT coalesce(max(version), 0) FROM onward_schema").get
    return int(version)


def check(connection: apsw.Connection, path: str, known: Sequence[Migration]) -> bool:
    """True when the file has every known step; False when `install` has to run.

    Raises `SchemaVersionError` for a file of a newer onward and `StoreCorruptError` for another program's.
    """
    version = installed_version(connection)
    newest = known[-1].version
    if version > newest:
        raise SchemaVersionError(
            f"{path} has schema version {version}, and this onward knows versions up to {newest}. "
            "Nothing was changed; run the newer onward that wrote it, or restore a backup from before.",
            path=path,
            version=version,
            newest_known=newest,
        )
    application_id = connection.pragma("application_id")
    if version == 0 and application_id not in (0, APPLICATION_ID):
        raise StoreCorruptError(
            f"{path} belongs to another program (its application id is {application_id:#x}). "
            "Nothing was changed; give onward a file of its own, or one whose application id is 0.",
            path=path,
            application_id=application_id,
        )
    return version == newest


def install(connection: apsw.Connection, path: str, known: Sequence[Migration]) -> None:
    """Brings the file to the newest known step, each in a transaction of its own.

    The caller has the turn to write. What another process installed meanwhile is not installed again.
    """
    if connection.execute("SELECT count(*) FROM sqlite_schema").get == 0:
        connection.pragma("application_id", APPLICATION_ID)
    for migration in known:
        connection.execute("BEGIN IMMEDIATE")
        try:
            if installed_version(connection) < migration.version:
                _install_one(connection, path, migration)
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise


def _install_one(connection: apsw.Connection, path: str, migration: Migration) -> None:
    try:
        connection.execute(_VERSIONS)
        connection.execute(migration.sql)
        connection.execute("INSERT INTO onward_schema VALUES (?, ?)", (migration.version, time.time()))
    except apsw.SQLError as error:
        raise StoreCorruptError(
            f"{path} can't be brought to schema version {migration.version} ({migration.name}): {error}. "
            "Nothing of that step was kept: the file has tables that its version does not account for. "
            "Keep a copy, then restore a backup or give onward a new file.",
            path=path,
            version=migration.version,
        ) from error
