"""The schema `onward` in a database: numbered steps, each for before or for after a new version is deployed."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import NamedTuple

from onward.errors import SchemaVersionError, StoreConflictError
from onward.inspection.schema import Phase
from onward.stores.postgres.connections import Connections
from onward.stores.postgres.session import Session

LOCK_KEY = 0x6F6E7764  # `onwd`: one migration or registration at a time in a database
TURNS = 12  # of lock_s each, that a migration waits for another one's end

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
    unknown: tuple[tuple[int, str, str], ...]  # version, phase, name

    @property
    def is_empty(self) -> bool:
        """Whether the database has nothing of onward."""
        return not self.installed and not self.unknown

    @property
    def lacking(self) -> tuple[Migration, ...]:
        """Steps without which this onward can't run."""
        return tuple(each for each in self.pending if each.phase == Phase.BEFORE)


def migrations() -> tuple[Migration, ...]:
    """The steps this onward knows, by version: the `.sql` files of `migrations/`."""
    return read_steps(files("onward.stores.postgres").joinpath("migrations"))


def read_steps(folder: Traversable) -> tuple[Migration, ...]:
    """By version, from names such as `0002_before_producers.sql`."""
    return tuple(
        Migration(int(named[1]), named[2], named[3], entry.read_text("utf-8"))
        for entry in sorted(folder.iterdir(), key=lambda entry: entry.name)
        if (named := re.fullmatch(r"(\d{4})_(before|after)_(\w+)\.sql", entry.name))
    )


async def standing(session: Session, known: Sequence[Migration]) -> Standing:
    """Read only, inside the caller's transaction."""
    present = await session.run("SELECT to_regclass('onward.migration') IS NOT NULL", (), _DOING)
    rows = (
        (await session.run("SELECT version, phase, name FROM onward.migration ORDER BY version", (), _DOING)).rows
        if present.scalar()
        else []
    )
    installed = {row[0] for row in rows}
    numbers = {each.version for each in known}
    return Standing(
        tuple(each for each in known if each.version in installed),
        tuple(each for each in known if each.version not in installed),
        tuple((version, phase, name) for version, phase, name in rows if version not in numbers),
    )


async def lock(session: Session) -> None:
    """Held until the transaction ends; so it works behind a pooler, too."""
    await session.run("SELECT pg_advisory_xact_lock($1)", (LOCK_KEY,), "Waiting for another migration or registration")


async def ready(session: Session, where: object) -> None:
    """Install all in a database that has nothing of onward; the caller has the lock.

    Raises SchemaVersionError for one that this onward can't work with.
    """
    found = await standing(session, migrations())
    if found.is_empty:
        for migration in found.pending:
            await install(session, migration)
        return
    refuse_other_schema(found, where)


def refuse_other_schema(found: Standing, where: object) -> None:
    """Raises SchemaVersionError for the tables of a version that this onward can't work with."""
    refuse_newer(found, where)
    if found.lacking:
        raise SchemaVersionError(
            f"{where} lacks step {found.lacking[0].version} of the schema onward. Nothing was changed; run `onward"
            " migrate --before` before this version, as a role that may change the schema.",
            version=found.lacking[0].version,
        )


def refuse_newer(found: Standing, where: object) -> None:
    """Raises SchemaVersionError where a newer onward has left this one behind."""
    for version, phase, _ in found.unknown:
        if phase == Phase.AFTER:
            raise SchemaVersionError(
                f"{where} has step {version} of the schema onward, which leaves this version behind. Nothing was"
                " changed; run the newer onward.",
                version=version,
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


async def migrate(connections: Connections, known: Sequence[Migration], phase: Phase) -> list[Migration]:
    """As `SchemaView.install`: each step in a transaction of its own, looked for again under the lock."""
    done: list[Migration] = []
    while installed := await _next_turn(connections, known, phase, begun=bool(done)):
        done += installed
    return done


async def _next_turn(
    connections: Connections, known: Sequence[Migration], phase: Phase, *, begun: bool
) -> list[Migration]:
    for _ in range(TURNS - 1):
        try:
            return await _turn(connections, known, phase, begun=begun)
        except StoreConflictError:
            continue
    return await _turn(connections, known, phase, begun=begun)


async def _turn(connections: Connections, known: Sequence[Migration], phase: Phase, *, begun: bool) -> list[Migration]:
    async with connections.transaction() as session:
        await lock(session)
        steps = _steps(await standing(session, known), phase, connections.address, begun=begun)
        for migration in steps:
            await install(session, migration)
        return steps


def _steps(found: Standing, phase: Phase, where: object, *, begun: bool) -> list[Migration]:
    """What goes into one transaction; nothing where all is done. Raises SchemaVersionError where another goes first."""
    refuse_newer(found, where)
    if phase == Phase.BEFORE and found.is_empty:
        return list(found.pending)
    if not found.pending or (phase == Phase.BEFORE and not found.lacking):
        return []
    first = found.pending[0]
    if first.phase == phase:
        return [first]
    if phase == Phase.AFTER and begun:
        return []
    otherwise = (
        "It is for after an earlier deploy: run `onward migrate --after` once no process of the version before that one"
        " runs, and then this."
        if phase == Phase.BEFORE
        else "Run `onward migrate --before`, deploy this version, and then this."
    )
    raise SchemaVersionError(
        f"Step {first.version} ({first.name}) of the schema onward comes first, and {where} does not have it."
        f" {otherwise}",
        version=first.version,
    )
