"""A process that was frozen while another took its partitions over can't store anything when it thaws."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.integration.kills.stage import PATIENCE_S, ROOT, Stage

SERVE = """
import asyncio, signal
from tests.integration.kills.bank import slow
async def main():
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    async with slow.lifespan():
        await stop.wait()
asyncio.run(main())
"""


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)  # looks at what other processes do


@pytest.mark.timeout(180)
def test_a_frozen_and_thawed_process_cannot_commit(tmp_path: Path) -> None:
    stage = Stage(tmp_path)
    gate, started = tmp_path / "gate", tmp_path / "started"
    environment = stage.environment() | {"BANK_GATE": str(gate), "BANK_STARTED": str(started)}
    assert stage.publish(0, 1) == 0
    processes: list[subprocess.Popen[bytes]] = []

    def serve() -> subprocess.Popen[bytes]:
        with (tmp_path / "run.log").open("ab") as log:
            process = subprocess.Popen([sys.executable, "-c", SERVE], env=environment, cwd=ROOT, stdout=log, stderr=log)
        processes.append(process)
        return process

    try:
        first = serve()
        until(started.with_suffix(f".{first.pid}").exists)
        os.kill(first.pid, signal.SIGSTOP)
        second = serve()
        until(started.with_suffix(f".{second.pid}").exists)
        gate.touch()
        stage.wait_for("settle", 1)
        os.kill(first.pid, signal.SIGCONT)
        until(started.with_suffix(f".wrote.{first.pid}").exists)
        for process in processes:
            process.send_signal(signal.SIGTERM)
            assert process.wait(PATIENCE_S) == 0, stage.log()
    finally:
        for process in processes:
            if process.poll() is None:
                process.kill()
                process.wait()
    assert stage.effects("settle") == [("account-0", 0)]
    assert "claim lost" in stage.log()
