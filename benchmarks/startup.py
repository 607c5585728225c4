"""What importing onward, asking for help, and publishing a first event to a new file take, above bare Python.

As installed, that is with compiled modules. What only a service needs is loaded for the first event.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path
from time import perf_counter

from benchmarks.harness import Benchmark
from benchmarks.orders import environment

FIRST_EVENT = """
import asyncio
from onward import App, Event

class Placed(Event, type="start.placed", topic="placed"):
    order_id: str

async def publish():
    app = App("start", store="sqlite:///./start.db")
    await app.publish(Placed(order_id="1"))
    await app.close()

asyncio.run(publish())
"""


def _measure(arguments: tuple[str, ...], count: int, folder: Path) -> dict[str, float]:
    _run(arguments, folder)  # compiles what is not compiled yet
    above_ms = []
    for _ in range(count):
        bare = _run(("-c", "pass"), folder)
        above_ms.append((_run(arguments, folder) - bare) * 1000)
    return {"time above bare Python": statistics.median(above_ms)}


def _run(arguments: tuple[str, ...], folder: Path) -> float:
    with tempfile.TemporaryDirectory(dir=folder) as empty:
        began = perf_counter()
        command = [sys.executable, *arguments]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, cwd=empty, env=_environment())
        return perf_counter() - began


def _environment() -> dict[str, str]:
    """The children run elsewhere, so a relative PYTHONPATH would lead nowhere; and they keep what they compile."""
    found = environment()
    found.pop("PYTHONDONTWRITEBYTECODE", None)
    if "PYTHONPATH" in found:
        found["PYTHONPATH"] = ":".join(str(Path(each).absolute()) for each in found["PYTHONPATH"].split(":"))
    return found


BENCHMARKS = [
    Benchmark(
        "start",
        {
            "import onward": partial(_measure, ("-c", "import onward")),
            "onward --help": partial(_measure, ("-m", "onward", "--help")),
            "a first event": partial(_measure, ("-c", FIRST_EVENT)),
        },
        {"time above bare Python": "ms"},
        5,
        1,
    )
]
