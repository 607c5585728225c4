"""Publishing to the file: publishers of one process that come together share a commit."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence

import apsw

from onward.errors import CommitUncertainError, InfrastructureError
from onward.ports import Outgoing
from onward.sqlite.failures import translate
from onward.sqlite.log import FileLog
from onward.telemetry.failpoints import reach


class _Entry:
    """What one publisher wants written. `done` tells those who let another write for them."""

    __slots__ = ("done", "outgoing", "source", "written")

    def __init__(self, outgoing: Sequence[Outgoing], source: str) -> None:
        self.outgoing = outgoing
        self.source = source
        self.written = False
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()


class Publisher:
    """Appends to the log, each time in a transaction of its own.

    Who comes first leads: it writes in its own task for all who have come by the time the turn to write is its.
    When that fails for several at once, or the leader is cancelled, a task writes for those who are left.
    """

    def __init__(self, file: FileLog) -> None:
        self._file = file
        self._database = file.database
        self._waiting: list[_Entry] = []
        self._led = False
        self._task: asyncio.Task[None] | None = None

    async def publish(self, outgoing: Sequence[Outgoing], source: str) -> None:
        """Append all or none, durable when this returns. It raises CancelledError only if nothing was published.

        A cancellation that comes when all is written is put off to the task's next step.
        """
        entry = _Entry(outgoing, source)
        self._waiting.append(entry)
        if self._led:
            await _outcome(entry)
            return
        self._led = True
        try:
            await asyncio.sleep(0)  # who is about to publish too joins in; and a loop of publishes lets others run
            await self._database.begin()
        except InfrastructureError as error:
            self._waiting.remove(entry)
            self._led = False
            self._fail(error)
            raise
        except BaseException:
            self._waiting.remove(entry)
            self._delegate([])
            raise
        self._led = False  # nobody can come while it writes
        batch, self._waiting = self._waiting, []
        failure = self._write(batch)
        batch.remove(entry)
        if failure is not None and batch and not _may_hold(failure):
            self._delegate([entry, *batch])
            await _outcome(entry)
            return
        _tell(batch, failure)
        if failure is not None:
            raise failure

    def _delegate(self, apart: Sequence[_Entry]) -> None:
        """Have a task write these, each by itself, and what waits."""
        self._led = bool(apart or self._waiting)
        if self._led:
            self._task = asyncio.create_task(self._write_all(deque(apart)))

    async def _write_all(self, apart: deque[_Entry]) -> None:
        try:
            while apart or self._waiting:
                await self._database.begin()
                if apart:
                    batch = [apart.popleft()]
                else:
                    batch, self._waiting = self._waiting, []
                failure = self._write(batch)
                if failure is not None and len(batch) > 1 and not _may_hold(failure):
                    apart.extend(batch)
                else:
                    _tell(batch, failure)
        except InfrastructureError as error:
            _tell(apart, error)
            self._fail(error)
        finally:
            self._led = False

    def _fail(self, error: InfrastructureError) -> None:
        waiting, self._waiting = self._waiting, []
        _tell(waiting, error)

    def _write(self, batch: Sequence[_Entry]) -> Exception | None:
        """Append what is still wanted and commit, or roll back; the error, if there was one."""
        wanted = [entry for entry in batch if not entry.done.done()]
        try:
            reach("publish.begun")
            for entry in wanted:
                self._file.append(entry.outgoing, entry.source)
            reach("publish.written")
        except Exception as error:  # noqa: BLE001 - whatever it is belongs to who published; the turn must not stay
            self._file.forget()
            self._database.rollback()
            return translate(error, "Publishing") if isinstance(error, apsw.Error) else error
        try:
            self._database.commit()
        except InfrastructureError as error:
            self._file.forget()
            return error
        reach("publish.committed")
        for entry in wanted:
            entry.written = True
        return None


def _may_hold(failure: Exception) -> bool:
    """What may have been published is not published again: those who called for it are told."""
    return isinstance(failure, CommitUncertainError)


async def _outcome(entry: _Entry) -> None:
    """Return when another has written it. Cancelled before, it is not written any more."""
    try:
        await entry.done
    except asyncio.CancelledError:
        if not entry.written:
            raise
        task = asyncio.current_task()
        assert task is not None
        asyncio.get_running_loop().call_soon(_cancel_if_wanted, task)


def _cancel_if_wanted(task: asyncio.Task[object]) -> None:
    """A time-out, for one, takes its cancellation back when its block has ended all the same."""
    if task.cancelling():
        task.uncancel()
        task.cancel()


def _tell(batch: Sequence[_Entry], error: Exception | None) -> None:
    for entry in batch:
        if entry.done.done():
            continue
        if error is None:
            entry.done.set_result(None)
        else:
            entry.done.set_exception(error)
