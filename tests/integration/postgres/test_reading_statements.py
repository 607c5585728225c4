"""A statement is read as the server reads it: what is a literal to one is a literal to the other."""

from collections import defaultdict
from collections.abc import Iterator

import psycopg
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from psycopg.pq import ExecStatus

from onward.errors import TransactionError
from onward.stores.postgres.statement import read
from scripts.servers.postgres import Postgres

PIECES = st.sampled_from(
    ["'", "''", "E'", "e'", "\\", "\\'", '"', "$$", "$a$", "--", "\n", "/*", "*/", ":p", "||", " ", "x", "::text"]
)


@pytest.fixture(scope="module")
def connection(shared_postgres: Postgres) -> Iterator[psycopg.Connection]:
    shared_postgres.start()
    with psycopg.connect(shared_postgres.url, autocommit=True) as connection:
        yield connection


@settings(max_examples=500)
@given(st.lists(PIECES, max_size=12).map("".join))
def test_the_server_sees_the_same_parameters(connection: psycopg.Connection, text: str) -> None:
    written = f"SELECT 'a' || {text}"
    try:
        plan = read(written)
    except TransactionError:
        return
    given_to_it = len(plan.arguments(defaultdict(int)))
    prepared = connection.pgconn.prepare(b"", plan.sql.encode())
    if prepared.status == ExecStatus.COMMAND_OK:
        assert connection.pgconn.describe_prepared(b"").nparams == given_to_it, plan.sql
    else:
        assert b'near ":"' not in prepared.error_message, plan.sql
