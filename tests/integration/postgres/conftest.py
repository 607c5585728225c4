"""Databases in which a service has been at work."""

from collections.abc import Iterator
from secrets import token_hex

import psycopg
import pytest

from onward.stores.postgres import session as sessions
from scripts.servers.postgres import Postgres
from tests.integration.postgres.looking import Onward, command_line, handle_orders


@pytest.fixture(scope="session")
def orders_handled(shared_postgres: Postgres) -> Iterator[str]:
    """The name of a database to copy: six events were handled, and one of them is a dead letter."""
    name = f"handled_{token_hex(6)}"
    shared_postgres.start()
    shared_postgres.create_database(name)
    handle_orders(shared_postgres.url_of(name))
    yield name
    shared_postgres.start()
    shared_postgres.drop_database(name)


@pytest.fixture
def handled(postgres: Postgres, orders_handled: str) -> Iterator[str]:
    """The address of a copy that is this test's own."""
    name = f"test_{token_hex(6)}"
    with psycopg.connect(postgres.url, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name} TEMPLATE {orders_handled}".encode())
    yield postgres.url_of(name)
    postgres.start()
    postgres.drop_database(name)


@pytest.fixture
def onward(handled: str) -> Onward:
    """Commands on that copy."""
    return command_line(handled)


@pytest.fixture
def seen(postgres: Postgres, orders_handled: str) -> Onward:
    """Commands on the database that the others are copies of: for tests that change nothing there."""
    return command_line(postgres.url_of(orders_handled))


@pytest.fixture
def pooled(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    """As if the server's connection were another client's next; or not, as a test's parameter has it."""
    answer = bool(getattr(request, "param", True))

    async def told(_connection: object) -> bool:
        return answer

    monkeypatch.setattr(sessions, "is_pooled", told)
    return answer
