"""What consumers do alike whose log can be read by place: positions, turns, pauses, and the wait for more."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence

from onward.ports import Delivery, Record


class LogConsumer(ABC):
    """`Consumer` but for `close`. An adapter says how its partitions are shared out and how they are read."""

    def __init__(self, topic: str) -> None:
        self.topic = topic
        self._positions: dict[int, int] = {}
        self._paused: set[int] = set()
        self._last = 0
        self._woken = asyncio.Event()

    @abstractmethod
    async def _share_out(self) -> None:
        """Take and give back partitions, if it is time to; `_positions` are those held."""

    @abstractmethod
    def _ends(self) -> Sequence[int]:
        """The next offset to be given out in each partition of the topic."""

    @abstractmethod
    def _read(self, partition: int, offset: int, limit: int) -> list[Record]:
        """What one delivery may hold of this partition."""

    async def next(self, limit: int, wait_s: float) -> Delivery | None:
        await asyncio.sleep(0)  # a backlog must not keep timers and signals from their turn
        await self._share_out()
        self._woken.clear()
        delivery = self._poll(limit)
        if delivery is not None:
            return delivery
        try:
            async with asyncio.timeout(wait_s):
                await self._woken.wait()
        except TimeoutError:
            return None
        await self._share_out()
        return self._poll(limit)

    def _poll(self, limit: int) -> Delivery | None:
        ends = self._ends()
        for step in range(1, len(ends) + 1):
            partition = (self._last + step) % len(ends)
            offset = self._positions.get(partition)
            if offset is None or offset >= ends[partition] or partition in self._paused:
                continue
            records = self._read(partition, offset, limit)
            if records:
                self._last = partition
                end = self._positions[partition] = records[-1][0] + 1
                return Delivery(self.topic, partition, records, end)
        return None

    def seek(self, partition: int, offset: int) -> None:
        if partition in self._positions:
            self._positions[partition] = offset

    def pause(self, partition: int) -> None:
        self._paused.add(partition)

    def resume(self, partition: int) -> None:
        self._paused.discard(partition)
        self.wake()

    def wake(self) -> None:
        """Have a waiting `next` look again."""
        self._woken.set()

    @property
    def ends(self) -> Mapping[int, int]:
        ends = self._ends()
        return {partition: ends[partition] for partition in self._positions}

    def _drop(self, partitions: Iterable[int]) -> list[int]:
        """Forget these, and say which of them were held."""
        held = [partition for partition in partitions if self._positions.pop(partition, None) is not None]
        self._paused.difference_update(held)
        return held
