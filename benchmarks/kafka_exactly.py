"""Peers that keep state and put an event out for each, exactly once within Kafka, on the topic that onward reads."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from contextlib import closing
from functools import partial
from pathlib import Path
from zlib import crc32

from confluent_kafka import Consumer

from benchmarks.harness import Benchmark
from benchmarks.kafka_orders import ANSWER_S, HANDLED_S, UNITS, fill, make_topic, servers
from benchmarks.kafka_relayed import by_onward
from benchmarks.orders import expect
from scripts.servers import kafka_jars
from scripts.servers.errors import Absent

PROJECT = Path(__file__).with_name("kafka_streams")
QUIX_LOCK = Path(__file__).parents[1] / "requirements" / "quix.lock"
BUILD_LIMIT_S = 900.0


def versions() -> dict[str, str]:
    """Of the peers, as they are pinned."""
    streams = re.search(r"kafka-streams</artifactId>\s*<version>([^<]+)", (PROJECT / "pom.xml").read_text())
    quix = re.search(r"^quixstreams==(\S+)", QUIX_LOCK.read_text(), re.MULTILINE)
    assert streams is not None
    assert quix is not None
    return {"kafka-streams": streams[1], "quixstreams": quix[1]}


def _streams(count: int, folder: Path) -> dict[str, float]:
    """Kafka Streams, one thread, a transaction each 100 ms."""
    jars = _built()
    fill("orders", count)
    make_topic("counts")
    arguments = [servers(), folder.name, "orders", "counts", str(count), str(folder)]
    command = [kafka_jars.java(), "-Xmx512m", "-cp", f"{jars}/*", "Counting", *arguments]
    said = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, timeout=HANDLED_S).stdout
    expect("counts in the topic", _committed("counts", count), count)
    return {"rate": float(said)}


def _built() -> Path:
    """The folder with its jars, built if it is not there. Raises Absent."""
    pom, source = PROJECT / "pom.xml", next(PROJECT.rglob("*.java"))
    jars = kafka_jars.CACHE / f"kafka-streams-{crc32(pom.read_bytes() + source.read_bytes()):08x}"
    if jars.is_dir():
        return jars
    maven = shutil.which("mvn")
    if maven is None or shutil.which("javac") is None:
        raise Absent(
            "Kafka Streams is built by Maven and javac (on Debian: apt-get install maven default-jdk-headless)."
        )
    kafka_jars.CACHE.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=kafka_jars.CACHE, prefix="building-") as partial:
        goals = [
            "package",
            "dependency:copy-dependencies",
            "-DincludeScope=runtime",
            f"-DoutputDirectory={partial}/jars",
        ]
        command = [
            maven,
            "--batch-mode",
            "--no-transfer-progress",
            f"--file={pom}",
            f"-Dbuild.folder={partial}",
            *goals,
        ]
        ended = subprocess.run(command, capture_output=True, text=True, timeout=BUILD_LIMIT_S, check=False)
        if ended.returncode != 0:
            raise Absent(f"Maven could not build Kafka Streams: {ended.stdout[-2000:]}")
        shutil.copy(next(Path(partial).glob("counting-*.jar")), f"{partial}/jars")
        Path(partial, "jars").rename(jars)
    return jars


def _quix(commit_s: float, count: int, folder: Path) -> dict[str, float]:
    """Quix Streams, which commits as often; by default each 5 s."""
    python = _with_quix()
    fill("orders", count)
    make_topic("counts")
    program = str(Path(__file__).with_name("kafka_quix.py"))
    arguments = [servers(), folder.name, "orders", "counts", str(count), str(folder), str(commit_s)]
    said = subprocess.run(
        [python, program, *arguments], stdout=subprocess.PIPE, text=True, check=True, timeout=HANDLED_S
    ).stdout
    expect("counts in the topic", _committed("counts", count), count)
    values: dict[str, float] = json.loads(said.splitlines()[-1])
    return values


def _with_quix() -> str:
    """A Python of its own: Quix Streams wants an older client than everything else here. Raises Absent."""
    place = kafka_jars.CACHE / f"quix-{crc32(QUIX_LOCK.read_bytes()):08x}"
    python = place / "bin" / "python"
    if not (place / "whole").exists():
        install = ["-m", "pip", "install", "--disable-pip-version-check", "--quiet", "--only-binary", ":all:"]
        try:
            subprocess.run([sys.executable, "-m", "venv", "--clear", place], check=True, capture_output=True)
            subprocess.run(
                [python, *install, "--require-hashes", "-r", QUIX_LOCK],
                check=True,
                capture_output=True,
                timeout=BUILD_LIMIT_S,
                env={name: value for name, value in os.environ.items() if name != "PYTHONPATH"},
            )
        except subprocess.CalledProcessError as error:
            raise Absent(f"Quix Streams could not be installed: {error.stderr.decode()[-2000:]}") from error
        (place / "whole").touch()
    return str(python)


def _committed(topic: str, wanted: int) -> int:
    """How many messages a topic holds that were committed, up to one more than are wanted."""
    options = {"group.id": "counting", "isolation.level": "read_committed", "auto.offset.reset": "earliest"}
    found = 0
    with closing(Consumer({"bootstrap.servers": servers(), "enable.auto.commit": False, **options})) as consumer:
        consumer.subscribe([topic])
        while found <= wanted:
            messages = consumer.consume(10_000, ANSWER_S if found < wanted else 1.0)
            if not messages:
                return found
            found += sum(message.error() is None for message in messages)
    return found


BENCHMARKS = [
    Benchmark(
        "exactly once, state and an event each, Kafka to Kafka",
        {
            "onward on SQLite": by_onward,
            "Kafka Streams (Java)": _streams,
            "Quix Streams": partial(_quix, 5.0),
            "Quix Streams, a transaction each 100 ms": partial(_quix, 0.1),
        },
        UNITS,
        150_000,
        2000,
        against="onward on SQLite",
        rounds=3,
        timeout_s=1000.0,
    )
]
