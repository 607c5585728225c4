"""What runs a service, loaded when it is first asked for: a process that only declares an App waits for none of it."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from asyncio import Lock as Lock

    from onward.outbox import Home as Home
    from onward.outbox import Outbox as Outbox
    from onward.pipeline.sessions import sessions as sessions
    from onward.runtime.engine import Engine as Engine
    from onward.runtime.opening import identity_of as identity_of
    from onward.runtime.opening import open_engine as open_engine
    from onward.runtime.opening import place_of as place_of
    from onward.runtime.opening import waker_of as waker_of
    from onward.runtime.service import Service as Service
    from onward.runtime.service import ServicePlan as ServicePlan

_HOMES = {
    "Engine": "onward.runtime.engine",
    "Home": "onward.outbox",
    "Lock": "asyncio",  # half of what importing onward would take
    "Outbox": "onward.outbox",
    "Service": "onward.runtime.service",
    "ServicePlan": "onward.runtime.service",
    "identity_of": "onward.runtime.opening",
    "open_engine": "onward.runtime.opening",
    "place_of": "onward.runtime.opening",
    "sessions": "onward.pipeline.sessions",
    "waker_of": "onward.runtime.opening",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = globals()[name] = getattr(importlib.import_module(_HOMES[name]), name)
    return found
