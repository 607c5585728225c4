"""The services on the page about SQLAlchemy are run and used over HTTP: what is rolled back is not published."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import apsw
import httpx
import psycopg
import pytest
from confluent_kafka import Consumer, TopicPartition

from scripts.servers.kafka import Kafka

ROOT = Path(__file__).parents[2]
FENCE = re.compile(r"^```python file=(\S+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
PATIENCE_S = 30.0


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where the page's files are."""
    for name, code in FENCE.findall((ROOT / "docs" / "sqlalchemy.md").read_text()):
        (tmp_path / name).write_text(code)
    return tmp_path


@contextmanager
def serving(service: str, folder: Path, **settings: str) -> Iterator[httpx.Client]:
    """A client of the service, which runs as the page says and is asked to end as a platform does."""
    path = os.pathsep.join([str(folder), str(ROOT / "src")])
    process = subprocess.Popen(
        [sys.executable, "-W", "error", "-m", "uvicorn", f"{service}:web", "--port", "0", "--no-access-log"],
        cwd=folder,
        env={**os.environ, **settings, "PYTHONPATH": path},
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    said: list[str] = []
    try:
        for line in process.stderr:
            said.append(line)
            if running := re.search(r"running on (http://\S+)", line):
                break
        else:
            raise AssertionError("".join(said))
        with httpx.Client(base_url=running[1], timeout=PATIENCE_S) as client:
            yield client
        process.send_signal(signal.SIGTERM)
        said += process.communicate(timeout=PATIENCE_S)[1].splitlines(keepends=True)
        assert "Traceback" not in "".join(said), "".join(said)
    finally:
        process.kill()
        process.communicate()


def place_orders(client: httpx.Client) -> list[int]:
    """Two orders and a third that is rolled back."""
    orders = ("o1", "kettle"), ("o2", "lamp"), ("o1", "vase")
    return [client.put(f"/orders/{order_id}", params={"sku": sku}).status_code for order_id, sku in orders]


def test_a_service_on_a_file_delivers_what_its_requests_committed_and_nothing_else(folder: Path) -> None:
    with serving("parcels", folder) as client:
        assert place_orders(client) == [201, 201, 409]
        expected = ["kettle for o1", "lamp for o2"]
        deadline = time.monotonic() + PATIENCE_S
        while (parcels := client.get("/parcels").json()) != expected and time.monotonic() < deadline:
            continue  # each look is a request, and waits for its turn behind the handler
        assert parcels == expected
    with closing(apsw.Connection(str(folder / "onward.db"))) as file:
        assert file.execute("SELECT count(*) FROM onward_log").fetchall() == [(2,)]
        assert file.execute("SELECT count(*) FROM onward_dead_letter").fetchall() == [(0,)]


def test_a_service_on_postgresql_sends_to_kafka_what_its_requests_committed_and_nothing_else(
    folder: Path, kafka: Kafka, postgres_url: str
) -> None:
    settings = {
        "ONWARD_BROKER": kafka.url,
        "ONWARD_STORE": postgres_url,
        "DATABASE": postgres_url.replace("postgresql://", "postgresql+psycopg://"),
    }
    with serving("till", folder, **settings) as client:
        assert place_orders(client) == [201, 201, 409]
    with psycopg.connect(postgres_url) as connection:
        assert connection.execute("SELECT id, sku FROM orders ORDER BY id").fetchall() == [
            ("o1", "kettle"),
            ("o2", "lamp"),
        ]
        assert connection.execute("SELECT count(*) FROM onward.outbox").fetchall() == [(0,)]
    assert sent(kafka, "till-orders") == 2


def sent(kafka: Kafka, topic: str) -> int:
    """How many messages the topic has had."""
    consumer = Consumer({"bootstrap.servers": kafka.bootstrap, "group.id": "docs-sqlalchemy"})
    try:
        partitions = consumer.list_topics(topic, timeout=PATIENCE_S).topics[topic].partitions
        ends = [consumer.get_watermark_offsets(TopicPartition(topic, each), timeout=PATIENCE_S) for each in partitions]
    finally:
        consumer.close()
    return sum(end - first for first, end in ends)
