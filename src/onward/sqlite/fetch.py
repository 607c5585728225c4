"""Rows of a query whose columns' types the schema fixes, for code that unpacks them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import apsw

from onward.sqlite.failures import translate


def fetch(connection: apsw.Connection, sql: str, params: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
    """All rows at once, so that no statement stays open. Raises StoreError."""
    try:
        return connection.execute(sql, params).fetchall()
    except apsw.Error as error:
        raise translate(error, "Reading onward's tables") from error
