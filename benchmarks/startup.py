"""What importing onward and asking for help take, above bare Python."""

from __future__ import annotations

import statistics
import subprocess
import sys
from functools import partial
from pathlib import Path
from time import perf_counter

from benchmarks.harness import Benchmark
from benchmarks.orders import environment


def _measure(arguments: tuple[str, ...], count: int, folder: Path) -> dict[str, float]:
    above_ms = []
    for _ in range(count):
        bare = _run(("-c", "pass"), folder)
        above_ms.append((_run(arguments, folder) - bare) * 1000)
    return {"time above bare Python": statistics.median(above_ms)}


def _run(arguments: tuple[str, ...], folder: Path) -> float:
    began = perf_counter()
    subprocess.run([sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL, cwd=folder, env=_environment())
    return perf_counter() - began


def _environment() -> dict[str, str]:
    """The children run elsewhere, so a relative PYTHONPATH would lead nowhere."""
    found = environment()
    if "PYTHONPATH" in found:
        found["PYTHONPATH"] = ":".join(str(Path(each).absolute()) for each in found["PYTHONPATH"].split(":"))
    return found


BENCHMARKS = [
    Benchmark(
        "start",
        {
            "import onward": partial(_measure, ("-c", "import onward")),
            "onward --help": partial(_measure, ("-m", "onward", "--help")),
        },
        {"time above bare Python": "ms"},
        5,
        1,
    )
]
