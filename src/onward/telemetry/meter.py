"""Counts of what a service did, kept as plain integers: one addition per batch, read by whoever reports them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

BATCH_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)
"""Upper bounds of the batch histogram's buckets, in seconds."""


class Meter:
    """One process's counters of one service. Not thread-safe: written by the loop, read as a snapshot."""

    def __init__(self) -> None:
        self._handled: Counter[str] = Counter()
        self._retries: Counter[str] = Counter()
        self._dead: Counter[str] = Counter()
        self._parked: Counter[str] = Counter()
        self._published = 0
        self._reruns = 0
        self._batch_counts = [0] * (len(BATCH_SECONDS) + 1)
        self._batch_seconds = 0.0

    def handled(self, by_handler: Mapping[str, int]) -> None:
        self._handled.update(by_handler)

    def retried(self, handler: str) -> None:
        self._retries[handler] += 1

    def died(self, handler: str) -> None:
        self._dead[handler] += 1

    def parked(self, handlers: Iterable[str]) -> None:
        self._parked.update(handlers)

    def published(self, count: int) -> None:
        self._published += count

    def rerun(self) -> None:
        self._reruns += 1

    def batch(self, _events: int | float, seconds: float) -> None:
        self._batch_seconds += seconds
        for index, bound in enumerate(BATCH_SECONDS):
            if seconds <= bound:
                self._batch_counts[index] += 1
                return
        self._batch_counts[-1] += 1

    def snapshot(self) -> dict[str, Any]:
        """The counters as JSON can carry them; monotonic while the process lives."""
        return {
            "handled": dict(self._handled),
            "retries": dict(self._retries),
            "dead": dict(self._dead),
            "parked": dict(self._parked),
            "published": self._published,
            "reruns": self._reruns,
            "batch_counts": list(self._batch_counts),
            "batch_seconds": self._batch_seconds,
        }
