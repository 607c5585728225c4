"""Child processes kept alive: started, watched by their beats, replaced when they die or hang, drained at the end."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import signal
import socket
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from time import monotonic
from typing import Any

from onward.errors import DeclarationError, DeliveryError
from onward.runtime.worker import CANNOT_START

logger = logging.getLogger("onward.supervisor")

STARTING_S = 30.0  # a child that has not beaten by then counts as hung
HANG_S = 10.0
STALE_S = 1.5  # no beat for so long is not ready
FIRST_PAUSE_S = 0.1
LONGEST_PAUSE_S = 5.0
HEALTHY_S = 30.0
KILL_AFTER_S = 5.0  # beyond the drain's own time
MAX_LINE_BYTES = 1 << 20


@dataclass(slots=True)
class Child:
    """One slot: a service's place for a process, whichever process is in it now."""

    target: str
    name: str
    wanted: bool = True
    process: asyncio.subprocess.Process | None = None
    writer: asyncio.StreamWriter | None = None
    beat_at: float = 0.0
    ever_ready: bool = False
    unready: list[str] = field(default_factory=lambda: ["starting"])
    snapshot: dict[str, Any] = field(default_factory=dict)
    handled_before: int = 0  # by processes that are gone
    dead_before: int = 0
    restarts: int = 0
    last_code: int | None = None
    task: asyncio.Task[None] | None = None

    @property
    def handled(self) -> int:
        counts: dict[str, int] = self.snapshot.get("handled", {})
        return self.handled_before + sum(counts.values())

    @property
    def dead(self) -> int:
        counts: dict[str, int] = self.snapshot.get("dead", {})
        return self.dead_before + sum(counts.values())

    def reasons(self) -> list[str]:
        """Why this slot does not work now; empty when it does, or is meant to be stopped."""
        if not self.wanted:
            return []
        if self.process is None:
            return ["not running"]
        silent_s = monotonic() - self.beat_at
        if self.ever_ready and silent_s > STALE_S:
            return [f"its event loop has not turned for {silent_s:.1f} s"]
        return self.unready


@dataclass(frozen=True, slots=True)
class ServiceState:
    """One service as people see it; `state` is running, starting, unready, stopping or stopped."""

    name: str
    state: str
    pids: tuple[int, ...]
    handled: int
    dead: int
    lag: int
    restarts: int
    reasons: tuple[str, ...]


