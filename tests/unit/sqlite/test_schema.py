from contextlib import closing
from pathlib import Path

import apsw
import pytest

from onward.errors import SchemaVersionError, StoreCorruptError
from onward.sqlite.database import Database
from onward.sqlite.schema import APPLICATION_ID, Migration, migrations

FIRST = Migration(1, "first", "CREATE TABLE onward_topic (id INTEGER PRIMARY KEY, name TEXT)")
SECOND = Migration(2, "second", "ALTER TABLE onward_topic ADD COLUMN colour TEXT DEFAULT 'grey'")
BROKEN = Migration(2, "broken", "ALTER TABLE onward_topic ADD COLUMN size; CREATE TABLE onward_topic (id)")


def raw(path: Path, *statements: str) -> list[tuple[object, ...]]:
    with closing(apsw.Connection(str(path))) as connection:
        return [row for statement in statements for row in connection.execute(statement)]


def test_the_steps_are_numbered_from_one_without_a_gap() -> None:
    assert [step.version for step in migrations()] == list(range(1, len(migrations()) + 1))
    assert migrations()[0].name == "spine"


def test_a_new_file_gets_every_step_and_our_application_id(database_path: Path) -> None:
    Database.open(database_path).close()
    assert raw(database_path, "SELECT max(version) FROM onward_schema") == [(len(migrations()),)]
    assert raw(database_path, "PRAGMA application_id") == [(APPLICATION_ID,)]
    assert raw(database_path, "PRAGMA journal_mode") == [("wal",)]


def test_an_older_file_is_brought_up_to_date_with_its_rows(database_path: Path) -> None:
    Database.open(database_path, known=[FIRST]).close()
    raw(database_path, "INSERT INTO onward_topic VALUES (1, 'orders')")
    with closing(Database.open(database_path, known=[FIRST, SECOND])) as database:
        assert database.read("SELECT * FROM onward_topic") == [(1, "orders", "grey")]
        assert database.read("SELECT version FROM onward_schema ORDER BY 1") == [(1,), (2,)]


def test_a_newer_file_is_refused_unchanged(database_path: Path) -> None:
    Database.open(database_path, known=[FIRST, SECOND]).close()
    before = database_path.read_bytes()
    with pytest.raises(SchemaVersionError, match="schema version 2, and this onward knows versions up to 1") as caught:
        Database.open(database_path, known=[FIRST])
    assert caught.value.fields["version"] == 2
    assert database_path.read_bytes() == before


def test_a_step_that_fails_leaves_the_file_as_it_was(database_path: Path) -> None:
    Database.open(database_path, known=[FIRST]).close()
    with pytest.raises(StoreCorruptError, match="Nothing of that step was kept"):
        Database.open(database_path, known=[FIRST, BROKEN])
    with closing(Database.open(database_path, known=[FIRST])) as database:
        assert database.read("SELECT name FROM pragma_table_info('onward_topic')") == [("id",), ("name",)]


def test_our_tables_live_beside_a_users_own_and_leave_its_numbers_alone(database_path: Path) -> None:
    raw(database_path, "CREATE TABLE stock (sku)", "INSERT INTO stock VALUES ('A1')", "PRAGMA user_version = 99")
    with closing(Database.open(database_path)) as database:
        assert database.read("SELECT sku FROM stock") == [("A1",)]
    assert raw(database_path, "PRAGMA user_version", "PRAGMA application_id") == [(99,), (0,)]


def test_another_programs_file_is_refused_unchanged(database_path: Path) -> None:
    raw(database_path, "CREATE TABLE layers (id)", "PRAGMA application_id = 0x47504B47")
    before = database_path.read_bytes()
    with pytest.raises(StoreCorruptError, match=r"belongs to another program .*0x47504b47"):
        Database.open(database_path)
    assert database_path.read_bytes() == before


def test_tables_without_their_version_are_refused_unchanged(database_path: Path) -> None:
    raw(database_path, "CREATE TABLE onward_topic (id)")
    with pytest.raises(StoreCorruptError, match="its version does not account for"):
        Database.open(database_path)
    assert raw(database_path, "SELECT name FROM sqlite_schema") == [("onward_topic",)]
