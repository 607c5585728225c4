"""One subscription at work: deliveries in, batches through the runner, until asked to stop."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from time import monotonic
from typing import Protocol

from onward.errors import (
    BacklogFullError,
    ClaimLostError,
    InfrastructureError,
    RegistrationError,
    StoreConflictError,
)
from onward.pipeline.parking import take_back
from onward.pipeline.suspects import take_back_mark
from onward.policy import AWAITS_CODE
from onward.ports import Broker, Claim, Clock, Consumer, Delivery, Group, Place, Repeated, Settlement, Shift, Store

logger = logging.getLogger("onward.subscription")

BATCH = 1000
FIRST_PAUSE_S = 0.2
LONGEST_PAUSE_S = 5.0
HEALTHY_S = 30.0  # a session that lasted so long was no repetition of the last trouble
REVIVE_EVERY_S = 2.0
LEAVE_S = 2.0  # what giving back may take when the process is about to end
SETTLE_S = 25.0  # what handlers in flight may take when their partition goes to another member
MOST_SAID = 3  # of the versions that are waited for
WAIT_S = 0.5  # how long an idle loop sleeps before it looks after other things, its stop among them


class Runner(Protocol):
    """Runs what a delivery holds. Used by one subscription, one call at a time."""

    @property
    def handlers(self) -> Sequence[str]:
        """The names of all that it runs."""
        ...

    def attach(self, claim: Claim) -> None:
        """A partition is ours from now on."""
        ...

    async def handle(self, claim: Claim, delivery: Delivery) -> float | None:
        """None when it was taken; else the seconds to wait before what is left is delivered again."""
        ...

    async def settle(self, partition: int, within_s: float | None) -> None:
        """Finish what is in flight on a partition and write it down; what has not begun is dropped.

        What takes longer is cancelled, and its events stay unhandled.
        """
        ...

    def forget(self, partition: int) -> None:
        """Throw memory of a partition away: the claim is lost."""
        ...

    async def revive(self, claim: Claim) -> bool:
        """Run dead letters again that someone asked for, for a moment; whether to come back soon for more."""
        ...

    def check(self) -> None:
        """Raise what went wrong in work that goes on beside the deliveries."""
        ...


class Subscription:
    """The loop of one subscription in this process. `trouble` says why it, or a part, stands still; "" if none does."""

    def __init__(
        self,
        *,
        subscription_id: int,
        group: str,
        topic: str,
        member: str,
        broker: Broker,
        store: Store,
        runner: Runner,
        clock: Clock,
    ) -> None:
        self.topic = topic
        self.group = group
        self.trouble = ""
        self.claims: dict[int, Claim] = {}
        self._id = subscription_id
        self._member = member
        self._broker = broker
        self._store = store
        self._runner = runner
        self._clock = clock
        self._stopping = False
        self._consumer: Consumer | None = None
        self._resumes: set[asyncio.Task[None]] = set()
        self._revive_at = 0.0
        self._awaited: list[str] = []

    @property
    def lag(self) -> int:
        """Events that wait on the partitions held here, as far as their ends are known."""
        ends = self._consumer.ends if self._consumer is not None else {}
        return sum(
            claim.position.in_flight(ends[partition]) for partition, claim in self.claims.items() if partition in ends
        )

    def stop(self) -> None:
        """Take no further delivery; `run` returns when the current one is settled, idle within WAIT_S."""
        self._stopping = True

    async def run(self) -> None:
        """Work until `stop`. Broken infrastructure and lost claims are retried; anything else ends the loop.

        Cancelled, as at the end of a drain, it gives back what it holds: that was no fault of the events in hand.
        """
        try:
            await self._work()
        except asyncio.CancelledError:
            await self._leave()
            raise

    async def _work(self) -> None:
        pause_s = FIRST_PAUSE_S
        while not self._stopping:
            began = monotonic()
            try:
                await self._session()
            except ClaimLostError as error:
                logger.warning("claim lost: %s", error)
            except (InfrastructureError, BacklogFullError) as error:
                self.trouble = str(error)
                logger.error("subscription %s on %s stands still: %s", self.group, self.topic, error)
            if not self._stopping:
                if monotonic() - began > HEALTHY_S:
                    pause_s = FIRST_PAUSE_S
                await asyncio.sleep(pause_s)
                pause_s = min(pause_s * 2, LONGEST_PAUSE_S)

    async def _session(self) -> None:
        group = Group(
            self.group,
            self.topic,
            self._member,
            self._assigned,
            self._revoked,
            self._shifted,
            lambda: {partition: claim.position.next for partition, claim in self.claims.items()},
            self._store.identity,
        )
        consumer = self._consumer = await self._broker.consume(group)
        healthy = more = False
        try:
            while not self._stopping:
                delivery = await consumer.next(BATCH, 0.0 if more else WAIT_S)
                self._runner.check()
                if delivery is not None:
                    await self._deliver(consumer, delivery)
                if more or monotonic() >= self._revive_at:
                    self._revive_at = monotonic() + REVIVE_EVERY_S
                    more = any([await self._runner.revive(claim) for claim in list(self.claims.values())])
                self.trouble = self._waits_for_code()
            healthy = True
        except (ClaimLostError, InfrastructureError, BacklogFullError):
            await self._excuse()
            raise
        except asyncio.CancelledError:
            await self._leave()
            raise
        finally:
            for waiting in self._resumes:
                waiting.cancel()
            await asyncio.gather(*self._resumes, return_exceptions=True)
            if not healthy:
                self._drop()
            self._consumer = None
            await consumer.close()

    def _waits_for_code(self) -> str:
        """Which versions only newer code can read, "" for none. Each is told in the log once, however often tried."""
        attempts = (attempt for claim in self.claims.values() for attempt in claim.attempts.values())
        awaited = sorted(
            {each.error.removeprefix(AWAITS_CODE) for each in attempts if each.error.startswith(AWAITS_CODE)}
        )
        for error in awaited:
            if error not in self._awaited:
                logger.error("subscription %s on %s waits for newer code: %s", self.group, self.topic, error)
        self._awaited = awaited
        return f"{self.group} on {self.topic} waits for newer code: {' '.join(awaited[:MOST_SAID])}" if awaited else ""

    async def _deliver(self, consumer: Consumer, delivery: Delivery) -> None:
        claim = self.claims[delivery.partition]
        claim.mark = delivery.mark or claim.mark
        if delivery.runs:
            if strangers := claim.arrivals.strangers(delivery.runs):
                claim.arrivals = claim.arrivals.recalled(await self._store.recall(claim, strangers))
            delivery = _told_apart(claim, delivery)
        wait_s = await self._runner.handle(claim, delivery)
        if wait_s is not None:
            consumer.pause(delivery.partition)
            consumer.seek(delivery.partition, claim.position.next)
            waiting = asyncio.create_task(self._resume(consumer, delivery.partition, wait_s))
            self._resumes.add(waiting)
            waiting.add_done_callback(self._resumes.discard)

    async def _resume(self, consumer: Consumer, partition: int, wait_s: float) -> None:
        await self._clock.sleep(wait_s)
        consumer.resume(partition)

    async def _assigned(self, partitions: Sequence[int]) -> Mapping[int, Place]:
        claims = await self._store.claim(self._id, self.topic, partitions, self._member)
        joined = {name for claim in claims for name in claim.joined}.difference(self._runner.handlers)
        if joined:
            await self._store.release(claims, excused=True)
            raise RegistrationError(
                f"Handler {min(joined)!r} has joined {self.group} on {self.topic} and this process lacks it: its events"
                " would count as done without having run. Deploy the code that has it here too. Nothing was handled"
                " since."
            )
        for claim in claims:
            self.claims[claim.partition] = claim
            self._runner.attach(claim)
        return {
            claim.partition: Place(claim.position.next, claim.mark, max(claim.position.beyond.bounds, default=0))
            for claim in claims
        }

    async def _shifted(self, shifts: Sequence[Shift]) -> None:
        """Before anything of these partitions is delivered; what is lost by it is told, and counts as skipped."""
        for shift in shifts:
            claim = self.claims[shift.partition]
            before, goes_on = claim.position, shift.place.offset
            after = before.on_another_log(goes_on, shift.others) if shift.anew else before.finish_through(goes_on)
            claim.mark = shift.place.mark
            settlement = Settlement(
                after, skipped=after.done_since(before), shift=shift if shift.why else None, clears_unclean=False
            )
            async with self._store.unit() as unit:
                await unit.commit(claim, settlement)
            self._runner.attach(claim)
            if shift.why:
                logger.error(
                    "subscription %s goes on at offset %d of %s, partition %d, instead of %d: %s",
                    self.group,
                    goes_on,
                    self.topic,
                    shift.partition,
                    before.next,
                    shift.why,
                )

    async def _revoked(self, partitions: Sequence[int]) -> None:
        # All at once: one after the other, those that wait their turn would go on beginning new events meanwhile.
        within_s = None if self._stopping else SETTLE_S  # a drain has a limit of its own
        settling = [self._runner.settle(partition, within_s) for partition in partitions if partition in self.claims]
        for error in await asyncio.gather(*settling, return_exceptions=True):
            if isinstance(error, BaseException):
                raise error
        held = [self.claims.pop(partition) for partition in partitions if partition in self.claims]
        if held:
            await self._store.release(held)

    async def _excuse(self) -> None:
        """What failed below us is no process's end, and no proof of anything: the starts before ours stay counted."""
        held = list(self.claims.values())
        if not held:
            return
        self._drop()
        try:
            for claim in held:
                with contextlib.suppress(ClaimLostError, StoreConflictError):
                    await take_back_mark(self._store, claim)
                    await take_back(self._store, claim)
            await self._store.release(held, excused=True)
        except (InfrastructureError, OSError) as error:
            logger.warning("claims of %s on %s were not given back: %s", self.group, self.topic, error)

    async def _leave(self) -> None:
        """Give back what is held, if that can be done before the process ends."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LEAVE_S):
                await self._excuse()

    def _drop(self) -> None:
        """What memory says may be wrong: claims are taken anew, and the unclean start stays counted."""
        for partition in list(self.claims):
            self._runner.forget(partition)
        self.claims.clear()


def _told_apart(claim: Claim, delivery: Delivery) -> Delivery:
    """What came before goes to nobody: a relay that is not sure sends again."""
    claim.arrivals, repeated = claim.arrivals.arrive(delivery.runs)
    if not repeated:
        return delivery
    again = {offset for each in repeated for offset in each}
    records = [
        (record[0], Repeated(record[1]), *record[2:]) if record[0] in again else record for record in delivery.records
    ]
    return replace(delivery, records=records)
