"""Services for the supervisor's tests: what an event asks for is done to the process that handles it."""

import asyncio
import os
import time
from pathlib import Path

from onward import App, Context, Event, Retry, Transaction

TABLE = "CREATE TABLE IF NOT EXISTS effect (service TEXT NOT NULL, n INTEGER NOT NULL)"
INSERT = "INSERT INTO effect (service, n) VALUES (:service, :n)"


class Asked(Event, type="supervised.asked", topic="asked", key="key"):
    """`once` names a file: the deed is done only while it is not there. "" does it each time."""

    key: str
    n: int
    deed: str = ""
    once: str = ""


steady = App("steady", schema=TABLE)
troubled = App("troubled", schema=TABLE)
changed = App("troubled", schema=TABLE)
mixed = App("mixed", schema=TABLE)
publisher = App("publisher")


class Boom(BaseException):
    """What a user's own code may raise past every `except Exception`."""


@steady.on(Asked)
async def note(asked: Asked, tx: Transaction) -> None:
    await tx.execute(INSERT, service="steady", n=asked.n)


@troubled.on(Asked, retry=Retry(max_attempts=2, first_s=0.01))
async def obey(asked: Asked, tx: Transaction) -> None:
    await tx.execute(INSERT, service="troubled", n=asked.n)
    if asked.deed and (not asked.once or _first(asked.once)):
        await _do(asked.deed)


@changed.on(Asked)
async def renamed(asked: Asked, tx: Transaction) -> None:
    await tx.execute(INSERT, service="changed", n=asked.n)


@mixed.on(Asked)
async def fall(asked: Asked, tx: Transaction) -> None:
    if asked.deed == "fall" and _first(asked.once):
        raise Boom
    await tx.execute(INSERT, service="mixed fell", n=asked.n)


@mixed.on(Asked)
async def trip(asked: Asked, ctx: Context) -> None:
    if asked.deed == "trip" and _first(asked.once):
        raise Boom
    async with ctx.transaction() as tx:
        await tx.execute(INSERT, service="mixed tripped", n=asked.n)


@mixed.on(Asked)
async def linger(asked: Asked) -> None:
    if asked.deed == "linger" and _first(asked.once):
        await asyncio.sleep(60)


async def _do(deed: str) -> None:
    match deed:
        case "block":
            time.sleep(30)  # noqa: ASYNC251 - blocking the loop is the deed
        case "hold":
            await asyncio.Event().wait()
        case "wait":
            await asyncio.sleep(0.5)
        case "exit":
            raise SystemExit
        case "interrupt":
            raise KeyboardInterrupt
        case _:
            os.abort()


def _first(path: str) -> bool:
    try:
        Path(path).touch(exist_ok=False)
    except FileExistsError:
        return False
    return True
