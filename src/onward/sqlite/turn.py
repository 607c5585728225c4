"""The turn to write: a lock between processes that nobody can hog."""

from __future__ import annotations

import asyncio
import fcntl
import mmap
import os
import struct
import threading
import time
from dataclasses import dataclass
from pathlib import Path

from onward.errors import StoreBusyError, StoreClosedError, StoreError
from onward.waiters import settle

_TRY = fcntl.LOCK_EX | fcntl.LOCK_NB
_RECORD = struct.Struct("<qd")
_RECORD_BYTES = 4096

GATE_PATIENCE_S = 0.5
"""How long a gate is respected while nobody writes: a stopped process holds it and does not go through."""

_PASS_PAUSE_S = 0.005

_Waiter = asyncio.Future[None] | threading.Event


@dataclass(frozen=True)
class Holder:
    """Who has the turn: a process, and since when by `time.monotonic`, which all processes share."""

    pid: int
    since_s: float


class WriteTurn:
    """One place in the line of processes that want to write one file.

    The kernel does not hand a flock over: whoever asks first after a release gets it, and that is usually the
    one who released. So there are two: a process that waits for `write` holds `gate` meanwhile, and one that
    comes back from its turn has to pass the gate. A killed process loses both at once. A stopped one may keep
    the gate: after `GATE_PATIENCE_S` the others go past it, which costs order in the line and nothing else.

    All but `holder` are called by one thread, and not again before `take` has ended.
    """

    def __init__(self, folder: Path) -> None:
        self._write = self._gate = self._aside = self._held = -1
        try:
            self._write = _open(folder / "write")
            self._gate = _open(folder / "gate")
            self._aside = _open(folder / "write")
            self._record = _mapped(folder / "write")
        except OSError as error:
            self._close_files()
            raise StoreError(
                f"The locks in {folder} can't be opened ({error.strerror}). Nothing was written; "
                "make that folder writable for this user, with a little space on its disk.",
            ) from error
        self._pid = os.getpid()
        self._mutex = threading.Lock()
        self._asked = threading.Semaphore(0)
        self._thread: threading.Thread | None = None
        self._blocked = False
        self._closing = False
        self._granted = False
        self._gate_is_stuck = False
        self._waiter: _Waiter | None = None

    async def take(self, wait_s: float) -> None:
        """Returns with the turn, at once and without suspending when nobody has it.

        Raises `StoreBusyError` after `wait_s` seconds. When cancelled it leaves no lock behind.
        """
        if self._blocked or not self._try():
            await self._wait(wait_s)

    def take_blocking(self, wait_s: float) -> None:
        """`take` for a thread without an event loop."""
        if not self._blocked and self._try():
            return
        until_s = time.monotonic() + wait_s
        ready = threading.Event()
        self._ask(ready)
        try:
            ready.wait(min(wait_s, 0 if self._gate_is_stuck else GATE_PATIENCE_S))
            while not (ready.is_set() or self._pass_by(ready)):
                if time.monotonic() >= until_s:
                    raise self._busy(wait_s)
                ready.wait(_PASS_PAUSE_S)
        except BaseException:
            self._give_up()
            raise
        self._granted = False

    def give_back(self) -> None:
        """Ends the turn; the next in line has it."""
        held, self._held = self._held, -1
        if held >= 0:
            _RECORD.pack_into(self._record, 0, 0, 0.0)
            fcntl.flock(held, fcntl.LOCK_UN)

    def holder(self) -> Holder | None:
        """Who has the turn, or had it when killed; None when it is free or was taken this instant."""
        pid, since_s = _RECORD.unpack_from(self._record)
        return Holder(pid, since_s) if pid else None

    def close(self) -> None:
        """Gives up the turn and the place in line. Safe to repeat."""
        with self._mutex:
            if self._closing:
                return
            self._closing = True
            self.give_back()
            waiter, self._waiter = self._waiter, None
            blocked = self._blocked
        if isinstance(waiter, asyncio.Future) and not waiter.done():
            waiter.set_exception(
                StoreClosedError("The database was closed while this transaction waited for its turn to write.")
            )
        self._asked.release()
        if not blocked:
            self._close_files()

    def disown(self) -> None:
        """Forgets the locks in a forked child, whose descriptors would hold them past the parent's death."""
        self._close_files()

    def _try(self) -> bool:
        """True with the turn. False may leave the gate held, which `_wait` goes on from."""
        try:
            fcntl.flock(self._gate, _TRY)
            fcntl.flock(self._write, _TRY)
        except BlockingIOError:
            return False
        fcntl.flock(self._gate, fcntl.LOCK_UN)
        self._hold(self._write)
        return True

    def _pass_by(self, waiter: _Waiter) -> bool:
        """True with the turn, taken without the gate, by a descriptor that the waiting thread does not use."""
        with self._mutex:
            if self._waiter is not waiter:
                return False
            try:
                fcntl.flock(self._aside, _TRY)
            except BlockingIOError:
                return False
            self._waiter = None
            self._granted = self._gate_is_stuck = True
            self._hold(self._aside)
            return True

    def _hold(self, descriptor: int) -> None:
        self._held = descriptor
        _RECORD.pack_into(self._record, 0, self._pid, time.monotonic())

    async def _wait(self, wait_s: float) -> None:
        loop = asyncio.get_running_loop()
        ready = loop.create_future()
        self._ask(ready)
        impatience = loop.call_later(0 if self._gate_is_stuck else GATE_PATIENCE_S, self._try_to_pass, ready)
        try:
            async with asyncio.timeout(wait_s):
                await ready
        except TimeoutError:
            busy = self._busy(wait_s)
            self._give_up()
            raise busy from None
        except asyncio.CancelledError:
            self._give_up()
            raise
        finally:
            impatience.cancel()
        self._granted = False

    def _try_to_pass(self, ready: asyncio.Future[None]) -> None:
        if self._pass_by(ready):
            settle(ready)
        elif self._waiter is ready:
            ready.get_loop().call_later(_PASS_PAUSE_S, self._try_to_pass, ready)

    def _ask(self, waiter: _Waiter) -> None:
        with self._mutex:
            self._waiter = waiter
            # A wait that was given up is still blocked in the kernel: this one takes over its place.
            if not self._blocked:
                self._blocked = True
                self._asked.release()
        if self._thread is None:
            self._thread = threading.Thread(target=self._block, name="onward-write-turn", daemon=True)
            self._thread.start()

    def _give_up(self) -> None:
        with self._mutex:
            self._waiter = None
            if self._granted:
                self._granted = False
                self.give_back()

    def _block(self) -> None:
        """Waits in the kernel on behalf of whoever asked, in a thread of its own."""
        while True:
            self._asked.acquire()
            if not self._blocked:
                return
            fcntl.flock(self._gate, fcntl.LOCK_EX)
            fcntl.flock(self._write, fcntl.LOCK_EX)
            fcntl.flock(self._gate, fcntl.LOCK_UN)
            with self._mutex:
                if not self._grant():
                    fcntl.flock(self._write, fcntl.LOCK_UN)
                # Last: until here `take` must not touch descriptors whose locks are this thread's.
                self._blocked = self._gate_is_stuck = False
                if self._closing:
                    self._close_files()

    def _grant(self) -> bool:
        waiter, self._waiter = self._waiter, None
        if waiter is None:
            return False
        # All of it before the waiter is told: it may have had its turn and be back before the next line here.
        self._granted = True
        self._hold(self._write)
        try:
            if isinstance(waiter, threading.Event):
                waiter.set()
            else:
                waiter.get_loop().call_soon_threadsafe(settle, waiter)
        except RuntimeError:  # that loop is closed
            self._granted = False
            self.give_back()
        return True

    def _busy(self, wait_s: float) -> StoreBusyError:
        holder = self.holder()
        if holder is None:
            who = "many are waiting, or a process was stopped as its turn came, before it could say so"
        else:
            who = f"process {holder.pid} has held it for {time.monotonic() - holder.since_s:.1f} s"
        return StoreBusyError(
            f"The turn to write did not come within {wait_s:g} s: {who}. Nothing was written; "
            "see what that process is doing, or end it, and try again.",
            holder_pid=holder.pid if holder else None,
            wait_s=wait_s,
        )

    def _close_files(self) -> None:
        for descriptor in (self._gate, self._write, self._aside):
            if descriptor >= 0:
                os.close(descriptor)
        self._gate = self._write = self._aside = -1


def _open(path: Path) -> int:
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)


def _mapped(path: Path) -> mmap.mmap:
    """The record in the lock's file, by a descriptor that no lock is taken on.

    A mapping keeps a copy of its descriptor, and a forked child keeps the mapping: it would keep the lock.
    """
    descriptor = _open(path)
    try:
        # Filled, not just sized: a page without a block behind it would be a SIGBUS when the disk is full.
        if os.fstat(descriptor).st_size < _RECORD_BYTES:
            os.pwrite(descriptor, bytes(_RECORD_BYTES), 0)
        return mmap.mmap(descriptor, _RECORD_BYTES)
    finally:
        os.close(descriptor)
