"""What each step of the schema does to the rows of an older file."""

from contextlib import closing
from pathlib import Path

from onward.sqlite.database import Database
from onward.sqlite.schema import migrations


def test_tallies_of_an_older_file_are_counted_up_to_be_exact(database_path: Path) -> None:
    with (
        closing(Database.open(database_path, known=migrations()[:1])) as database,
        database.transaction_sync() as writer,
    ):
        writer.execute(
            "INSERT INTO onward_topic VALUES (1, 'orders', 1, 0, 0, 0, 0);"
            "INSERT INTO onward_subscription VALUES (1, 'shop', 'transactional', 1, 1, 0, NULL),"
            " (2, 'shop', 'mail', 1, 0, 0, NULL);"
            "INSERT INTO onward_account (subscription, partition, start_offset, next_offset)"
            " VALUES (1, 0, 10, 20), (2, 0, 0, 20);"
            "INSERT INTO onward_handler VALUES (1, 'pay', 'transactional', 'earliest', '[]', '[10]'),"
            " (1, 'thank', 'transactional', 'now', '[]', '[15]'), (1, 'idle', 'transactional', 'now', '[]', '[20]'),"
            " (2, 'mail', 'plain', 'earliest', '[]', '[0]');"
            "INSERT INTO onward_tally (subscription, partition, handler, succeeded, dead, discarded, skipped)"
            " VALUES (1, 0, '', 0, 1, 0, 2), (1, 0, 'pay', 5, 1, 1, 0), (1, 0, 'thank', 3, 0, 0, 0),"
            " (2, 0, 'mail', 20, 0, 0, 0)"
        )
    with closing(Database.open(database_path)) as database:
        found = database.read("SELECT subscription, handler, skipped FROM onward_tally ORDER BY 1, 2")
    assert found == [(1, "", 2), (1, "idle", 7), (1, "pay", 0), (1, "thank", 4), (2, "mail", 0)]
