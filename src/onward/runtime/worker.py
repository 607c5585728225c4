"""One service in a child process: it works until its parent says drain, a signal comes, or the parent is gone.

It tells its parent over a socket, in JSON lines, that its event loop turns. The parent tells it one word: drain.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import signal
import socket
from collections.abc import AsyncIterator
from typing import Any

from onward.errors import DeclarationError, RegistrationError, SettingError
from onward.runtime.service import Service, ServicePlan
from onward.settings import Settings

logger = logging.getLogger("onward.worker")

BEAT_S = 0.25
CLEAN, FAILED, CANNOT_START, UNFINISHED = 0, 1, 78, 3


async def work(plan: ServicePlan, settings: Settings, parent: socket.socket, drain_s: float) -> int:
    """Run the service; the exit code says how it ended."""
    reader, writer = await asyncio.open_connection(sock=parent)
    try:
        service = Service(plan, settings)
        try:
            await service.start()
        except (DeclarationError, RegistrationError, SettingError) as error:
            logger.error("service %s can't start: %s", plan.name, error)
            return CANNOT_START
        async with _beating(service, writer):
            asked = asyncio.create_task(_asked_to_stop(reader))
            await asyncio.wait([asked, service.failure], return_when=asyncio.FIRST_COMPLETED)
            failed = service.failure.done()
            asked.cancel()
            await asyncio.gather(asked, return_exceptions=True)
            drained = await service.stop(drain_s)
            _say(writer, {"drained": {"handled": drained.handled, "seconds": round(drained.seconds, 3)}})
            if failed:
                return FAILED
            return CLEAN if drained.finished else UNFINISHED
    finally:
        writer.close()


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
    async def beat() -> None:
        while True:
            _say(writer, {"unready": service.unready(), "snapshot": service.snapshot()})
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
