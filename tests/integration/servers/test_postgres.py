"""The PostgreSQL that tests run on: what a plain client sees of it, before and after the worst."""

from __future__ import annotations

import select

import psycopg
import pytest
import sqlalchemy
from psycopg import pq

from scripts.servers.postgres import Postgres

ANSWER_LIMIT_S = 20.0


def numbers(url: str) -> list[int]:
    with psycopg.connect(url) as connection:
        return [number for (number,) in connection.execute("SELECT number FROM kept ORDER BY number")]


def write(url: str, *found: int) -> None:
    with psycopg.connect(url) as connection:
        connection.execute("CREATE TABLE IF NOT EXISTS kept (number integer PRIMARY KEY)")
        for number in found:
            connection.execute("INSERT INTO kept VALUES (%s)", [number])


def test_what_was_committed_is_read_back_by_every_client(postgres_url: str) -> None:
    write(postgres_url, 1, 2)

    assert numbers(postgres_url) == [1, 2]
    engine = sqlalchemy.create_engine(postgres_url.replace("postgresql:", "postgresql+psycopg:"))
    with engine.connect() as connection:
        assert connection.execute(sqlalchemy.text("SELECT sum(number) FROM kept")).scalar_one() == 3
    engine.dispose()


@pytest.mark.parametrize("time", ["first", "second"])
def test_each_test_has_a_database_of_its_own_and_no_superuser(postgres_url: str, time: str) -> None:
    with psycopg.connect(postgres_url) as connection:
        tables = connection.execute("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'").fetchone()
        superuser = connection.execute("SELECT rolsuper FROM pg_roles WHERE rolname = current_user").fetchone()
    assert tables == (0,)
    assert superuser == (False,)
    write(postgres_url, 1)


def test_the_client_is_the_one_in_c() -> None:
    assert pq.__impl__ == "binary"


def test_a_killed_server_keeps_what_was_committed_and_nothing_else(postgres: Postgres, postgres_url: str) -> None:
    write(postgres_url, 1)
    with psycopg.connect(postgres_url) as torn:
        torn.execute("INSERT INTO kept VALUES (2)")

        postgres.kill()
        with pytest.raises(psycopg.OperationalError):
            torn.execute("SELECT 1")
        postgres.start()

    assert numbers(postgres_url) == [1]


def test_a_server_that_is_down_at_the_end_of_a_test_is_up_for_the_next(postgres: Postgres, postgres_url: str) -> None:
    postgres.kill()


def test_and_here_is_the_next(postgres: Postgres) -> None:
    assert postgres.process.running


def test_a_frozen_server_is_silent_and_goes_on_when_it_thaws(postgres: Postgres, postgres_url: str) -> None:
    with psycopg.connect(postgres_url) as connection:
        with postgres.frozen():
            connection.pgconn.send_query(b"SELECT 7")
            assert select.select([connection], [], [], 0.3)[0] == []

        result = connection.pgconn.get_result()
        assert result is not None
        assert result.get_value(0, 0) == b"7"
        assert connection.pgconn.get_result() is None
