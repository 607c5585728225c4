"""A long backlog: the consumer's memory stays small, and the last events go as fast as the first."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from pathlib import Path
from time import perf_counter

from benchmarks.harness import Benchmark
from benchmarks.orders import environment, expect, fill, passed, service, taken


def _measure(count: int, folder: Path) -> dict[str, float]:
    """The backlog is written here and consumed in a process of its own, whose memory is looked at."""
    asyncio.run(fill(folder, count, "take"))
    command = [sys.executable, "-m", "benchmarks.backlog", str(folder), str(count)]
    ended = subprocess.run(command, env=environment(), stdout=subprocess.PIPE, check=True, text=True)
    expect("orders taken", taken(folder), count)
    expect("events passed", passed(folder), count)
    values: dict[str, float] = json.loads(ended.stdout)
    return values


async def _consume(folder: Path, count: int) -> dict[str, float]:
    times: list[float] = []  # when each tenth was done
    async with service(folder, "take").lifespan() as running:
        assert running is not None
        times.append(perf_counter())
        for tenth in range(1, 11):
            while running.meter.snapshot()["handled"].get("take", 0) < count * tenth // 10:  # noqa: ASYNC110 - seen from outside
                await asyncio.sleep(0.002)
            times.append(perf_counter())
    peak_mb = next(int(line.split()[1]) for line in _status() if line.startswith("VmHWM")) / 1024
    return {
        "rate": count / (times[-1] - times[0]),
        "rate of the last tenth to the first": (times[1] - times[0]) / (times[-1] - times[-2]),
        "peak memory": peak_mb,
    }


def _status() -> list[str]:
    return Path("/proc/self/status").read_text().splitlines()


BENCHMARKS = [
    Benchmark(
        "backlog",
        {"onward": _measure},
        {"rate": "events/s", "rate of the last tenth to the first": "ratio", "peak memory": "MB"},
        10_000_000,
        5000,
        rounds=1,
    )
]

if __name__ == "__main__":
    print(json.dumps(asyncio.run(_consume(Path(sys.argv[1]), int(sys.argv[2])))))
