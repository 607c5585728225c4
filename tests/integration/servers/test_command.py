"""`make servers` tells where its servers are, and however it ends, nothing of them is left."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict

from scripts.servers.ports import listens
from scripts.servers.postgres import Postgres

ROOT = Path(__file__).parents[3]
LIMIT_S = 30.0


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
