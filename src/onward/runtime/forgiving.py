"""Taking back the blame for a process that was ended on purpose, in whichever store it worked on."""

from __future__ import annotations

import importlib

from onward.settings import POSTGRES
from onward.sqlite import unclean


def forgive(store: str, member: str) -> None:
    """As the store's own; `store` is a file's path or a database's address. Blocks. Raises StoreError."""
    if store.startswith(POSTGRES):
        importlib.import_module("onward.stores.postgres.unclean").forgive(store, member)
    else:
        unclean.forgive(store, member)
