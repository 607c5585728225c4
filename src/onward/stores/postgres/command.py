"""A statement that onward says, as a value."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

Arguments = Sequence[Any]

UNEQUAL = "22012"
"""The state of a division by zero."""


class Command(NamedTuple):
    """A statement to run once for each of `rows`, without reading what it gives.

    `otherwise` is raised where it does not change, or find, exactly so many rows; it then has one row of arguments.
    One that `fails` does so by itself then, with UNEQUAL, and may travel with the COMMIT that it is to prevent.
    `binary` halves what travels where what it gives is mostly bytes. One that is `ours` runs for every event or batch,
    means the same whatever is set, and stays prepared where a connection can keep it.
    """

    sql: str
    rows: Sequence[Arguments] = ((),)
    otherwise: Exception | None = None
    changes: int = 1
    binary: bool = False
    fails: bool = False
    ours: bool = False
