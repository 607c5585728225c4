"""The benchmarks on a real Kafka run, check their own counts and print what a program can read. No figure is looked at.

Peers are left out where `make bench-kafka` has not installed them.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from scripts.servers.kafka import Kafka

ROOT = Path(__file__).resolve().parents[2]
OWN = {"hand-written loop", "hand-written loop, no savepoints", "onward"}


@pytest.mark.parametrize(("part", "sides"), [("plain JSON", OWN)])
def test_each_part_counts_its_effects_and_prints_one_object_a_line(kafka: Kafka, part: str, sides: set[str]) -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "benchmarks.kafka", "--quick", "--json", "--only", part],
        cwd=ROOT,
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join([str(ROOT / "src"), str(ROOT)]),
            "BENCHMARK_KAFKA": kafka.bootstrap,
        },
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )

    assert ended.returncode == 0, ended.stderr
    lines = [json.loads(line) for line in ended.stdout.splitlines()]
    assert sides <= {line["name"].rpartition(": ")[2] for line in lines}
    for line in lines:
        assert set(line) == {"name", "value", "unit", "against", "ratio", "versions"}
        assert isinstance(line["value"], float)
        assert {"python", "sqlite", "confluent-kafka"} <= set(line["versions"])
