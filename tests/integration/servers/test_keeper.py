"""Whoever ends the keeper of servers, and however often it is told so, nothing of them is left."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

from scripts.servers.process import Keeping

LIMIT_S = 10.0
TAKES_ITS_TIME = ["sh", "-c", "trap 'sleep 0.3; exit' USR1; while :; do sleep 0.01; done"]


def runs(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


def test_a_keeper_that_is_told_to_end_while_it_ends_goes_on_to_the_end() -> None:
    keeping = Keeping()
    ask = {"command": TAKES_ITS_TIME, "log": str(keeping.folder / "log"), "user": None, "end_signal": signal.SIGUSR1}
    pids = [int(keeping.ask("start", **ask)["pid"] or 0) for _ in range(3)]
    time.sleep(0.1)  # their traps are set
    assert all(map(runs, pids))
    limit = time.monotonic() + LIMIT_S
    while runs(keeping.pid) and time.monotonic() < limit:
        os.kill(keeping.pid, signal.SIGTERM)
        time.sleep(0.02)
        if os.waitpid(keeping.pid, os.WNOHANG)[0]:
            break
    assert [pid for pid in pids if runs(pid)] == []
    assert not keeping.folder.exists()
    keeping.close()
