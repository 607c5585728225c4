"""How the answers of a producer come to the event loop: by a thread that waits for them, or by looking now and then.

The client library gives each answer under the interpreter's lock, and a thread that waits for that lock beside a busy
loop costs both of them: each call of the loop into C wakes it, for nothing mostly. One answer comes soonest by a
thread; where thousands of messages are under way, it is cheaper to look.
"""

from __future__ import annotations

import asyncio
from threading import Thread
from typing import Protocol

POLL_S = 0.2
LOOK_S = 0.001
MOST_IN_VAIN = 1_000  # looks; whoever has not answered by then is looked for less often
SELDOM_S = 0.05
IDLE_S = 1.0  # nothing is under way: the library may have something to say of its connections


class Producing(Protocol):
    """What is heard for."""

    def poll(self, wait_s: float) -> bool:
        """Have the client call back with the answers that are there, or come by then; whether any are to be told.

        Raises nothing.
        """
        ...

    def tell(self) -> None:
        """Pass on what was called back with. In the event loop."""
        ...

    @property
    def under_way(self) -> int:
        """How many messages have no answer yet."""
        ...

    def let_go(self) -> None:
        """Drop the client, for good: waits for its threads, one of which may be asking for a server's name."""
        ...


class Hearing(Protocol):
    """Made in the event loop, which is told in turns of its own."""

    def start(self) -> None: ...

    def expect(self) -> None:
        """Something was handed over, or somebody waits for room."""
        ...

    def close(self) -> None:
        """End once nothing is under way, soon. May be called from any thread, and again."""
        ...

    async def ended(self, within_s: float) -> bool:
        """After `close`: whether nothing is under way, and the client has ended, by then."""
        ...


class Listening:
    """By a thread."""

    def __init__(self, producing: Producing) -> None:
        self._producing = producing
        self._loop = asyncio.get_running_loop()
        self._closing = False
        self._telling = False
        self._thread = Thread(target=self._run, name="onward-kafka-producer", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def _run(self) -> None:
        while not self._closing or self._producing.under_way:
            if self._producing.poll(POLL_S) and not self._telling and not self._loop.is_closed():
                self._telling = True
                self._loop.call_soon_threadsafe(self._tell)
        self._producing.let_go()

    def _tell(self) -> None:
        self._telling = False  # first: what comes from now on is told anew
        self._producing.tell()

    def expect(self) -> None:
        """It listens always."""

    def close(self) -> None:
        self._closing = True

    async def ended(self, within_s: float) -> bool:
        await asyncio.to_thread(self._thread.join, within_s)
        return not self._thread.is_alive()


class Looking:
    """Each LOOK_S while anything is under way."""

    def __init__(self, producing: Producing) -> None:
        self._producing = producing
        self._loop = asyncio.get_running_loop()
        self._closing = False
        self._soon = False
        self._in_vain = 0
        self._timer: asyncio.TimerHandle | None = None
        self._ending: Thread | None = None

    def start(self) -> None:
        self._timer = self._loop.call_later(IDLE_S, self._look)

    def _look(self) -> None:
        self._hear()
        self._soon = self._producing.under_way > 0
        if self._soon or not self._closing:
            busy_s = LOOK_S if self._in_vain < MOST_IN_VAIN else SELDOM_S
            self._timer = self._loop.call_later(busy_s if self._soon else IDLE_S, self._look)
        else:
            self._end()

    def _hear(self) -> None:
        self._in_vain += 1
        if self._producing.poll(0):
            self._in_vain = 0
            self._producing.tell()

    def _end(self) -> Thread:
        if self._ending is None:
            self._ending = Thread(target=self._producing.let_go, name="onward-kafka-ending", daemon=True)
            self._ending.start()
        return self._ending

    def expect(self) -> None:
        if not self._soon:
            self._soon = True
            self._in_vain = 0
            if self._timer is not None:
                self._timer.cancel()
            self._timer = self._loop.call_later(LOOK_S, self._look)

    def close(self) -> None:
        self._closing = True

    async def ended(self, within_s: float) -> bool:
        """Looks itself: the loop in which it was made may be over."""
        loop = asyncio.get_running_loop()
        until = loop.time() + within_s
        while self._producing.under_way:
            if loop.time() > until:
                return False
            self._hear()
            await asyncio.sleep(LOOK_S)
        if self._timer is not None:
            self._timer.cancel()
        ending = self._end()
        await asyncio.to_thread(ending.join, max(0.0, until - loop.time()))
        return not ending.is_alive()
