"""onward: declare events and handlers; every event takes effect exactly once, in order per key."""

from onward.app import App
from onward.errors import BatchFailed, FatalError, OnwardError
from onward.events import Event, assert_compatible, check_compatibility, event, snapshot, upcast
from onward.pipeline.context import Context
from onward.policy import Retry
from onward.ports import Result, SyncTransaction, Transaction
from onward.telemetry.tracing import Tracing
from onward.topics import Retention, Topic

__all__ = [
    "App",
    "BatchFailed",
    "Context",
    "Event",
    "FatalError",
    "OnwardError",
    "Result",
    "Retention",
    "Retry",
    "SyncTransaction",
    "Topic",
    "Tracing",
    "Transaction",
    "assert_compatible",
    "check_compatibility",
    "event",
    "snapshot",
    "upcast",
]
