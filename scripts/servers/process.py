"""One server process under a keeper: start, kill, freeze, and what its log said last."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from scripts.servers import keeper
from scripts.servers.errors import Failed

START_LIMIT_S = 90.0
GONE_LIMIT_S = 10.0
POLL_S = 0.05
LOG_TAIL_BYTES = 2000


class Keeping:
    """A running keeper: everything started under it ends with it, and it ends with this process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        # In a session of its own, so that Ctrl-C reaches this process first and not the servers.
        self._child = subprocess.Popen(
            [sys.executable, keeper.__file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self.pid = self._child.pid
        self.folder = Path(str(self._answer()["folder"]))

    def ask(self, do: str, **request: object) -> keeper.Answer:
        """Raises Failed if the request could not be carried out."""
        assert self._child.stdin is not None
        with self._lock:
            self._child.stdin.write(json.dumps({"do": do, **request}) + "\n")
            self._child.stdin.flush()
            answer = self._answer()
        if "error" in answer:
            raise Failed(f"The keeper of servers could not {do}: {answer['error']}")
        return answer

    def close(self) -> None:
        """Ends every process and deletes the folder. Safe to repeat."""
        for stream in (self._child.stdin, self._child.stdout):
            if stream is not None:
                stream.close()
        self._child.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _answer(self) -> keeper.Answer:
        assert self._child.stdout is not None
        line = self._child.stdout.readline()
        if not line:
            raise Failed("The keeper of servers has ended, and its servers with it.")
        answer: keeper.Answer = json.loads(line)
        return answer


class Process:
    """A server process that can be started again after it was killed. Its folder is there already."""

    def __init__(
        self,
        keeping: Keeping,
        name: str,
        folder: Path,
        command: list[str],
        *,
        user: str | None = None,
        end_signal: signal.Signals = signal.SIGKILL,
    ) -> None:
        self.name = name
        self.pid: int | None = None
        self._keeping = keeping
        self._log = folder / "log"
        self._start = {"command": command, "log": str(self._log), "user": user, "end_signal": int(end_signal)}

    @property
    def running(self) -> bool:
        return self.pid is not None and self._keeping.ask("status", pid=self.pid)["status"] is None

    def start(self) -> None:
        """Returns at once. Does nothing while it runs."""
        if not self.running:
            self.pid = int(str(self._keeping.ask("start", **self._start)["pid"]))

    def wait_until(self, ready: Callable[[], bool]) -> None:
        """Raises Failed, with the end of the log, if the process ends or takes too long before `ready()`."""
        limit = time.monotonic() + START_LIMIT_S
        while not ready():
            if not self.running:
                raise Failed(f"{self.name} ended while it was starting. Its log ends with:\n{self.said()}")
            if time.monotonic() > limit:
                raise Failed(f"{self.name} was not ready in {START_LIMIT_S:.0f} s. Its log ends with:\n{self.said()}")
            time.sleep(POLL_S)

    def kill(self) -> None:
        """SIGKILL for it and its children: when this returns, none of them runs. Does nothing if it is not running."""
        # Stopped first: it could fork while its children are being listed.
        family = self.send(signal.SIGSTOP)
        if not family:
            return
        for pid in family[1:]:
            _signal(pid, signal.SIGKILL)
        self._keeping.ask("end", pid=self.pid, sent=int(signal.SIGKILL))
        self.pid = None
        limit = time.monotonic() + GONE_LIMIT_S
        while any(map(_runs, family)):
            if time.monotonic() > limit:
                raise Failed(f"{self.name} was killed, and a process of it is still there: {family}")
            time.sleep(POLL_S)

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """Within, the process and its children stand still, their connections open: SIGSTOP, and SIGCONT after."""
        self.send(signal.SIGSTOP)
        try:
            yield
        finally:
            self.send(signal.SIGCONT)

    def send(self, sent: signal.Signals) -> list[int]:
        """Signals the process and then its children, and returns whom: nobody if it is not running."""
        if self.pid is None or not self.running:
            return []
        _signal(self.pid, sent)
        children = _children(self.pid)
        for pid in children:
            _signal(pid, sent)
        return [self.pid, *children]

    def said(self) -> str:
        """The end of its log."""
        return self._log.read_bytes()[-LOG_TAIL_BYTES:].decode(errors="replace") if self._log.exists() else ""


def _signal(pid: int, sent: signal.Signals) -> None:
    with suppress(ProcessLookupError):  # it may just have ended by itself
        os.kill(pid, sent)


def _children(pid: int) -> list[int]:
    """None where the system has no /proc to tell."""
    found: list[int] = []
    for listing in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            found += map(int, listing.read_text().split())
        except FileNotFoundError:  # the thread ended while we looked
            continue
    return found


def _runs(pid: int) -> bool:
    """False also for a process that has ended and that nobody has waited for."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in {"Z", "X"}
    except (FileNotFoundError, ProcessLookupError):
        return False
