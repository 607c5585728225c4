"""Records of other programs on their way into the log: appended as they are, a batch in one transaction."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from onward.ports import Outgoing
from onward.sqlite.database import Database
from onward.sqlite.log import FileLog
from onward.sqlite.neighbours import Neighbours


class Ingest:
    """Appends to one file and wakes who reads it; makes the file where there is none."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._log = FileLog(database)
        self._neighbours = Neighbours(database, "cli")
        self._log.appended.append(self._neighbours.notify)

    def append(self, records: Iterable[Outgoing], source: str) -> None:
        """All or none, durable when it returns. Raises BacklogFullError and StoreError."""
        try:
            with self._database.transaction_sync():
                self._log.append(list(records), source)
        except BaseException:
            self._log.forget()
            raise

    def topic_of(self, event_type: str) -> list[str]:
        """The topics on which some handler on record takes this type."""
        rows = self._database.read(
            "SELECT DISTINCT t.name FROM onward_handler h JOIN onward_subscription s ON s.id = h.subscription"
            " JOIN onward_topic t ON t.id = s.topic, json_each(h.types) j WHERE j.value = ? AND s.retired_at IS NULL",
            (event_type,),
        )
        return [name for (name,) in rows]

    def close(self) -> None:
        self._neighbours.leave()
        self._database.close()


@contextmanager
def ingesting(path: Path) -> Iterator[Ingest]:
    """Raises StoreError when the file can't be used."""
    ingest = Ingest(Database.open(path))
    try:
        yield ingest
    finally:
        ingest.close()