class Supervisor:
    """Runs services as child processes. Call `start`, then `stop_all` at the end; ends only its own children.

    A child that has not beaten for `hang_s` seconds is killed and replaced, and that counts as an unclean start: an
    event that hangs for ever must not be tried for ever.
    """

    def __init__(
        self, targets: Sequence[tuple[str, str]], *, workers: int = 1, drain_s: float = 25.0, hang_s: float = HANG_S
    ) -> None:
        """`targets` are (service name, "module:attribute")."""
        if not 1 <= workers <= 64:
            raise DeclarationError(f"--workers {workers}: a service runs in 1 to 64 processes.")
        self.children = [Child(target, name) for name, target in targets for _ in range(workers)]
        self.failure: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._drain_s = drain_s
        self._hang_s = hang_s

    async def start(self, service: str | None = None) -> None:
        """Start all services, or one that was stopped. Returns at once."""
        for child in self._of(service):
            if child.task is None or child.task.done():
                child.wanted = True
                child.unready = ["starting"]
                child.task = asyncio.create_task(self._keep(child))

    async def stop(self, service: str) -> None:
        """Drain one service and end its processes; the others go on."""
        await asyncio.gather(*(self._stop_child(child) for child in self._of(service)))

    async def stop_all(self) -> bool:
        """Drain everything; True when all work in flight was finished in time."""
        await asyncio.gather(*(self._stop_child(child) for child in self.children))
        if not self.failure.done():
            self.failure.cancel()
        return all(child.last_code in (0, None) for child in self.children)

    async def restart_all(self) -> None:
        """Drain and start again, with the code as it is now."""
        await asyncio.gather(*(self._stop_child(child) for child in self.children))
        await self.start()

    def states(self) -> list[ServiceState]:
        names = dict.fromkeys(child.name for child in self.children)
        return [self._state(name, self._of(name)) for name in names]

    def _of(self, service: str | None) -> list[Child]:
        found = [child for child in self.children if service in (None, child.name)]
        if not found:
            known = ", ".join(dict.fromkeys(child.name for child in self.children))
            raise DeclarationError(f"There is no service {service!r} here; there are {known}.")
        return found

    @staticmethod
    def _state(name: str, children: list[Child]) -> ServiceState:
        reasons = tuple(reason for child in children for reason in child.reasons())
        running = [child.process.pid for child in children if child.process is not None]
        if not any(child.wanted for child in children):
            state = "stopping" if running else "stopped"
        elif not reasons:
            state = "running"
        else:
            state = "starting" if reasons == ("starting",) * len(reasons) else "unready"
        return ServiceState(
            name=name,
            state=state,
            pids=tuple(running),
            handled=sum(child.handled for child in children),
            dead=sum(child.dead for child in children),
            lag=sum(child.snapshot.get("lag", 0) for child in children),
            restarts=sum(child.restarts for child in children),
            reasons=reasons,
        )

    async def _keep(self, child: Child) -> None:
        """Keep one slot filled as long as it is wanted."""
        pause_s = FIRST_PAUSE_S
        while child.wanted:
            began = monotonic()
            code = await self._run_once(child)
            child.last_code = code
            if self._was_stopped(child):
                return
            if code == CANNOT_START and not child.ever_ready and not self.failure.done():
                self.failure.set_exception(
                    DeliveryError(f"Service {child.name!r} can't start; the lines above say why. Nothing was handled.")
                )
            child.restarts += 1
            logger.warning("service %s ended with %s; starting it again in %.1f s", child.name, code, pause_s)
            await asyncio.sleep(pause_s)
            pause_s = FIRST_PAUSE_S if monotonic() - began > HEALTHY_S else min(pause_s * 2, LONGEST_PAUSE_S)

    @staticmethod
    def _was_stopped(child: Child) -> bool:
        """Asked anew after each wait: `stop` may have come meanwhile."""
        return not child.wanted

    async def _run_once(self, child: Child) -> int:
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        with theirs:
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "onward.cli.worker",
                child.target,
                str(theirs.fileno()),
                str(self._drain_s),
                pass_fds=[theirs.fileno()],
            )
        child.process, child.beat_at = process, monotonic()
        reader, child.writer = await asyncio.open_connection(sock=ours, limit=MAX_LINE_BYTES)
        beaten = False
        try:
            while True:
                async with asyncio.timeout(self._hang_s if beaten else STARTING_S):
                    line = await reader.readline()
                if not line:
                    break
                beaten = True
                self._heard(child, line)
        except TimeoutError:
            logger.error("service %s, process %d, hangs: it is killed and replaced", child.name, process.pid)
            process.kill()
        finally:
            if child.writer is not None:
                child.writer.close()
            code = await self._reaped(process)
            child.handled_before, child.dead_before = child.handled, child.dead
            child.snapshot, child.process, child.writer = {}, None, None
            child.unready = ["starting"]
        return code

    async def _reaped(self, process: asyncio.subprocess.Process) -> int:
        """Wait for a process whose socket is closed; one that lingers is killed."""
        try:
            async with asyncio.timeout(self._drain_s + KILL_AFTER_S):
                return await process.wait()
        except TimeoutError:
            process.kill()
            return await process.wait()

    @staticmethod
    def _heard(child: Child, line: bytes) -> None:
        message = json.loads(line)
        child.beat_at = monotonic()
        if "drained" in message:
            return
        child.unready, child.snapshot = message["unready"], message["snapshot"]
        if not child.unready:
            child.ever_ready = True

    async def _stop_child(self, child: Child) -> None:
        child.wanted = False
        task = child.task
        if task is None:
            return
        if child.writer is not None:
            child.writer.write(b"drain\n")
        elif child.process is None:
            task.cancel()
        _, late = await asyncio.wait([task], timeout=self._drain_s + KILL_AFTER_S)
        if late:
            if child.process is not None:
                logger.error("service %s did not drain in time; process %d is killed", child.name, child.process.pid)
                with contextlib.suppress(ProcessLookupError):
                    child.process.send_signal(signal.SIGKILL)
            await asyncio.wait([task])
        child.task = None
