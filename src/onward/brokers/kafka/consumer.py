"""One member of a group on Kafka, as the event loop sees it: its fetcher's thread does what has to wait."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Mapping

from onward.brokers.kafka import wire
from onward.brokers.kafka.client import Client
from onward.brokers.kafka.cluster import Cluster
from onward.brokers.kafka.cuts import find_cuts
from onward.brokers.kafka.fetching import Fetcher, Request
from onward.brokers.kafka.numbers import runs
from onward.brokers.kafka.places import Mark, TopicState, doubts, shifts
from onward.ports import Delivery, Group, Record
from onward.telemetry.failpoints import reach
from onward.waiters import settle, settled

SHOW_EVERY_S = 1.0  # how often the group's offsets on Kafka are brought up to the store's
END_LOOK_S = 0.05


class KafkaConsumer:
    """`Consumer` on Kafka. Where a partition begins is the store's to say; its offsets there follow the store's."""

    def __init__(self, client: Client, cluster: Cluster, group: Group, left: Callable[[KafkaConsumer], None]) -> None:
        self._client = client
        self._group = group
        self._left = left
        self._loop = asyncio.get_running_loop()
        self._woken = False  # since `next` looked last
        self._waiters: set[asyncio.Future[None]] = set()
        self._requests: deque[Request] = deque()
        self._marks: dict[int, str] = {}
        self._shown_at = 0.0
        self._closed = False
        self._fetcher = Fetcher(client, cluster, group, tell=self._wake_soon, ask=self._asked)
        self._lanes = self._fetcher.lanes
        self._fetcher.start()

    # ----------------------------------------------------------------------------- called in the fetcher's thread

    def _wake_soon(self) -> None:
        try:
            self._loop.call_soon_threadsafe(self._wake)
        except RuntimeError:  # the loop is closed, and whoever read here went with it
            self._fetcher.close()
            while self._requests:
                self._requests.popleft().done.set_result({})

    def _asked(self, request: Request) -> None:
        self._requests.append(request)
        self._wake_soon()

    # ---------------------------------------------------------------------------------------- the event loop

    async def next(self, limit: int, wait_s: float) -> Delivery | None:
        if self._lanes.waits:  # a backlog must not keep timers and signals from their turn
            await asyncio.sleep(0)
        until = self._loop.time() + wait_s
        while True:
            self._woken = False
            await self._serve()
            if self._fetcher.failure is not None and not self._closed:
                raise self._fetcher.failure
            self._show_progress()
            taken = self._lanes.take(limit)
            if taken is not None:
                partition, records, end = taken
                topic = self._group.topic
                return Delivery(topic, partition, records, end, self._mark(records), runs(records, topic, partition))
            if not await self._rest(until):
                return None

    async def _rest(self, until: float) -> bool:
        """Whether we were woken, by then on the loop's clock."""
        if not self._woken:
            waiter: asyncio.Future[None] = self._loop.create_future()
            self._waiters.add(waiter)
            try:
                await settled(waiter, until)
            finally:
                self._waiters.discard(waiter)
        return self._woken

    def _wake(self) -> None:
        self._woken = True
        for waiter in self._waiters:
            settle(waiter)

    def _mark(self, records: list[Record]) -> str:
        """The log that these are of, as its leader was when it wrote the last of them."""
        epoch = records[-1][wire.EPOCH]
        found = self._marks.get(epoch)
        if found is None:
            state = self._fetcher.state
            assert state is not None
            found = self._marks[epoch] = str(Mark(state.cluster, state.identity, epoch))
        return found

    def _show_progress(self) -> None:
        if self._loop.time() - self._shown_at >= SHOW_EVERY_S:
            self._shown_at = self._loop.time()
            self._fetcher.commit(self._group.positions())

    async def _serve(self) -> None:
        """What the fetcher waits for. Whatever goes wrong here is raised here; there it waits no longer."""
        while self._requests:
            request = self._requests.popleft()
            answer: Mapping[int, int] = {}
            try:
                if request.state is None:
                    answer = await self._revoked(request)
                else:
                    answer = await self._assigned(request, request.state)
            finally:
                request.done.set_result(answer)

    async def _assigned(self, request: Request, state: TopicState) -> Mapping[int, int]:
        self._marks.clear()
        reach("partitions.taken")
        places = await self._group.assigned(request.partitions)
        doubted = doubts(state, places)
        cuts = await asyncio.to_thread(find_cuts, self._client, state.name, doubted) if doubted else {}
        shifted = shifts(state, places, cuts)
        if shifted:
            await self._group.shifted(shifted)
        begin = {partition: place.offset for partition, place in places.items()}
        return begin | {shift.partition: shift.place.offset for shift in shifted}

    async def _revoked(self, request: Request) -> Mapping[int, int]:
        self._lanes.give_up(request.partitions)
        await self._group.revoked(request.partitions)
        positions = self._group.positions()
        return {partition: positions[partition] for partition in request.partitions if partition in positions}

    def seek(self, partition: int, offset: int) -> None:
        self._lanes.go_to(partition, offset)

    def pause(self, partition: int) -> None:
        self._lanes.pause(partition)

    def resume(self, partition: int) -> None:
        self._lanes.resume(partition)
        self._wake()

    @property
    def ends(self) -> Mapping[int, int]:
        return self._lanes.ends(self._fetcher.known_end)

    async def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        self._fetcher.close()
        failed: BaseException | None = None
        while self._fetcher.running:
            self._woken = False
            try:
                await self._serve()
            except BaseException as error:  # noqa: BLE001 - told below, once the partitions are given back
                failed = failed or error
            await self._rest(self._loop.time() + END_LOOK_S)
        self._left(self)
        if failed is not None:
            raise failed
