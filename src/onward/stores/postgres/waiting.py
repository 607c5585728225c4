"""A connection whose quick answers cost no turn of the event loop."""

from __future__ import annotations

from collections.abc import Generator
from select import select
from time import monotonic
from typing import Any, TypeVar

import psycopg
from psycopg.abc import PQGen
from psycopg.waiting import Ready, Wait

PATIENCE_S = 0.0003
"""How long the loop is kept for the answer to one statement: a server near by needs less for a row by its key."""
TURN_S = 0.005
"""How long statements that are answered so quickly may go on before the loop has a turn all the same."""
MAX_LEFT = 64  # statements that are left to the loop before one is tried again
MAX_SOCKET = 1024  # select() knows no higher ones

Given = TypeVar("Given")


class QuickConnection(psycopg.AsyncConnection[Any]):
    """Waits for an answer without the event loop, for a moment, and goes over to it where that was not enough.

    What takes long, waits for a lock or is far away keeps the loop free: whoever was waited for in vain is waited for
    by the loop, and so are more and more of the statements that follow.
    """

    _turned_at = 0.0
    _in_vain = 0
    _left = 0

    async def wait(self, gen: PQGen[Given], *args: Any, **kwargs: Any) -> Given:
        """As every connection does it, cancelled too: then the statement is stopped on the server."""
        if self._left > 0:
            self._left -= 1
        elif monotonic() - self._turned_at < TURN_S and self.pgconn.socket < MAX_SOCKET:
            try:
                asked = _answered(gen, self.pgconn.socket)
            except StopIteration as done:
                self._in_vain = 0
                given: Given = done.value
                return given
            self._in_vain += 1
            self._left = min(1 << self._in_vain, MAX_LEFT)
            gen = _begun(gen, asked)
        try:
            return await super().wait(gen, *args, **kwargs)
        finally:
            self._turned_at = monotonic()


def _answered(gen: PQGen[Any], socket: int) -> Wait:
    """What it still asks for when patience ends. Raises StopIteration with what it gives when it is through."""
    asked = next(gen)
    until = monotonic() + PATIENCE_S
    while ready := _ready(socket, asked, until - monotonic()):
        asked = gen.send(ready)
    return asked


def _ready(socket: int, asked: int, within_s: float) -> Ready | None:
    if within_s <= 0:
        return None
    wanted = ((socket,) if asked & Wait.R else (), (socket,) if asked & Wait.W else ())
    try:
        readable, writable, _ = select(*wanted, (), within_s)
    except (OSError, ValueError) as error:
        raise psycopg.OperationalError(f"the connection's socket is closed ({error})") from error
    if not readable:
        return Ready.W if writable else None
    return Ready.RW if writable else Ready.R


def _begun(gen: PQGen[Given], asked: Wait) -> Generator[Wait, Any, Given]:
    """What is left of `gen`, which has asked for `asked`."""
    try:
        while True:
            asked = gen.send((yield asked))
    except StopIteration as done:
        given: Given = done.value
        return given
