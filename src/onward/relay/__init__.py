"""How events leave a store that is not the broker's file: its outbox, and what stores share that keep one."""

from onward.relay.columns import Columns, Kind
from onward.relay.port import (
    ASIDE,
    NOWHERE,
    Batch,
    Outbox,
    OutboxRow,
    OutboxStats,
    Outlet,
    Refused,
    Stamp,
    Term,
    outbox_of,
)

__all__ = [
    "ASIDE",
    "NOWHERE",
    "Batch",
    "Columns",
    "Kind",
    "Outbox",
    "OutboxRow",
    "OutboxStats",
    "Outlet",
    "Refused",
    "Stamp",
    "Term",
    "outbox_of",
]
