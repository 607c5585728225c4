"""Runs benchmarks: every side in a fresh process and folder, sides interleaved, medians and ratios printed."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from benchmarks.orders import environment

ABSENT = 77  # a child's exit code: what this side needs is not installed
Side = Callable[[int, Path], dict[str, float]]


class Size(Enum):
    """How much is measured."""

    QUICK = "quick"
    USUAL = "usual"
    FULL = "full"


@dataclass(frozen=True, slots=True)
class Benchmark:
    """One comparison. `sides` map a name to its measurement; `against` names the side ratios refer to.

    A side is called with a count and an empty folder, checks its effects, and returns a value per metric.
    """

    name: str
    sides: dict[str, Side]
    units: dict[str, str]  # per metric
    count: int
    quick_count: int
    against: str = ""
    rounds: int = 5
    share: bool = False  # also the time an event costs more than in `against`
    timeout_s: float = 400.0  # of one side in one round
    full_count: int = 0  # 0 is `count`

    def sized(self, size: Size) -> int:
        if size is Size.QUICK:
            return self.quick_count
        return self.full_count or self.count if size is Size.FULL else self.count


@dataclass(frozen=True, slots=True)
class Figure:
    """One line of the result."""

    name: str
    side: str
    value: float
    unit: str
    against: str
    ratio: float | None


def run(module: str, benchmark: Benchmark, size: Size, tell: Callable[[str], None]) -> list[Figure]:
    """Raises RuntimeError when a side fails; a side that needs what is absent is left out and told."""
    rounds = 1 if size is Size.QUICK else benchmark.rounds
    count = benchmark.sized(size)
    found: dict[str, list[dict[str, float]]] = {}
    absent: set[str] = set()
    for number in range(rounds):
        for side in benchmark.sides:
            if side in absent:
                continue
            tell(f"{benchmark.name}: round {number + 1} of {rounds}, {side}")
            values = _child(module, benchmark, side, count)
            if values is None:
                absent.add(side)
                tell(f"{benchmark.name}: {side} is left out, what it needs is not installed (make bench does that)")
            else:
                found.setdefault(side, []).append(values)
    return _figures(benchmark, found)


def _child(module: str, benchmark: Benchmark, side: str, count: int) -> dict[str, float] | None:
    with tempfile.TemporaryDirectory(prefix="onward-bench-") as folder:
        ended = subprocess.run(
            [sys.executable, "-m", "benchmarks.child", module, benchmark.name, side, str(count), folder],
            capture_output=True,
            text=True,
            timeout=benchmark.timeout_s,
            env=environment(),
            check=False,
        )
    if ended.returncode == ABSENT:
        return None
    if ended.returncode != 0:
        raise RuntimeError(f"{benchmark.name}, {side} failed:\n{ended.stderr[-4000:]}")
    values: dict[str, float] = json.loads(ended.stdout.splitlines()[-1])
    return values


def _figures(benchmark: Benchmark, found: dict[str, list[dict[str, float]]]) -> list[Figure]:
    figures: list[Figure] = []
    base = found.get(benchmark.against, [])
    for side, rounds in found.items():
        compared = side != benchmark.against and bool(base)
        for metric in rounds[0]:
            unit = benchmark.units[metric]
            ratio = _ratio(rounds, base, metric) if compared and metric in base[0] else None
            figures.append(
                Figure(
                    f"{benchmark.name}, {metric}",
                    side,
                    statistics.median(values[metric] for values in rounds),
                    unit,
                    benchmark.against if ratio is not None else "",
                    ratio,
                )
            )
        if benchmark.share and compared:
            pairs = zip(rounds, base, strict=True)
            cost_us = statistics.median(1e6 / ours["rate"] - 1e6 / theirs["rate"] for ours, theirs in pairs)
            figures.append(
                Figure(f"{benchmark.name}, framework's share", side, cost_us, "µs/event", benchmark.against, None)
            )
    return figures


def _ratio(rounds: Sequence[dict[str, float]], base: Sequence[dict[str, float]], metric: str) -> float:
    """The median of the rounds' own ratios: what slows a round down slows both sides of it."""
    pairs = zip(rounds, base, strict=True)
    return statistics.median(ours[metric] / theirs[metric] for ours, theirs in pairs)
