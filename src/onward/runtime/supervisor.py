"""Child processes kept alive: started, watched by their beats, replaced when they die or hang, drained at the end."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import socket
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from time import monotonic
from typing import Any

from onward.errors import DeclarationError, DeliveryError, InfrastructureError
from onward.runtime.backlog import Backlog, backlog
from onward.runtime.child import Child
from onward.runtime.forgiving import forgive
from onward.runtime.totals import total
from onward.runtime.unclaimed import Unclaimed
from onward.runtime.worker import CANNOT_START, CLEAN

logger = logging.getLogger("onward.supervisor")

STARTING_S = 60.0  # a child that has not beaten by then counts as hung
HANG_S = 10.0
HOLD_S = 20.0  # less than the 30 s that other processes wait for their turn to write: they go on without an error
FIRST_PAUSE_S = 0.1
LONGEST_PAUSE_S = 5.0
HEALTHY_S = 30.0
KILL_AFTER_S = 5.0  # beyond the drain's own time
LOOK_EVERY_S = 1.0  # at what waits in the file
MOST_WORKERS = 64
MAX_LINE_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class ServiceState:
    """One service as people see it; `state` is running, starting, unready, stopping or stopped.

    `counts` are the sums of its processes' meters since the supervisor began.
    """

    name: str
    state: str
    pids: tuple[int, ...]
    handled: int
    dead: int
    lag: int
    restarts: int
    reasons: tuple[str, ...]
    rate_per_s: float = 0.0
    counts: dict[str, Any] = field(default_factory=dict)
    lags: dict[str, int] = field(default_factory=dict)  # by topic
    delayed: dict[str, int] = field(default_factory=dict)  # by topic
    outbox: Mapping[str, Any] | None = None  # `age_s` and `led`, where a living process has told


class _Stuck(Exception):
    """A process that can't go on by itself; says why."""


