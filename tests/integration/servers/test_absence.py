"""A test whose server this machine can't have says why it is skipped; where everything must be present it fails."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
NEEDS_KAFKA = "tests/integration/servers/test_kafka.py::test_and_here_is_the_next"


@pytest.mark.parametrize(("ci", "outcome", "status"), [("", "1 skipped", 0), ("true", "1 error", 1)])
def test_without_java_a_test_on_kafka_is_skipped_with_the_reason_and_fails_in_ci(
    tmp_path: Path, ci: str, outcome: str, status: int
) -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "pytest", NEEDS_KAFKA],
        cwd=ROOT,
        env={**os.environ, "PATH": str(tmp_path), "CI": ci},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert ended.returncode == status, ended.stdout
    assert outcome in ended.stdout.splitlines()[-1]
    assert "Kafka needs a Java runtime, and there is none" in ended.stdout
