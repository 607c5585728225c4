"""One service in a child process: it works until its parent says drain, a signal comes, or the parent is gone.

It tells its parent over a socket, in JSON lines, that its event loop turns, and since when it holds the write lock.
The parent tells it one word: drain.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import logging
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Coroutine
from threading import Event, Thread
from typing import Any, NoReturn

from onward.errors import InfrastructureError, OnwardError
from onward.pipeline.handlers import Start
from onward.runtime.service import Service, ServicePlan
from onward.settings import Settings
from onward.sqlite.database import writing_since

logger = logging.getLogger("onward.worker")

BEAT_S = 0.25
LEAVE_S = 3.0  # beyond the drain, to close what is open
PARENT_EVERY_S = 1.0
CLEAN, FAILED, CANNOT_START, UNFINISHED = 0, 1, 78, 3


def run_to_end(work: Coroutine[Any, Any, int]) -> int:
    """Run a worker on a loop of its own; its exit code.

    What it raises (SystemExit out of a handler, or another BaseException) ends the process at once, without giving
    partitions back:
    asyncio.run would cancel the tasks and wait for threads, and the event that does this each time must be found out
    by its unclean starts.
    """
    loop = asyncio.new_event_loop()
    try:
        code = loop.run_until_complete(work)
    except BaseException as error:
        logger.critical("%s ended the event loop: this process ends", type(error).__name__, exc_info=True)
        _leave(FAILED)
    if code == UNFINISHED:
        _leave(code)
    loop.run_until_complete(loop.shutdown_asyncgens())
    loop.close()
    return code


async def work(
    plan: ServicePlan, settings: Settings, parent: socket.socket, drain_s: float, chosen: Start | None = None
) -> int:
    """Run the service; the exit code says how it ended. `chosen` as in Service."""
    Thread(target=_outlive_no_parent, args=(os.getppid(), drain_s), name="onward-parent", daemon=True).start()
    reader, writer = await asyncio.open_connection(sock=parent)
    try:
        service = Service(plan, settings, chosen=chosen)
        gc.collect()
        gc.freeze()  # what is here stays to the end: a full collection need not go through it again and again
        try:
            await service.start()
        except OnwardError as error:
            logger.error("service %s can't start: %s", plan.name, error)
            _say(writer, {"refused": str(error)})
            return CANNOT_START
        async with _beating(service, writer):
            asked = asyncio.create_task(_asked_to_stop(reader))
            await asyncio.wait([asked, service.failure], return_when=asyncio.FIRST_COMPLETED)
            failed = service.failure.done()
            _end_at_once_if_ended(service.failure)
            asked.cancel()
            await asyncio.gather(asked, return_exceptions=True)
            drained = await service.stop(drain_s)
        done = {"handled": drained.handled, "seconds": round(drained.seconds, 3)}
        _say(writer, {"drained": done, "snapshot": service.meter.snapshot()})
        if failed:
            return FAILED
        return CLEAN if drained.finished else UNFINISHED
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


def _end_at_once_if_ended(failure: asyncio.Future[None]) -> None:
    """Raise what no handler may raise and go on: a drain would keep the process for its neighbours' sake."""
    error = failure.exception() if failure.done() else None
    if error is not None and error.__cause__ is not None and not isinstance(error.__cause__, Exception):
        raise error.__cause__


def _outlive_no_parent(parent: int, drain_s: float) -> None:
    """Without a parent nobody kills a blocked event loop: end the process when a drain should be over."""
    forever = Event()
    while os.getppid() == parent:
        forever.wait(PARENT_EVERY_S)
    forever.wait(drain_s + LEAVE_S)
    logger.error("the drain was not finished within %g s: what was in flight is handled after the next start", drain_s)
    _leave(UNFINISHED)


def _leave(code: int) -> NoReturn:
    """End now: no exit hook or thread may delay it, or give partitions back."""
    logging.shutdown()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    os._exit(code)


async def _asked_to_stop(reader: asyncio.StreamReader) -> None:
    """Until SIGTERM or SIGINT, or until the parent says so or is gone."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    said = asyncio.create_task(reader.readline())
    signalled = asyncio.create_task(stop.wait())
    try:
        await asyncio.wait([said, signalled], return_when=asyncio.FIRST_COMPLETED)
    finally:
        said.cancel()
        signalled.cancel()
        await asyncio.gather(said, signalled, return_exceptions=True)


@contextlib.asynccontextmanager
async def _beating(service: Service, writer: asyncio.StreamWriter) -> AsyncIterator[None]:
    settings = service.settings
    database = str(settings.database.absolute()) if settings.database is not None else ""

    async def beat() -> None:
        while True:
            try:
                snapshot = service.snapshot()
            except InfrastructureError:  # the file can't be read, or is closed already, and the loop turns all the same
                snapshot = service.meter.snapshot()
            said = {"unready": service.unready(), "snapshot": snapshot, "database": database, "store": settings.store}
            _say(writer, {**said, "writing_since": writing_since()})
            await asyncio.sleep(BEAT_S)

    task = asyncio.create_task(beat())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def _say(writer: asyncio.StreamWriter, message: dict[str, Any]) -> None:
    """Dropped when the parent does not read: it counts the silence."""
    if not writer.is_closing() and writer.transport.get_write_buffer_size() < 1 << 16:
        writer.write(json.dumps(message).encode() + b"\n")
