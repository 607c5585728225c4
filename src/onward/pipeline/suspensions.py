"""Noticing handlers that wait for something while the transaction they share is open."""

from __future__ import annotations

import asyncio
import logging

logger = logging.getLogger("onward.handlers")


class Suspensions:
    """Whether the event loop turned during a batch, which it does only when a handler suspends.

    On a store whose statements end without a turn of the loop, the handler then waits for something other than its
    transaction, and everybody who wants to write waits for it: that is said in the log, once for each handler.
    """

    def __init__(self, *, warns: bool) -> None:
        self.noticed = False
        self._warns = warns
        self._warned: set[str] = set()
        self._handler = ""
        self._turn: asyncio.Handle | None = None

    def begin(self) -> None:
        """A transaction has begun, and handlers run next."""
        self.noticed = False
        self._turn = asyncio.get_running_loop().call_soon(self._turned)

    def entering(self, handler: str) -> None:
        """This one runs from now on."""
        self._handler = handler
        if self._turn is None and handler not in self._warned:
            self._turn = asyncio.get_running_loop().call_soon(self._turned)

    def end(self) -> None:
        """The handlers have returned."""
        if self._turn is not None:
            self._turn.cancel()
            self._turn = None

    def _turned(self) -> None:
        self._turn = None
        self.noticed = True
        if self._warns and self._handler not in self._warned:
            logger.warning(
                "handler %r waits for something other than `tx` while its transaction is open, and nobody else can"
                " write meanwhile: wait in a handler without `tx`, and let it return an event with what it got",
                self._handler,
            )
        self._warned.add(self._handler)
