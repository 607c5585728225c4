"""What `--workers` buys on one SQLite file, where one process writes at a time."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

from benchmarks.harness import Benchmark
from benchmarks.orders import environment, expect, fill, service, taken

FOLDER = "BENCHMARK_FOLDER"


def _measure(workers: int, count: int, folder: Path) -> dict[str, float]:
    asyncio.run(fill(folder, count, "take"))
    command = [sys.executable, "-m", "onward", "run", "benchmarks.workers:app", "--workers", str(workers)]
    running = subprocess.Popen(
        command, env={**environment(), FOLDER: str(folder)}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        first, began = _until(folder, 1)
        last, ended = _until(folder, count)
    finally:
        running.terminate()
        running.wait(60)
    expect("orders taken", taken(folder), count)
    return {"rate": (last - first) / max(ended - began, 1e-3)}


def _until(folder: Path, wanted: int) -> tuple[int, float]:
    until = time.perf_counter() + 120
    while (found := taken(folder)) < wanted:
        if time.perf_counter() > until:
            raise TimeoutError(f"{found:,} of {wanted:,} events after two minutes")
        time.sleep(0.005)
    return found, time.perf_counter()


if FOLDER in os.environ:
    app = service(Path(os.environ[FOLDER]), "take")

BENCHMARKS = [
    Benchmark(
        "onward run --workers, one UPDATE each",
        {f"{count} worker{'s' * (count > 1)}": partial(_measure, count) for count in (1, 2, 4)},
        {"rate": "events/s"},
        300_000,
        2000,
        against="1 worker",
    )
]
