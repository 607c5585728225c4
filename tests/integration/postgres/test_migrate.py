"""Migrations: numbered steps before and after a deploy, each once, and old and new code side by side between them."""

import asyncio
import json
from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest

from onward import App, Topic, Transaction
from onward.errors import SchemaVersionError
from onward.inspection.schema import Phase
from onward.stores.postgres import migration
from onward.stores.postgres.address import Address
from onward.stores.postgres.migration import Migration, migrations, read_steps
from onward.stores.postgres.schema import DatabaseSchema
from onward.stores.postgres.store import PostgresStore
from tests.integration.postgres.looking import Onward, change, command_line, payment, rows
from tests.integration.postgres.stage import SCHEMA, Numbered, Stage, on_stage

NEWEST = migrations()[-1].version
BEFORE = NEWEST + 1
AFTER = NEWEST + 2
STEPS = {
    f"{BEFORE:04}_before_notes.sql": """
        ALTER TABLE onward.account ADD COLUMN note text;
        ALTER TABLE IF EXISTS effect ADD COLUMN note text;
    """,
    f"{AFTER:04}_after_notes.sql": """
        UPDATE onward.account SET note = '' WHERE note IS NULL;
        ALTER TABLE onward.account ALTER COLUMN note SET NOT NULL;
        CREATE TABLE IF NOT EXISTS effect (n integer, by text, note text);
        UPDATE effect SET note = 'of old' WHERE note IS NULL;
        ALTER TABLE effect ALTER COLUMN note SET NOT NULL;
    """,
    "readme.txt": "not a step",
}

Deployed = Callable[[], None]


@pytest.fixture
def next_version(tmp_path: Path) -> tuple[Migration, ...]:
    """The steps of a version that comes after this one, two more than there are."""
    for name, sql in STEPS.items():
        (tmp_path / name).write_text(sql)
    return (*migrations(), *read_steps(tmp_path))


@pytest.fixture
def as_next_version(next_version: tuple[Migration, ...], monkeypatch: pytest.MonkeyPatch) -> Deployed:
    """From its call on, this process is that version."""

    def deployed() -> None:
        for module in ("migration", "schema", "inspection", "health"):
            monkeypatch.setattr(f"onward.stores.postgres.{module}.migrations", lambda: next_version)

    return deployed


def installed(url: str) -> list[int]:
    return [int(str(version)) for (version,) in rows(url, "SELECT version FROM onward.migration ORDER BY version")]


def test_an_empty_database_gets_all_steps_before(postgres_url: str) -> None:
    onward = command_line(postgres_url)
    assert onward("migrate", "--check").exit_code == 1
    assert onward("migrate", "--after").exit_code == 1
    done = onward("migrate", "--before", "--json")
    assert done.exit_code == 0
    assert [each["version"] for each in json.loads(done.stdout)["installed"]] == [each.version for each in migrations()]
    assert onward("migrate", "--check").stdout.endswith("This version can run.\n")
    assert onward("migrate", "--before").stdout == "There was nothing to do.\n"
    assert onward("migrate", "--after").stdout == "There was nothing to do.\n"
    assert onward("audit").exit_code == 0


@pytest.mark.parametrize("arguments", [(), ("--before", "--after"), ("--before", "--check")])
def test_one_of_before_after_and_check_is_said(seen: Onward, arguments: tuple[str, ...]) -> None:
    assert seen("migrate", *arguments).exit_code == 2


def test_a_file_has_nothing_to_migrate(database_path: Path) -> None:
    result = command_line(f"sqlite:///{database_path}")("migrate", "--before")
    assert result.exit_code == 1
    assert "there is nothing to migrate" in result.stderr
    assert not database_path.exists()


def test_steps_before_and_after_a_deploy_run_each_in_its_turn(
    handled: str, onward: Onward, as_next_version: Deployed
) -> None:
    as_next_version()
    checked = onward("migrate", "--check")
    assert checked.exit_code == 1
    assert f"lacks step {BEFORE} of the schema onward" in checked.stdout
    early = onward("migrate", "--after")
    assert early.exit_code == 1
    assert f"Step {BEFORE} (notes) of the schema onward comes first" in early.stderr
    assert onward("audit").exit_code == 1, "this version can't read what it lacks a step of"

    assert onward("migrate", "--before").stdout == f"Step {BEFORE} (notes) is installed.\n"
    assert onward("migrate", "--check").exit_code == 0
    assert f"step {AFTER} is left" in onward("doctor").stdout
    assert onward("migrate", "--before").stdout == "There was nothing to do.\n"
    assert onward("audit").exit_code == 0

    assert onward("migrate", "--after").stdout == f"Step {AFTER} (notes) is installed.\n"
    assert onward("migrate", "--after").stdout == "There was nothing to do.\n"
    assert installed(handled) == [*(each.version for each in migrations()), BEFORE, AFTER]


def test_a_step_that_an_earlier_deploy_left_out_is_told_before_a_later_one(
    onward: Onward, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / f"{BEFORE:04}_after_cleaning.sql").write_text("SELECT 1")
    (tmp_path / f"{AFTER:04}_before_notes.sql").write_text("SELECT 1")
    steps = (*migrations(), *read_steps(tmp_path))
    for module in ("migration", "schema"):
        monkeypatch.setattr(f"onward.stores.postgres.{module}.migrations", lambda: steps)
    refused = onward("migrate", "--before")
    assert refused.exit_code == 1
    assert f"Step {BEFORE} (cleaning) of the schema onward comes first" in refused.stderr
    assert "It is for after an earlier deploy" in refused.stderr
    assert onward("migrate", "--after").exit_code == 0
    assert onward("migrate", "--before").exit_code == 0


