"""`onward demo shop` as a process of its own, started, watched and ended as a person would."""

import json
import os
import select
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[3]
PATIENCE_S = 60.0
LOOK_S = 0.02  # a file of another process has no event to wait for


class ShopProcess:
    """The shop at work in `folder`, in a process group of its own."""

    def __init__(self, folder: Path, *arguments: str) -> None:
        self.folder = folder
        self.errors = folder / "stderr.txt"
        with self.errors.open("wb") as stderr:
            self.process = subprocess.Popen(
                [sys.executable, "-W", "error", "-m", "onward", "demo", "shop", *arguments],
                cwd=folder,
                env=environment(),
                stdout=subprocess.PIPE,
                stderr=stderr,
                start_new_session=True,
            )

    def line(self) -> dict[str, Any]:
        """The next line of output, which is JSON."""
        assert self.process.stdout is not None
        ready, _, _ = select.select([self.process.stdout], [], [], PATIENCE_S)
        line = self.process.stdout.readline() if ready else b""
        assert line, f"nothing came; stderr says: {self.errors.read_text()}"
        found: dict[str, Any] = json.loads(line)
        return found

    def interrupt(self) -> None:
        """Ctrl-C: a terminal tells every process of the group."""
        os.killpg(self.process.pid, signal.SIGINT)

    def kill(self) -> None:
        """Power off: every process of the group, at once."""
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.communicate(timeout=PATIENCE_S)

    def ended(self) -> tuple[int, str]:
        """Exit code and the rest of the output."""
        output, _ = self.process.communicate(timeout=PATIENCE_S)
        return self.process.returncode, output.decode()


@contextmanager
def running(folder: Path, *arguments: str) -> Iterator[ShopProcess]:
    """A shop that is killed at the block's end if it has not ended by itself."""
    shop = ShopProcess(folder, *arguments)
    try:
        yield shop
    finally:
        if shop.process.poll() is None:
            shop.kill()


def run(folder: Path, *arguments: str) -> dict[str, Any]:
    """A replay from beginning to end; its JSON, with the exit code as `code`."""
    with running(folder, *arguments, "--json") as shop:
        code, output = shop.ended()
        assert output, shop.errors.read_text()
        return {**json.loads(output), "code": code}


def environment(**more: str) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT / "src"), "NO_COLOR": "1", **more}


def rows(folder: Path, sql: str) -> list[tuple[Any, ...]]:
    """What a program that knows nothing of onward finds in the file; nothing before the tables are there."""
    path = folder / "onward.db"
    if not path.exists():
        return []
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=10)) as connection:
        try:
            return connection.execute(sql).fetchall()
        except sqlite3.OperationalError as error:
            if "no such table" not in str(error):
                raise
            return []


def until(holds: Callable[[], bool], what: str) -> None:
    """Wait until something holds that another process brings about."""
    deadline = time.monotonic() + PATIENCE_S
    while not holds():
        assert time.monotonic() < deadline, f"{what}: not within {PATIENCE_S:g} s"
        time.sleep(LOOK_S)
