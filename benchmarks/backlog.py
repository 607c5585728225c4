"""A long backlog: the consumer's memory stays small, and the last events go as fast as the first."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from pathlib import Path
from time import perf_counter, process_time

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
    times: list[tuple[float, float]] = []  # when each tenth was done, by the wall and by this process's own clock
    async with service(folder, "take").lifespan() as running:
        assert running is not None
        times.append((perf_counter(), process_time()))
        for tenth in range(1, 11):
            while running.meter.snapshot()["handled"].get("take", 0) < count * tenth // 10:  # noqa: ASYNC110 - seen from outside
                await asyncio.sleep(0.002)
            times.append((perf_counter(), process_time()))
    (first_s, first_cpu_s), (last_s, last_cpu_s) = _between(times[0], times[1]), _between(times[-2], times[-1])
    peak_mb = next(int(line.split()[1]) for line in _status() if line.startswith("VmHWM")) / 1024
    return {
        "rate": count / (times[-1][0] - times[0][0]),
        "rate of the last tenth to the first": first_s / last_s,
        "CPU time of the last tenth to the first": last_cpu_s / first_cpu_s,
        "peak memory": peak_mb,
    }


def _between(begin: tuple[float, float], end: tuple[float, float]) -> tuple[float, float]:
    return end[0] - begin[0], end[1] - begin[1]


def _status() -> list[str]:
    return Path("/proc/self/status").read_text().splitlines()


UNITS = {
    "rate": "events/s",
    "rate of the last tenth to the first": "ratio",
    "CPU time of the last tenth to the first": "ratio",
    "peak memory": "MB",
}
BENCHMARKS = [
    Benchmark("backlog", {"onward": _measure}, UNITS, 10_000_000, 50_000, rounds=1, timeout_s=1800.0),
    Benchmark("backlog of a million", {"onward": _measure}, UNITS, 1_000_000, 10_000),
]

if __name__ == "__main__":
    print(json.dumps(asyncio.run(_consume(Path(sys.argv[1]), int(sys.argv[2])))))
