"""The few protocols between onward and what it runs on. An adapter keeps these promises, and no others are used.

A **broker** carries records; a **store** keeps effects and accounts. They may be the same file. The pipeline
sees only this package. Unless a method says otherwise it may be cancelled, in which case it had no effect.

A **record** is a plain tuple, because millions of them pass: `(offset, tag, value, key, ...)`. `offset` is the
place in its partition; `tag` is whatever hashable the broker uses for the wire type, opened by `Log.wire_type`;
`value` is the bytes as published or None; `key` is text or None; what follows is the adapter's own and is opened by
`Log.envelope`.
"""

from __future__ import annotations

from onward.ports.accounts import Attempt, Claim, DeadLetter, Parked, Queues, Retried, Settlement
from onward.ports.broker import Broker, Consumer, Group, Log
from onward.ports.capabilities import Capabilities
from onward.ports.clock import Clock
from onward.ports.records import (
    DELIVERY_BYTES,
    Alike,
    Delivery,
    Outgoing,
    Place,
    Record,
    Repeated,
    Shift,
    WireType,
    fields_of,
)
from onward.ports.registration import HandlerEntry, ServiceEntry, SubscriptionEntry
from onward.ports.store import Returned, Store, Unit
from onward.ports.transaction import Result, SyncTransaction, Transaction

__all__ = [
    "DELIVERY_BYTES",
    "Alike",
    "Attempt",
    "Broker",
    "Capabilities",
    "Claim",
    "Clock",
    "Consumer",
    "DeadLetter",
    "Delivery",
    "Group",
    "HandlerEntry",
    "Log",
    "Outgoing",
    "Parked",
    "Place",
    "Queues",
    "Record",
    "Repeated",
    "Result",
    "Retried",
    "Returned",
    "ServiceEntry",
    "Settlement",
    "Shift",
    "Store",
    "SubscriptionEntry",
    "SyncTransaction",
    "Transaction",
    "Unit",
    "WireType",
    "fields_of",
]
