"""Taking back the blame for a process that was ended on purpose."""

from __future__ import annotations

from pathlib import Path

from onward.sqlite.database import Database


def forgive(path: str | Path, member: str) -> None:
    """The end of this member is no unclean start of the partitions it held; those before it stay counted.

    Blocks: not for an event loop. Raises StoreError, after which its own stays counted too.
    """
    database = Database.open(path)
    try:
        with database.transaction_sync() as writer:
            writer.execute("UPDATE onward_account SET unclean = max(unclean - 1, 0) WHERE owner = ?", (member,))
    finally:
        database.close()
