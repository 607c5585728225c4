"""A service's place for a process: what is known of whichever process is in it now."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from onward.runtime.totals import total

STALE_S = 1.5  # no beat for so long, or a transaction open for so long, is not ready
STALLED_S = 60.0  # lag that grows for so long while nothing is handled is not ready
RATE_BEATS = 20  # the rate is taken over so many beats


@dataclass(slots=True)
class Child:
    """One slot. Written by the supervisor's loop; other threads read it, so values are replaced and not changed.

    Times are of the monotonic clock.
    """

    target: str
    name: str
    wanted: bool = True
    process: asyncio.subprocess.Process | None = None
    writer: asyncio.StreamWriter | None = None
    beat_at: float = 0.0
    beaten: bool = False  # by the process that is there now
    writing_since: float | None = None  # when its open transaction began
    ever_ready: bool = False
    unready: list[str] = field(default_factory=lambda: ["starting"])
    snapshot: Mapping[str, Any] = field(default_factory=dict)
    before: Mapping[str, Any] = field(default_factory=dict)  # what processes that are gone had counted
    database: str = ""  # the file it works on, once it has said so
    store: str = field(default="", repr=False)  # its store's address, which may hold a password
    refusal: str = ""  # why the process that was here could not start
    restarts: int = 0
    last_code: int | None = None
    task: asyncio.Task[None] | None = None
    stopped: asyncio.Event = field(default_factory=asyncio.Event)
    _handled: deque[tuple[float, int]] = field(default_factory=lambda: deque(maxlen=RATE_BEATS))
    _stall: tuple[float, int, int] = (0.0, -1, 0)  # since when, handled then, lag then

    @property
    def counts(self) -> dict[str, Any]:
        """Counted since the supervisor began, by all processes that were here."""
        return total((self.before, self.snapshot))

    @property
    def lag(self) -> int:
        return int(self.snapshot.get("lag", 0))

    @property
    def rate_per_s(self) -> float:
        """Handler calls a second over the last few seconds."""
        beats = list(self._handled)
        if len(beats) < 2 or beats[-1][0] <= beats[0][0]:
            return 0.0
        return (beats[-1][1] - beats[0][1]) / (beats[-1][0] - beats[0][0])

    def heard(self, message: Mapping[str, Any], now: float) -> None:
        """Take in what the process says of itself."""
        if "refused" in message:
            self.refusal = message["refused"]
            return
        self.beat_at, self.beaten, self.refusal = now, True, ""
        self.snapshot = message["snapshot"]
        self.writing_since = message.get("writing_since")
        if "drained" in message:
            return
        self.unready = list(message["unready"])
        self.database = message.get("database", self.database)
        self.store = message.get("store", self.store)
        self.ever_ready = self.ever_ready or not self.unready
        handled = sum(self.snapshot.get("handled", {}).values())
        self._handled.append((now, handled))
        if handled != self._stall[1] or self.lag < self._stall[2]:
            self._stall = (now, handled, self.lag)

    def gone(self, code: int) -> None:
        """The process has ended."""
        self.before, self.snapshot = self.counts, {}
        self.process, self.writer, self.last_code, self.beaten = None, None, code, False
        self.writing_since = None
        self.unready = ["starting"]
        self._handled.clear()
        self._stall = (0.0, -1, 0)

    def writing_s(self, now: float) -> float:
        """How long its transaction has been open; 0 when none is."""
        return 0.0 if self.writing_since is None else now - self.writing_since

    def reasons(self, now: float) -> list[str]:
        """Why this slot does not work now; empty when it does, or is meant to be stopped."""
        if not self.wanted:
            return []
        if self.process is None:
            ended = "starting" if self.last_code is None else f"its process ended with {self.last_code}"
            return [self.refusal or ended]
        silent_s = now - self.beat_at
        if self.beaten and silent_s > STALE_S:
            return [f"its event loop has not turned for {silent_s:.1f} s"]
        if self.writing_s(now) > STALE_S:
            return [*self.unready, f"a transaction has held the write lock for {self.writing_s(now):.1f} s"]
        since, _, lag = self._stall
        if self.beaten and now - since >= STALLED_S and self.lag > lag:
            return [*self.unready, f"nothing was handled for {now - since:.0f} s and {self.lag:,} events wait"]
        return self.unready
