"""How events leave a store that is not the broker's file: its outbox, and what stores share that keep one."""

from onward.relay.port import Outbox, OutboxRow, OutboxStats, Outlet, Stamp, Term, outbox_of

__all__ = ["Outbox", "OutboxRow", "OutboxStats", "Outlet", "Stamp", "Term", "outbox_of"]
