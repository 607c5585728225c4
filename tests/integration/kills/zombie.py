"""A process that is frozen in the middle of its work while another takes it over, and that thaws behind that."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

from tests.integration.kills.alone import alone
from tests.integration.kills.stage import PATIENCE_S, Stage

SERVE = """
import asyncio, signal, sys
from tests.integration.kills import bank
async def main():
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    async with getattr(bank, sys.argv[1]).lifespan():
        await stop.wait()
asyncio.run(main())
"""


def freeze_and_thaw(stage: Stage, service: str = "slow", handler: str = "settle") -> None:
    """The event that waits is handled by a process that can't store that, since another has done so meanwhile."""
    gate, started = stage.folder / "gate", stage.folder / "started"
    environment = {**stage.environment(), "BANK_GATE": str(gate), "BANK_STARTED": str(started)}
    with alone(stage, SERVE, service, environment) as first:
        stage.until(started.with_suffix(f".{first.pid}").exists, "the first handles the event")
        _freeze(first.pid, stage)
        with alone(stage, SERVE, service, environment) as second:
            stage.until(started.with_suffix(f".{second.pid}").exists, "the second handles it too")
            gate.touch()
            stage.wait_for(handler, 1)
            os.kill(first.pid, signal.SIGCONT)
            stage.until(started.with_suffix(f".wrote.{first.pid}").exists, "the first has handled it")
            for process in (first, second):
                process.send_signal(signal.SIGTERM)
                assert process.wait(PATIENCE_S) == 0, stage.log()
    assert stage.effects(handler) == [("account-0", 0)]
    assert "claim lost" in stage.log()


def _freeze(pid: int, stage: Stage) -> None:
    """While it does not write to a file, as it does for instants: frozen then, it would keep all others out."""

    def frozen() -> bool:
        os.kill(pid, signal.SIGSTOP)
        stage.until(lambda: "T (stopped)" in Path(f"/proc/{pid}/status").read_text(), "it stands still")
        turns = {str(path.stat().st_ino) for path in stage.folder.rglob("write")}
        for line in Path("/proc/locks").read_text().splitlines():
            _, kind, _, mode, holder, place, *_ = line.split()
            if holder == str(pid) and mode == "WRITE" and (kind == "POSIX" or place.rpartition(":")[2] in turns):
                os.kill(pid, signal.SIGCONT)
                time.sleep(0.01)
                return False
        return True

    stage.until(frozen, "it is frozen outside of a transaction")
