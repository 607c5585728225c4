"""The benchmarks run, check their own counts and print what a program can read. No figure is looked at."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PEERS = {  # by module; `make bench` installs them, and what is not there is left out
    "faststream": "FastStream test broker (in memory)",
    "huey": "Huey on SQLite",
    "persistqueue": "persist-queue on SQLite",
}


def benchmarks(*arguments: str) -> subprocess.CompletedProcess[str]:
    paths = os.pathsep.join([str(ROOT / "src"), str(ROOT)])
    return subprocess.run(
        [sys.executable, "-m", "benchmarks", *arguments],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": paths},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )


@pytest.mark.parametrize(
    ("module", "sides"),
    [
        ("consume", {"hand-written loop", "hand-written loop, one cursor", "onward"}),
        ("publish", {"hand-written loop", "onward"}),
        ("latency", {"hand-written loop", "onward"}),
        ("waiting", {"onward"}),
        ("startup", {"import onward", "onward --help", "a first event"}),
        ("backlog", {"onward"}),
        ("workers", {"1 worker", "2 workers", "4 workers"}),
        (
            "peers",
            {"onward, one by one", "onward, batches of 1000", *(PEERS[name] for name in PEERS if find_spec(name))},
        ),
    ],
)
def test_each_benchmark_counts_its_effects_and_prints_one_object_a_line(module: str, sides: set[str]) -> None:
    ended = benchmarks("--quick", "--json", "--only", module)

    assert ended.returncode == 0, ended.stderr
    lines = [json.loads(line) for line in ended.stdout.splitlines()]
    assert {line["name"].rpartition(": ")[2] for line in lines} == sides
    for line in lines:
        assert set(line) == {"name", "value", "unit", "against", "ratio", "versions"}
        assert isinstance(line["value"], float)
        assert (line["ratio"] is None) == (line["against"] == "" or line["name"].endswith("share: " + _side(line)))
        assert {"python", "sqlite"} <= set(line["versions"])


def _side(line: dict[str, str]) -> str:
    return line["name"].rpartition(": ")[2]


def test_a_count_that_does_not_agree_ends_the_run() -> None:
    program = "from benchmarks.orders import expect; expect('orders taken', 9, 10)"
    ended = subprocess.run(
        [sys.executable, "-c", program],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT / "src"), str(ROOT)])},
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )

    assert ended.returncode != 0
    assert "orders taken: 9 instead of 10" in ended.stderr


def test_a_name_that_no_benchmark_has_is_wrong_usage() -> None:
    ended = benchmarks("--only", "nothing-like-this")

    assert ended.returncode == 2
    assert "nothing-like-this" in ended.stderr
