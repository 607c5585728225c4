"""What a statement gave, on every store alike."""

from __future__ import annotations

from typing import Any

import msgspec

from onward.errors import TransactionError


class StatementResult(msgspec.Struct, eq=False, gc=False):
    """Rows and the number of rows changed."""

    rows: list[tuple[Any, ...]]
    rowcount: int

    def one(self) -> tuple[Any, ...]:
        if len(self.rows) != 1:
            raise TransactionError(f"one() wants exactly one row and the statement gave {len(self.rows)}.")
        return self.rows[0]

    def scalar(self) -> Any:
        return self.rows[0][0] if self.rows else None


class Driven(msgspec.Struct, frozen=True, gc=False):
    """What a statement gave to who speaks as a driver does: `columns` describe the rows, None where there are none."""

    rows: list[tuple[Any, ...]]
    columns: list[tuple[Any, ...]] | None
    rowcount: int
    lastrowid: int | None = None
