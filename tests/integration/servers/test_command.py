"""`make servers` tells where its servers are, and however it ends, nothing of them is left."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict

from scripts.servers.kafka import Kafka
from scripts.servers.ports import free_ports, listens
from scripts.servers.postgres import Postgres

ROOT = Path(__file__).parents[3]
LIMIT_S = 30.0
STARTS_S = 120.0  # a Kafka, a PostgreSQL and a shop of three services


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder for temporary files that the account of the server can get to."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o711)
    yield folder
    shutil.rmtree(folder)


def servers(folder: Path, *names: str, **environment: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "scripts.servers", *names],
        cwd=ROOT,
        env={**os.environ, "TMPDIR": str(folder), **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def address(command: subprocess.Popen[str]) -> str:
    assert command.stdout is not None
    said = command.stdout.readline().strip()
    assert said.startswith("ONWARD_STORE=postgresql://"), said
    return said.removeprefix("ONWARD_STORE=")


def is_left(folder: Path) -> list[Path]:
    """What is still in the folder when it had the time to become empty."""
    limit = time.monotonic() + LIMIT_S
    while list(folder.iterdir()) and time.monotonic() < limit:
        time.sleep(0.02)
    return list(folder.iterdir())


@pytest.mark.parametrize(
    ("sent", "status"), [(signal.SIGINT, 0), (signal.SIGTERM, 0), (signal.SIGKILL, -signal.SIGKILL)]
)
def test_however_it_ends_the_server_and_its_data_are_gone(
    shared_postgres: Postgres, open_folder: Path, sent: signal.Signals, status: int
) -> None:
    with servers(open_folder, "postgres") as command:
        url = address(command)
        psycopg.connect(url).close()
        command.send_signal(sent)
        assert command.wait(LIMIT_S) == status

    assert is_left(open_folder) == []
    assert not listens(int(conninfo_to_dict(url)["port"] or 0))


def test_a_start_that_fails_half_way_says_in_one_sentence_what_is_missing_and_leaves_nothing(
    shared_postgres: Postgres, open_folder: Path
) -> None:
    with servers(open_folder, "postgres", "kafka", PATH=str(shared_postgres.programs)) as command:
        said, progress = command.communicate(timeout=LIMIT_S)

    assert command.returncode == 1
    assert said == ""
    assert progress.splitlines()[-1].startswith("Kafka needs a Java runtime, and there is none")
    assert is_left(open_folder) == []


def test_a_name_that_no_server_has_is_wrong_usage(open_folder: Path) -> None:
    with servers(open_folder, "oracle") as command:
        _, said = command.communicate(timeout=LIMIT_S)

    assert command.returncode == 2
    assert "there is no oracle; there are kafka, kafka-cluster, postgres" in said


def test_a_demo_without_a_broker_for_its_store_says_which_to_name() -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "scripts.demo", "--store", "postgres"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )
    assert ended.returncode == 2
    assert "PostgreSQL carries no events: name a broker that does, BROKER=kafka" in ended.stderr


@pytest.mark.timeout(240)
def test_a_demo_on_kafka_and_postgresql_sells_and_ctrl_c_closes_it_with_its_servers(
    shared_kafka: Kafka, shared_postgres: Postgres, open_folder: Path
) -> None:
    (port,) = free_ports(1)
    said = open_folder / "said"
    with said.open("wb") as output, httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=LIMIT_S) as page:
        demo = subprocess.Popen(
            [sys.executable, "-m", "scripts.demo", "--broker", "kafka", "--store", "postgres", "--port", str(port)],
            cwd=ROOT,
            env={**os.environ, "TMPDIR": str(open_folder)},
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
        try:
            limit = time.monotonic() + STARTS_S
            while "The shop is open at" not in said.read_text():
                assert demo.poll() is None, said.read_text()
                assert time.monotonic() < limit, said.read_text()
                time.sleep(0.1)
            page.get("/").raise_for_status()
            sku = page.get("/api/catalogue").json()["products"][0]["sku"]
            basket = {"customer": "Ann", "payment_method": "account", "items": [{"sku": sku, "quantity": 2}]}
            placed = page.post("/api/orders", json=basket, headers={"x-csrf-token": page.cookies["shop_csrf"]})
            assert placed.status_code == 201, placed.text
            with page.stream("GET", "/api/live") as live:
                assert any("Parcel dispatched" in line for line in live.iter_lines())
        finally:
            os.killpg(demo.pid, signal.SIGINT)  # as a terminal does
            assert demo.wait(LIMIT_S) == 0, said.read_text()
    assert re.search(r"shipping: \d+ events handled, 0 dead letters", said.read_text())
    said.unlink()
    assert is_left(open_folder) == []
