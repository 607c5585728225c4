"""Time, as the pipeline sees it."""

from __future__ import annotations

from typing import Protocol


class Clock(Protocol):
    """Time, as the pipeline sees it; tests turn it by hand."""

    def time(self) -> float:
        """Seconds since the epoch."""
        ...

    async def sleep(self, seconds: float) -> None: ...
