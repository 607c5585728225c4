"""Counters of several processes added up, so that a replaced process takes nothing away from its service."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

BY_HANDLER = ("handled", "retries", "dead", "parked")
PLAIN = ("published", "reruns", "batch_seconds")


def total(snapshots: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """The sum of meter snapshots; what one of them lacks counts as nothing."""
    by_handler: dict[str, Counter[str]] = {name: Counter() for name in BY_HANDLER}
    plain: dict[str, float] = dict.fromkeys(PLAIN, 0)
    buckets: list[int] = []
    for snapshot in snapshots:
        for name in BY_HANDLER:
            by_handler[name].update(snapshot.get(name, {}))
        for name in PLAIN:
            plain[name] += snapshot.get(name, 0)
        counts = snapshot.get("batch_counts", [])
        buckets += [0] * (len(counts) - len(buckets))
        for index, count in enumerate(counts):
            buckets[index] += count
    return {**{name: dict(counts) for name, counts in by_handler.items()}, **plain, "batch_counts": buckets}
