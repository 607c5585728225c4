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


@pytest.mark.parametrize(
    ("part", "sides"),
    [
        ("plain JSON", {"hand-written loop", "hand-written loop, no savepoints", "onward"}),
        ("send to Kafka", {"raw producer", "raw producer, no headers", "onward, 1000 a call"}),
        (
            "send to handled on Kafka, 10 ms apart beside",
            {"raw producer and consumer", "the same on an event loop", "onward"},
        ),
        ("Kafka to SQLite to Kafka", {"hand-written loop and relay", "onward"}),
        ("outbox in PostgreSQL, 10 ms apart beside", {"hand-written outbox and relay", "onward"}),
        ("one blind UPDATE", {"hand-written pipeline", "onward"}),
        ("1000 events a row", {"SQLite", "PostgreSQL"}),
        ("clients, events of onward", {"confluent-kafka, consume(1000)", "onward's consumer"}),
    ],
)
def test_each_part_counts_its_effects_and_prints_one_object_a_line(
    kafka: Kafka, postgres_url: str, part: str, sides: set[str]
) -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "benchmarks.kafka", "--quick", "--json", "--only", part],
        cwd=ROOT,
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join([str(ROOT / "src"), str(ROOT)]),
            "BENCHMARK_KAFKA": kafka.bootstrap,
            "BENCHMARK_POSTGRES": postgres_url,
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
