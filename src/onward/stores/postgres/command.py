"""A statement that onward says, as a value."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

Arguments = Sequence[Any]


class Command(NamedTuple):
    """A statement to run once for each of `rows`, without reading what it gives.

    `otherwise` is raised where it does not change, or find, exactly so many rows; it then has one row of arguments.
    `binary` halves what travels where what it gives is mostly bytes.
    """

    sql: str
    rows: Sequence[Arguments] = ((),)
    otherwise: Exception | None = None
    changes: int = 1
    binary: bool = False