def test_a_newer_schema_is_refused_and_left_as_it_is(handled: str, onward: Onward) -> None:
    change(
        handled, "INSERT INTO onward.migration (version, phase, name) VALUES (%s, 'before', 'a'), (%s, 'after', 'b')",
        BEFORE, AFTER,
    )  # fmt: skip
    for arguments in (("migrate", "--before"), ("migrate", "--after"), ("audit",), ("dead-letters", "retry", "1")):
        result = onward(*arguments)
        assert result.exit_code == 1
        assert f"has step {AFTER} of the schema onward, which leaves this version behind" in result.stderr
    checked = onward("migrate", "--check")
    assert checked.exit_code == 1
    assert "of another version" in checked.stdout
    assert rows(handled, "SELECT state FROM onward.dead_letter") == [("dead",)]


def test_a_step_that_fails_leaves_nothing_behind(
    handled: str, onward: Onward, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / f"{BEFORE:04}_before_broken.sql").write_text("CREATE TABLE onward.half (n integer); SELECT 1 / 0")
    steps = (*migrations(), *read_steps(tmp_path))
    monkeypatch.setattr("onward.stores.postgres.schema.migrations", lambda: steps)
    result = onward("migrate", "--before")
    assert result.exit_code == 1
    assert f"Installing step {BEFORE} (broken)" in result.stderr
    assert rows(handled, "SELECT to_regclass('onward.half')") == [(None,)]
    assert BEFORE not in installed(handled)


def test_two_migrations_at_once_install_each_step_once(handled: str, as_next_version: Deployed) -> None:
    as_next_version()

    async def both() -> list[list[int]]:
        with psycopg.connect(handled) as holding:
            holding.execute("SELECT pg_advisory_xact_lock(%s)", (migration.LOCK_KEY,))
            install = DatabaseSchema(handled).install
            running = [asyncio.create_task(asyncio.to_thread(install, Phase.BEFORE)) for _ in range(2)]
            async with asyncio.timeout(20):
                while len(rows(handled, "SELECT 1 FROM pg_locks WHERE NOT granted")) < 2:
                    await asyncio.sleep(0.01)
        return sorted([[step.version for step in await each] for each in running])

    assert asyncio.run(both()) == [[], [BEFORE]]


def test_old_and_new_code_work_side_by_side_between_the_steps_of_a_deploy(
    postgres_url: str, as_next_version: Deployed
) -> None:
    """Two services on one store, each with a connection of its own; the old one runs all the time until it is gone."""
    onward = command_line(postgres_url)
    old = App("old", schema=SCHEMA, topics=[Topic("numbers", partitions=1)])
    new = App("new", schema=SCHEMA, topics=old.topics)

    @old.on(Numbered)
    async def note(event: Numbered, tx: Transaction) -> None:
        await tx.execute("INSERT INTO effect VALUES (:n, 'old')", n=event.n)

    @new.on(Numbered)
    async def note_more(event: Numbered, tx: Transaction) -> None:
        await tx.execute("INSERT INTO effect (n, by, note) VALUES (:n, 'new', 'noted')", n=event.n)

    async def scene(stage: Stage) -> None:
        async def until_each_has(count: int, *names: str) -> None:
            await stage.until(
                lambda: (
                    stage.rows("SELECT by, count(*)::integer FROM effect GROUP BY by ORDER BY by")
                    == [(name, count) for name in sorted(names)]
                )
            )

        async with stage.running(old):
            await stage.publish(*(Numbered(key="k", n=n) for n in range(3)))
            await until_each_has(3, "old")

            as_next_version()
            with pytest.raises(SchemaVersionError, match=f"lacks step {BEFORE}"):
                async with stage.running(new):
                    pass
            assert (await asyncio.to_thread(onward, "migrate", "--before")).exit_code == 0

            async with stage.running(new):
                await stage.publish(*(Numbered(key="k", n=n) for n in range(3, 6)))
                await until_each_has(6, "old", "new")
                assert stage.rows("SELECT DISTINCT by, note FROM effect ORDER BY by") == [
                    ("new", "noted"),
                    ("old", None),
                ]

        assert (await asyncio.to_thread(onward, "migrate", "--after")).exit_code == 0
        async with stage.running(new):
            await stage.publish(Numbered(key="k", n=6))
            await stage.until(lambda: len(stage.effects()) == 13)
            assert stage.rows("SELECT 1 FROM effect WHERE note IS NULL") == []

    on_stage(postgres_url, scene)
    assert onward("audit").exit_code == 0


def test_old_code_starts_beside_new_code_and_not_once_the_step_after_its_deploy_has_run(
    handled: str, onward: Onward, as_next_version: Deployed, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def start() -> None:
        store = PostgresStore(Address.read(handled), "payment")
        try:
            await store.open(await payment().plan.entry())
        finally:
            await store.close()

    as_next_version()
    assert onward("migrate", "--before").exit_code == 0
    monkeypatch.undo()
    asyncio.run(start())
    as_next_version()
    assert onward("migrate", "--after").exit_code == 0
    monkeypatch.undo()
    with pytest.raises(SchemaVersionError, match=f"step {AFTER} of the schema onward, which leaves this version"):
        asyncio.run(start())
