"""Rows of a query whose columns' types the schema fixes, for code that unpacks them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import apsw


def fetch(connection: apsw.Connection, sql: str, params: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
    """All rows at once, so that no statement stays open."""
    return connection.execute(sql, params).fetchall()
