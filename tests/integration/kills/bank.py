"""The services that the kill tests run: every effect is a plain insert, so that a second one would show."""

import asyncio
import os
import signal
from pathlib import Path

from onward import App, Context, Event, Retry, Transaction
from onward.errors import StoreUnreachableError

PLACE = "BIGSERIAL" if os.environ.get("ONWARD_STORE", "").startswith("postgresql:") else "INTEGER"
TABLES = f"""
CREATE TABLE IF NOT EXISTS effect
    (place {PLACE} PRIMARY KEY, handler TEXT NOT NULL, key TEXT NOT NULL, n INTEGER NOT NULL)
"""
INSERT = "INSERT INTO effect (handler, key, n) VALUES (:handler, :key, :n)"


OFTEN = 100
"""Attempts: where processes are killed at random, no event that was hit often is to be taken for one that ends them."""


class Paid(Event, type="bank.paid", topic="payments", key="account"):
    account: str
    n: int


class Booked(Event, type="bank.booked", topic="bookings", key="account"):
    account: str
    n: int


class Stumble(Exception):
    """Raised at the first attempt only."""


direct = App("direct", schema=TABLES)
careful = App("careful", schema=TABLES)
plain = App("plain", schema=TABLES)


@direct.on(Paid, retry=Retry(max_attempts=OFTEN))
async def book(paid: Paid, tx: Transaction) -> Booked:
    await tx.execute(INSERT, handler="book", key=paid.account, n=paid.n)
    return Booked(account=paid.account, n=paid.n)


@direct.on(Booked, retry=Retry(max_attempts=OFTEN))
async def confirm(booked: Booked, tx: Transaction) -> None:
    await tx.execute(INSERT, handler="confirm", key=booked.account, n=booked.n)


@careful.on(Paid, retry=Retry(max_attempts=OFTEN, first_s=0.01))
async def review(paid: Paid, tx: Transaction, ctx: Context) -> None:
    await tx.execute(INSERT, handler="review", key=paid.account, n=paid.n)
    if paid.n % 40 == 0 and ctx.attempt == 1:
        raise Stumble


@plain.on(Paid, concurrency=8, retry=Retry(max_attempts=OFTEN))
async def notify(paid: Paid, ctx: Context) -> None:
    async with ctx.transaction() as tx:
        await tx.execute(INSERT, handler="notify", key=paid.account, n=paid.n)


@plain.on(Paid, concurrency=8, retry=Retry(max_attempts=OFTEN))
async def forward(paid: Paid) -> Booked | None:
    return Booked(account=f"forwarded-{paid.account}", n=paid.n) if paid.n % 10 == 0 else None


STUCK = (14, 15, 21)
"""Events that fail as long as there is a file BANK_BROKEN: two of one account, one of another."""

blocking = App("blocking", schema=TABLES)
holding = App("holding", schema=TABLES)
BLOCKS = Retry(max_attempts=3, first_s=0.01)


@blocking.on(Paid, retry=BLOCKS, after_last="block")
async def post(paid: Paid, tx: Transaction) -> None:
    await tx.execute(INSERT, handler="post", key=paid.account, n=paid.n)
    _stumble(paid.n)


@holding.on(Paid, concurrency=8, retry=BLOCKS, after_last="block")
async def call(paid: Paid, ctx: Context) -> None:
    async with ctx.transaction() as tx:
        await tx.execute(INSERT, handler="call", key=paid.account, n=paid.n)
        _stumble(paid.n)


def _stumble(n: int) -> None:
    if n in STUCK and Path(os.environ["BANK_BROKEN"]).exists():
        raise Stumble


slow = App("slow", schema=TABLES)


@slow.on(Paid)
async def settle(paid: Paid, ctx: Context) -> None:
    """Waits for the file BANK_GATE, having said in BANK_STARTED that it began, and only then writes."""
    await _gate_opens()
    async with ctx.transaction() as tx:
        await tx.execute(INSERT, handler="settle", key=paid.account, n=paid.n)
    _started("wrote").touch()


still = App("still", schema=TABLES)


@still.on(Paid)
async def sit(paid: Paid, tx: Transaction) -> None:
    """The same with its transaction open, in which it has written."""
    await tx.execute(INSERT, handler="sit", key=paid.account, n=paid.n)
    await _gate_opens()
    _started("wrote").touch()


async def _gate_opens() -> None:
    _started().touch()
    while not Path(os.environ["BANK_GATE"]).exists():
        await asyncio.sleep(0.01)


def _started(*said: str) -> Path:
    return Path(os.environ["BANK_STARTED"]).with_suffix(f".{'.'.join([*said, str(os.getpid())])}")


unlucky = App("unlucky", schema=TABLES)


@unlucky.on(Paid, retry=Retry(max_attempts=3))
async def totter(paid: Paid, tx: Transaction) -> None:
    """By turns the store fails below it and it ends its process; BANK_TURNS is where it counts."""
    await tx.execute(INSERT, handler="totter", key=paid.account, n=paid.n)
    if paid.n == 37:
        if _turn() % 2 == 0:
            raise StoreUnreachableError("The disk failed.")
        os.kill(os.getpid(), signal.SIGKILL)


def _turn() -> int:
    with Path(os.environ["BANK_TURNS"]).open("a") as turns:
        turns.write(".")
        return turns.tell()


endless = App("endless", schema=TABLES)


@endless.on(Paid, retry=Retry(max_attempts=3))
async def hold(paid: Paid, tx: Transaction) -> None:
    await tx.execute(INSERT, handler="hold", key=paid.account, n=paid.n)
    if paid.n == 37:
        await asyncio.Event().wait()


fragile = App("fragile", schema=TABLES)


@fragile.on(Paid)
async def crash(paid: Paid, tx: Transaction) -> None:
    await tx.execute(INSERT, handler="crash", key=paid.account, n=paid.n)
    if paid.n == 37:
        os.kill(os.getpid(), signal.SIGKILL)
