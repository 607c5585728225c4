"""The schema `onward` in a database: numbered steps, each for before or for after a new version is deployed."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import NamedTuple

from onward.errors import SchemaVersionError
from onward.stores.postgres.connections import Connections
from onward.stores.postgres.session import Session

LOCK_KEY = 0x6F6E7764  # `onwd`: one migration or registration at a time in a database
BEFORE, AFTER = "before", "after"

_DOING = "Looking at the schema onward"
_CREATE = (
    "CREATE SCHEMA IF NOT EXISTS onward;"
    " CREATE TABLE IF NOT EXISTS onward.migration"
    " (version integer PRIMARY KEY, phase text NOT NULL, name text NOT NULL,"
    " installed_at timestamptz NOT NULL DEFAULT now())"
)


class Migration(NamedTuple):
    """One step. What is to run before a deploy lets the version before go on; what is for after does not."""

    version: int
    phase: str
    name: str
    sql: str


@dataclass(frozen=True, slots=True)
class Standing:
    """Which steps a database has, of those that this onward knows, and which of its steps this onward does not."""

    installed: tuple[Migration, ...]
    pending: tuple[Migration, ...]
    unknown: tuple[tuple[int, str], ...]  # version, phase

    @property
    def lacking(self) -> tuple[Migration, ...]:
        """Steps without which this onward can't run."""
        return tuple(each for each in self.pending if each.phase == BEFORE)


def migrations() -> tuple[Migration, ...]:
    """The steps this onward knows, by version: the `.sql` files of `migrations/`."""
    entries = files("onward.stores.postgres").joinpath("migrations").iterdir()
    return tuple(
        Migration(int(named[1]), named[2], named[3], entry.read_text("utf-8"))
        for entry in sorted(entries, key=lambda entry: entry.name)
        if (named := re.fullmatch(rf"(\d{{4}})_({BEFORE}|{AFTER})_(\w+)\.sql", entry.name))
    )


async def standing(session: Session, known: Sequence[Migration]) -> Standing:
    """Read only, inside the caller's transaction."""
    present = await session.run("SELECT to_regclass('onward.migration') IS NOT NULL", (), _DOING)
    rows = (
        (await session.run("SELECT version, phase FROM onward.migration ORDER BY version", (), _DOING)).rows
        if (present.scalar())
        else []
    )
    installed = {version for version, _ in rows}
    numbers = {each.version for each in known}
    return Standing(
        tuple(each for each in known if each.version in installed),
        tuple(each for each in known if each.version not in installed),
        tuple((version, phase) for version, phase in rows if version not in numbers),
    )


async def lock(session: Session) -> None:
    """Held until the transaction ends; so it works behind a pooler, too."""
    await session.run("SELECT pg_advisory_xact_lock($1)", (LOCK_KEY,), "Waiting for another migration or registration")


async def ready(session: Session, where: object) -> None:
    """Install all in a database that has nothing of onward; the caller has the lock.

    Raises SchemaVersionError for one that this onward can't work with.
    """
    found = await standing(session, migrations())
    if not found.installed and not found.unknown:
        for migration in found.pending:
            await install(session, migration)
        return
    for version, phase in found.unknown:
        if phase == AFTER:
            raise SchemaVersionError(
                f"{where} has step {version} of the schema onward, which leaves this version behind. Nothing was"
                " changed; run the newer onward.",
                version=version,
            )
    if found.lacking:
        raise SchemaVersionError(
            f"{where} lacks step {found.lacking[0].version} of the schema onward. Nothing was changed; run `onward"
            " migrate --apply` before this version, as a role that may change the schema.",
            version=found.lacking[0].version,
        )


async def install(session: Session, migration: Migration) -> None:
    """One step, in the caller's transaction; the caller has the lock and knows that it is pending."""
    doing = f"Installing step {migration.version} ({migration.name}) of the schema onward"
    await session.script(_CREATE, doing)
    await session.script(migration.sql, doing)
    await session.run(
        "INSERT INTO onward.migration (version, phase, name) VALUES ($1, $2, $3)",
        (migration.version, migration.phase, migration.name),
        doing,
    )


async def migrate(connections: Connections, known: Sequence[Migration], phases: Sequence[str]) -> list[Migration]:
    """Install what is pending of these phases, each step in a transaction of its own; which those were.

    Safe to repeat, and to run by several at once: each step is looked for again under the lock.
    """
    done: list[Migration] = []
    for migration in known:
        if migration.phase not in phases:
            continue
        async with connections.transaction() as session:
            await lock(session)
            found = await standing(session, known)
            if migration in found.pending:
                await install(session, migration)
                done.append(migration)
    return done
