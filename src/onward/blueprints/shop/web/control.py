"""What the page needs of whoever runs the services: to see them, to stop one, to start it again."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Protocol


class RunState(Enum):
    """Where a service's process is in its life."""

    STARTING = "starting"
    RUNNING = "running"
    STOPPING = "stopping"
    STOPPED = "stopped"
    UNREADY = "unready"


@dataclass(frozen=True, slots=True)
class ServiceState:
    """One service at one moment. `failures` counts events it gave up; `lag` counts events it has yet to handle."""

    name: str
    state: RunState
    rate_per_s: float
    lag: int
    failures: int
    pid: int | None = None
    elsewhere: bool = False  # somebody else runs it, so it can be seen and not stopped


class ServiceControl(Protocol):
    """Runs services. Safe to call from several pages at once."""

    async def stop(self, name: str) -> None:
        """Let the service finish what it has in hand and end; returns at once. No effect if it is not running.

        Raises KeyError for a name it does not run.
        """
        ...

    async def start(self, name: str) -> None:
        """Start the service again; returns at once. No effect if it is running. Raises KeyError like `stop`."""
        ...

    async def snapshot(self) -> Sequence[ServiceState]:
        """Every service, in the order in which they are to be shown."""
        ...