class Supervisor:
    """Runs services as child processes. Call `start`, then `stop_all` at the end; ends only its own children.

    A child that has not beaten for `hang_s` seconds, or has a transaction open for longer than `hold_s`, is killed and
    replaced, and that counts as an unclean start: an event that hangs for ever must not be tried for ever.
    """

    def __init__(
        self,
        targets: Sequence[tuple[str, str]],
        *,
        workers: int = 1,
        drain_s: float = 25.0,
        hang_s: float = HANG_S,
        hold_s: float = HOLD_S,
        start: str = "",
    ) -> None:
        """`targets` are (service name, "module:attribute"); `start` as in `onward run --start`, or ""."""
        if not 1 <= workers <= MOST_WORKERS:
            raise DeclarationError(f"--workers {workers}: a service runs in 1 to {MOST_WORKERS} processes.")
        self.children = [Child(target, name) for name, target in targets for _ in range(workers)]
        self.failure: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._drain_s = drain_s
        self._hang_s = hang_s
        self._hold_s = hold_s
        self._start = start
        self._waiting: dict[str, Backlog] = {}  # by service, as the file has it
        self._unclaimed = Unclaimed()
        self._looking: asyncio.Task[None] | None = None

    async def start(self, service: str | None = None) -> None:
        """Start all services, or one that was stopped. Returns at once."""
        if self._looking is None:
            self._looking = asyncio.create_task(self._look())
        for child in self._of(service):
            if child.task is None or child.task.done():
                child.wanted = True
                child.stopped.clear()
                child.unready = ["starting"]
                child.task = asyncio.create_task(self._keep(child))

    async def stop(self, service: str) -> None:
        """Drain one service and end its processes; the others go on."""
        await asyncio.gather(*(self._stop_child(child) for child in self._of(service)))

    async def stop_all(self) -> bool:
        """Drain everything; True when all work in flight was finished in time."""
        finished = await asyncio.gather(*(self._stop_child(child) for child in self.children))
        if self._looking is not None:
            self._looking.cancel()
            await asyncio.gather(self._looking, return_exceptions=True)
            self._looking = None
        if not self.failure.done():
            self.failure.cancel()
        return all(finished)

    async def restart_all(self) -> None:
        """Drain and start again, with the code as it is now."""
        await asyncio.gather(*(self._stop_child(child) for child in self.children))
        await self.start()

    def states(self) -> list[ServiceState]:
        """Every service, in the order given. May be called from any thread."""
        names = dict.fromkeys(child.name for child in self.children)
        return [_state(name, self._of(name), self._waiting.get(name, Backlog())) for name in names]

    def _of(self, service: str | None) -> list[Child]:
        found = [child for child in self.children if service in (None, child.name)]
        if not found:
            known = ", ".join(dict.fromkeys(child.name for child in self.children))
            raise DeclarationError(f"There is no service {service!r} here; there are {known}.")
        return found

    async def _look(self) -> None:
        """Keep up with what waits: a service that is stopped or hangs can't tell."""
        while True:
            waiting: dict[str, Backlog] = {}
            for database in {child.database for child in self.children if child.database}:
                with contextlib.suppress(InfrastructureError):  # its services say what is wrong with the file
                    waiting |= await asyncio.to_thread(backlog, database)
            self._waiting = waiting
            self._unclaimed.look(
                {title: said for each in waiting.values() for title, said in each.idle.items()}, monotonic()
            )
            await asyncio.sleep(LOOK_EVERY_S)

    async def _keep(self, child: Child) -> None:
        """Keep one slot filled as long as it is wanted; a service that can't start the first time is not retried."""
        pause_s = FIRST_PAUSE_S
        while child.wanted:
            began = monotonic()
            code = await self._run_once(child)
            if child.stopped.is_set():
                return
            if code == CANNOT_START and not child.ever_ready and not self.failure.done():
                why = child.refusal or "the lines above say why."
                self.failure.set_exception(DeliveryError(f"Service {child.name!r} can't start: {why}"))
                return
            child.restarts += 1
            if monotonic() - began > HEALTHY_S:
                pause_s = FIRST_PAUSE_S
            logger.warning("service %s ended with %s; starting it again in %.1f s", child.name, code, pause_s)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(child.stopped.wait(), pause_s)
            pause_s = min(pause_s * 2, LONGEST_PAUSE_S)

    async def _run_once(self, child: Child) -> int:
        """Fill the slot with one process until that has ended; its exit code."""
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
                self._start,
                pass_fds=[theirs.fileno()],
                process_group=0,  # a terminal's Ctrl-C comes to us alone, and we drain
            )
        reader, writer = await asyncio.open_connection(sock=ours, limit=MAX_LINE_BYTES)
        child.process, child.writer, child.beat_at = process, writer, monotonic()
        if child.stopped.is_set():
            writer.write(b"drain\n")
        try:
            await self._listen(child, reader)
        except _Stuck as why:
            logger.error("service %s, process %d, %s: it is killed and replaced", child.name, process.pid, why)
            _kill(process)
        except (ValueError, KeyError) as error:
            logger.error("service %s, process %d, speaks nonsense: %r", child.name, process.pid, error)
            _kill(process)
        finally:
            writer.close()
            code = await self._reaped(process)
            child.gone(code)
        return code

    async def _listen(self, child: Child, reader: asyncio.StreamReader) -> None:
        """Take in reports until the process closes its end. Raises _Stuck when silent, or writing, for too long."""
        while True:
            try:
                async with asyncio.timeout(self._hang_s if child.beaten else STARTING_S):
                    line = await reader.readline()
            except TimeoutError as error:
                raise _Stuck("hangs") from error
            except ConnectionError:
                return
            if not line:
                return
            now = monotonic()
            child.heard(json.loads(line), now)
            held_s = child.writing_s(now)
            if held_s > self._hold_s:
                raise _Stuck(f"has held the write lock for {held_s:.1f} s in one transaction")

    async def _reaped(self, process: asyncio.subprocess.Process) -> int:
        """Wait for a process whose socket is closed; one that lingers is killed."""
        try:
            async with asyncio.timeout(self._drain_s + KILL_AFTER_S):
                return await process.wait()
        except TimeoutError:
            _kill(process)
            return await process.wait()

    async def _stop_child(self, child: Child) -> bool:
        """Drain one slot and leave it empty; whether its work in flight was finished in time."""
        child.wanted = False
        child.stopped.set()
        task, process = child.task, child.process
        if task is None:
            return True
        if child.writer is not None:
            child.writer.write(b"drain\n")
        _, late = await asyncio.wait([task], timeout=self._drain_s + KILL_AFTER_S)
        if late and child.process is not None:
            await self._end_late(child, child.process, task)
        await asyncio.wait([task])
        child.task = None
        return process is None or child.last_code == CLEAN

    async def _end_late(self, child: Child, process: asyncio.subprocess.Process, task: asyncio.Task[None]) -> None:
        """Kill at the end of a drain; the events in hand are not to blame for it."""
        logger.error("service %s did not drain in time; process %d is killed", child.name, process.pid)
        store, member = child.database or child.store, child.snapshot.get("member")
        _kill(process)
        await asyncio.wait([task])
        if store and member:
            try:
                await asyncio.to_thread(forgive, store, member)
            except InfrastructureError as error:
                logger.warning("the kill of service %s counts as an unclean start: %s", child.name, error)


def _state(name: str, children: Sequence[Child], waiting: Backlog) -> ServiceState:
    now = monotonic()
    reasons = tuple(reason for child in children for reason in child.reasons(now))
    processes = [child.process for child in children]
    running = tuple(process.pid for process in processes if process is not None)
    if not any(child.wanted for child in children):
        state = "stopping" if running else "stopped"
    elif not reasons:
        state = "running"
    else:
        state = "starting" if set(reasons) == {"starting"} else "unready"
    counts = total(child.counts for child in children)
    lags = {**_told_lags(children), **waiting.lags}
    return ServiceState(
        name=name,
        state=state,
        pids=running,
        handled=sum(counts["handled"].values()),
        dead=sum(counts["dead"].values()),
        lag=sum(lags.values()),
        restarts=sum(child.restarts for child in children),
        reasons=reasons,
        rate_per_s=sum(child.rate_per_s for child in children),
        counts=counts,
        lags=lags,
        delayed=waiting.delayed,
        outbox=max(children, key=lambda child: child.beat_at).snapshot.get("outbox"),
    )


def _told_lags(children: Sequence[Child]) -> dict[str, int]:
    """By topic, on the partitions that they hold, as far as these know the ends."""
    lags: Counter[str] = Counter()
    for child in children:
        lags.update(child.snapshot.get("lags", {}))
    return dict(lags)


def _kill(process: asyncio.subprocess.Process) -> None:
    with contextlib.suppress(ProcessLookupError):
        process.kill()
