"""Copies of a database, as a backup or a replica that lags has them, and a way back to them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
from psycopg import sql

from scripts.servers.postgres import Postgres


class Copies:
    """One copy of one database. Taking it and going back to it end all connections there."""

    def __init__(self, server: Postgres, url: str) -> None:
        self._server = server
        self._name = url.rpartition("/")[2]
        self._former = f"{self._name}_former"
        self._copy = f"{self._name}_copy"

    def take(self) -> None:
        self._run("CREATE DATABASE {copy} TEMPLATE {name}")

    def go_back(self) -> None:
        """From here on the copy is what the address leads to."""
        self._run("ALTER DATABASE {name} RENAME TO {former}", "ALTER DATABASE {copy} RENAME TO {name}")

    def drop(self) -> None:
        self._run("DROP DATABASE IF EXISTS {former}", "DROP DATABASE IF EXISTS {copy}")

    def _run(self, *statements: str) -> None:
        names = {"name": self._name, "former": self._former, "copy": self._copy}
        with psycopg.connect(self._server.url, autocommit=True) as admin:
            admin.execute(
                "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE datname = ANY (%s)",
                (list(names.values()),),
            )
            for statement in statements:
                admin.execute(sql.SQL(statement).format(**{key: sql.Identifier(name) for key, name in names.items()}))


@contextmanager
def copies_of(server: Postgres, url: str) -> Iterator[Copies]:
    copies = Copies(server, url)
    try:
        yield copies
    finally:
        copies.drop()
