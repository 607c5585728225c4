"""Changing an existing file from outside, in one transaction, and waking those whom it concerns."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from onward.sqlite.database import Database
from onward.sqlite.inspection import Inspection
from onward.sqlite.neighbours import Neighbours


class Change:
    """One transaction that is open: `connection` runs statements, `wake` names topics to wake after the commit."""

    def __init__(self, connection: Any) -> None:
        self.connection = connection
        self.topics: set[str] = set()

    def wake(self, topics: Iterable[str]) -> None:
        self.topics.update(topics)


@contextmanager
def changing(path: Path) -> Iterator[Change]:
    """Commits at the block's end, rolls back on any error. Raises StoreError; never makes a file."""
    Inspection.open(path).close()
    database = Database.open(path)
    try:
        with database.transaction_sync() as connection:
            change = Change(connection)
            yield change
        neighbours = Neighbours(database, "cli")
        neighbours.notify(change.topics)
        neighbours.leave()
    finally:
        database.close()
