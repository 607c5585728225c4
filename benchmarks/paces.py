"""How events come whose way is timed one by one, and how busy whoever handles them is meanwhile."""

from __future__ import annotations

import asyncio
import os
import statistics
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Pace:
    """Each event `after_s` the one before it was handled; beside so many others a second that nobody waits for.

    Without a pause no thread of either side, of Kafka or of PostgreSQL falls asleep for long between two events, and to
    wake one costs more than what it does.
    """

    name: str
    after_s: float = 0.0
    others: bool = False
    rounds: int = 5

    async def pause(self) -> None:
        if self.after_s:
            await asyncio.sleep(self.after_s)


PACES = (
    Pace("one right after another"),
    Pace("10 ms apart", 0.01, rounds=3),
    Pace("10 ms apart beside others", 0.01, others=True, rounds=3),
)


UNITS = {"p50": "ms", "p99": "ms", "handling": "% of a core"}


class Busy:
    """How much these processes use from here on."""

    def __init__(self, pids: list[int]) -> None:
        self._pids = pids
        self._began, self._used_s = perf_counter(), self._cpu_s()

    def used_s(self) -> float:
        return self._cpu_s() - self._used_s

    def percent(self) -> float:
        """Of one core."""
        return 100 * self.used_s() / (perf_counter() - self._began)

    def _cpu_s(self) -> float:
        return sum(map(_cpu_s, self._pids))


def figures(took_ms: list[float], busy_percent: float) -> dict[str, float]:
    """What UNITS are of."""
    cuts = statistics.quantiles(took_ms, n=100)
    return {"p50": cuts[49], "p99": cuts[98], "handling": busy_percent}


def _cpu_s(pid: int) -> float:
    """What a process and its children have used."""
    ticks = [int(each) for each in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:13]]
    children = [
        int(child) for task in Path(f"/proc/{pid}/task").iterdir() for child in (task / "children").read_text().split()
    ]
    return sum(ticks) / TICKS + sum(map(_cpu_s, children))
