"""What can be seen of a store and its broker from outside: the one place where their views are put together."""

from __future__ import annotations

import os

from onward.inspection.view import LogsView, StoreView
from onward.runtime.adapters import adapter
from onward.settings import KAFKA, POSTGRES, sqlite_path
from onward.sqlite.view import FileView


def view_of(store: str, broker: str | None = None) -> StoreView:
    """`broker` is the address given, stronger than ONWARD_BROKER. Raises SettingError and MissingExtraError."""
    logs = _logs(broker)
    if store.startswith(POSTGRES):
        found: StoreView = adapter("onward.stores.postgres.view").DatabaseView(store, logs)
        return found
    return FileView(sqlite_path(store, "store"), logs)


def _logs(broker: str | None) -> LogsView | None:
    """None where the store's file is the broker, or nothing says which one is."""
    url = broker or os.environ.get("ONWARD_BROKER") or ""
    if url.startswith(KAFKA):
        found: LogsView = adapter("onward.brokers.kafka.view").KafkaView(url)
        return found
    if broker is not None:
        sqlite_path(broker, "broker")
    return None
