"""The relay: one leader per outbox numbers what waits, sends it, and deletes what the broker has."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from itertools import islice
from time import monotonic
from typing import Any, NamedTuple

from onward.errors import BrokerError, DeliveryError, EncodeError, InfrastructureError, LeaseLostError, MessageError
from onward.ledger import Numbering
from onward.relay.barred import Answer, Barred, ask_of_open
from onward.relay.columns import Columns, columns_of, joined
from onward.relay.port import ASIDE, NOWHERE, Batch, Outbox, OutboxRow, Outlet, Refused, Stamp, Term, outbox_of
from onward.relay.suspects import Suspects
from onward.relay.waking import Waking
from onward.telemetry.failpoints import reach

logger = logging.getLogger("onward.relay")

LEASE_S = 5.0
PROLONG_S = LEASE_S / 3
LOOK_S = 0.25  # the net under `told`, and how soon a delayed event leaves
VACANT_S = 1.0  # between two looks whether the lease is free
ROWS = 1_000
FEW = 64  # rows, behind which there are hardly more
REST_S = 0.005  # without another event, after which it is time to tidy up
AHEAD = 4  # batches numbered and sent, and not confirmed yet
FIRST_PAUSE_S = 0.2
LONGEST_PAUSE_S = 5.0
HEALTHY_S = 30.0
_SETTLED = {int, EncodeError}
FLUSH_S = 5.0  # what is in the outbox has so long to leave when the process ends


class _Sent(NamedTuple):
    """A batch on its way; `there` ends when the broker has it."""

    ids: list[int]
    events: int
    there: asyncio.Future[None]
    refused: list[Refused]


class Relay:
    """Sends what one outbox holds, while it has the lease. `trouble` says why nothing leaves, "" when it does.

    Whatever is not sure (a send without an answer, a write whose outcome is not known, a lease that is over) ends the
    term. The next one, here or elsewhere, first sends again what has numbers, in their order, and only then
    numbers what is new, under another incarnation.
    """

    def __init__(self, outbox: Outbox, outlet: Outlet, service: str) -> None:
        self._outbox = outbox
        self._outlet = outlet
        self._service = service
        self.waking = Waking()
        """Told when something may have come to the outbox, or we are to stop."""
        self._leads = False
        self._looked_at = 0.0  # whether the lease is free
        self._look: asyncio.TimerHandle | None = None
        self._stopping = False
        self.trouble = ""
        self.one_by_one = False
        """Whether an event was refused that has a number: those that have are sent one at a time, to find it."""
        self.suspects = Suspects()
        self.sent = 0
        """Events that the broker has confirmed."""
        self.task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """On the running loop. Safe to repeat."""
        if self.task is None:
            self.task = asyncio.create_task(self._run())
            self.task.add_done_callback(_tell)

    def told(self, topics: Collection[str]) -> None:
        """Something was put into an outbox, here or elsewhere. Whoever does not lead looks whether it may, but seldom:
        else each event here would cost a try for the lease."""
        if outbox_of(self._service) not in topics:
            return
        if self._leads:
            self.waking.tell()
        elif self._look is None:
            rest_s = max(0.0, self._looked_at + LOOK_S - monotonic())
            self._look = asyncio.get_running_loop().call_later(rest_s, self._look_soon)

    def _look_soon(self) -> None:
        self._look = None
        self.waking.tell()

    async def stop(self) -> None:
        """Send what is there, if we lead, for FLUSH_S at most; then give up the lease. Safe to repeat."""
        self._stopping = True
        if self._look is not None:
            self._look.cancel()
        self.waking.tell()
        task, self.task = self.task, None
        if task is None:
            return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(FLUSH_S):
                await asyncio.wait([task])
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    async def _run(self) -> None:
        pause_s = FIRST_PAUSE_S
        while True:
            began = monotonic()
            try:
                self._looked_at = monotonic()
                term = await self._outbox.lease(LEASE_S)
                if term is None:
                    self.trouble = ""  # another relay's
                    if self._stopping:
                        return
                    await self.waking.told(VACANT_S)
                    continue
                await self._serve(term)
                return
            except LeaseLostError as error:
                logger.warning("%s", error)
            except (InfrastructureError, DeliveryError, MessageError) as error:
                self.one_by_one = isinstance(error, EncodeError) or bool(error.fields.get("refused"))
                if not self.one_by_one:
                    self.suspects.note(error)
                self._stand_still(error)
                logger.error("%s", self.trouble)
            except Exception as error:  # whatever it is, events that wait are not to wait for a new start
                self._stand_still(error)
                logger.exception("relaying for service %s ended, and begins again", self._service)
            if self._stopping:
                return
            if monotonic() - began > HEALTHY_S:
                pause_s = FIRST_PAUSE_S
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, LONGEST_PAUSE_S)

    def _stand_still(self, error: Exception) -> None:
        self.trouble = f"events of service {self._service!r} wait in its outbox: {error}"

    async def _serve(self, term: Term) -> None:
        """Lead until we are to stop and nothing waits."""
        reach("relay.leads")
        self._leads = True
        try:
            await _Leader(self, self._outbox, self._outlet, term).lead()
        finally:
            self._leads = False
            with contextlib.suppress(InfrastructureError, LeaseLostError):
                await self._outbox.lease(0, term)

    def bar(self, whys: Mapping[str, str]) -> None:
        """Tell of the topics that take no events now, and why."""
        self.trouble = "; ".join(
            f"events of service {self._service!r} for topic {topic!r} wait in its outbox, and what must not go before"
            f" them; the others go on: {why}"
            for topic, why in whys.items()
        )
        if self.trouble:
            logger.error("%s", self.trouble)

    async def idle(self) -> bool:
        """Nothing waits: False at once if we are to stop, else True after something may have come."""
        if self._stopping:
            return False
        await self.waking.told(LOOK_S)
        return True


class _Leader:
    """One term."""

    def __init__(self, relay: Relay, outbox: Outbox, outlet: Outlet, term: Term) -> None:
        self._relay = relay
        self._outbox = outbox
        self._outlet = outlet
        self._term = term
        self._numbering = Numbering()
        self._turn = 0
        self._prolong_at = monotonic() + PROLONG_S
        self._ahead: deque[_Sent] = deque()
        self._suspects = relay.suspects
        self._barred = Barred(self._suspects)
        self._noted: Mapping[str, str] | None = None  # of the barred topics, in the store; None before the first
        self._aside = 0  # the last turn of what was set aside
        self._opening: asyncio.Task[None] | None = None
        self._gone: list[int] = []  # rows that the broker has, until they are deleted
        self._refused: list[Refused] = []  # what it did not take of them
        self._there_since = 0.0

    async def lead(self) -> None:
        self._outlet.begin()
        try:
            if self._relay.one_by_one:
                await self._sort_out()
            while True:
                self._barred = Barred(self._suspects)
                await self._send_again()
                await self._send_aside()
                if not await self._go_on():
                    return
        finally:
            under_way = [each.there for each in self._ahead]
            if self._opening is not None:
                under_way.append(self._opening)
            for each in under_way:
                each.cancel()
            await asyncio.gather(*under_way, return_exceptions=True)

    async def _go_on(self) -> bool:
        """Send what comes, until we are to stop and nothing can leave any more, or until a barred topic is open."""
        while not self._opens():
            await self._prolong()
            await self._store({})  # where it is known better why a topic is barred
            rows = await self._outbox.read(ROWS)
            if rows:
                self._send(await self._numbered(rows))
            if self._ahead:
                await self._confirm_as_needed(len(rows))
            elif not rows:
                await self._forget()
                if not await self._relay.idle():
                    return False
        while self._ahead:
            await self._confirm()
        await self._forget()
        return True

    async def _confirm_as_needed(self, last_read: int) -> None:
        """Behind few rows there is hardly another one: the broker has them before it is worth the while to look."""
        few = last_read < min(FEW, ROWS)
        if not few:
            await asyncio.sleep(0)  # the outlet hands it over, and others have a turn
        if len(self._ahead) < AHEAD:
            patience_s = max(0.0, min(LOOK_S, self._prolong_at - monotonic()))
            if not few or await self._relay.waking.told(patience_s, self._ahead[0].there):
                return
        await self._confirm()
        if few and not self._ahead and not await self._relay.waking.told(REST_S):
            await self._forget()

    def _opens(self) -> bool:
        """Whether a topic that took no events takes them again, as asked beside all else."""
        if self._opening is None and self._barred:
            self._opening = asyncio.create_task(self._opened())
            self._opening.add_done_callback(lambda _: self._relay.waking.tell())
        if self._opening is None or not self._opening.done():
            return False
        opening, self._opening = self._opening, None
        opening.result()
        return True

    async def _opened(self) -> None:
        """Ends when an event of one of the barred topics would be taken, or refused for good."""
        fronts = self._barred.fronts
        asking = [
            asyncio.create_task(_until(lambda: self._suspects.clear(fronts, self._outlet))),
            asyncio.create_task(_until(self._placed)),
        ]
        try:
            done, _ = await asyncio.wait(asking, return_when=asyncio.FIRST_COMPLETED)
            for each in done:
                each.result()
        finally:
            for each in asking:
                each.cancel()
            await asyncio.gather(*asking, return_exceptions=True)

    async def _placed(self) -> bool:
        samples = [each.event for topic, each in self._barred.topics.items() if topic not in self._suspects]
        with contextlib.suppress(InfrastructureError):
            answers = await self._outlet.places(columns_of(samples, "")) if samples else []
            return not all(isinstance(each, BrokerError) for each in answers)
        return False

    async def _send_again(self) -> None:
        """What has numbers of terms before, all that can be there before anything is numbered in its lanes."""
        after = None
        while rows := await self._outbox.read(ROWS, after=after, numbered=True):
            await self._prolong()
            after = rows[-1].stamp
            going, *_ = await self._leaving(rows)
            if going:
                self._send(Batch.of(going))
                await self._confirm()
        await self._forget()
        self._suspects.keep(self._barred.fronts.lanes)

    async def _send_aside(self) -> None:
        """What was set aside, in its order, as far as it can leave now: before all that came after it."""
        after = None
        while rows := await self._outbox.read(ROWS, after=after, aside=True):
            await self._prolong()
            after = rows[-1].stamp
            assert after is not None
            self._aside = after.turn
            self._send(await self._numbered(rows))
            if len(self._ahead) == AHEAD:
                await self._confirm()
        await self._store({})

    async def _sort_out(self) -> None:
        """Send what has numbers event by event, so that the one that is refused is found and kept apart."""
        after = None
        while rows := await self._outbox.read(ROWS, after=after, numbered=True):
            after = rows[-1].stamp
            going, *_ = await self._leaving(rows)
            for row in going:
                refused = [each for one in row.singly() if (each := await self._refusal(one)) is not None]
                await self._outbox.delete(self._term, [row.id], [*Batch.of([row]).refused(), *refused])
        self._relay.one_by_one = False

    async def _refusal(self, one: OutboxRow) -> Refused | None:
        """Why this event will never be taken, where that is so. Its number stays empty."""
        await self._prolong()
        there = self._outlet.send(Batch.of([one]))
        try:
            await self._there(there)
        except (EncodeError, BrokerError) as error:
            if not isinstance(error, EncodeError) and not error.fields.get("refused"):
                raise
            self._outlet.begin()  # nothing is on its way: one is sent at a time
            return Refused(one.events[0], str(error))
        finally:
            there.cancel()
        return None

    async def _numbered(self, rows: list[OutboxRow]) -> Batch:
        """Those that need not wait, with their stamps, which are stored by then; the others are set aside.

        What the broker will never take gets no number.
        """
        leaving, columns, answers = await self._leaving(rows)
        numbering, places = _places(self._numbering, columns, answers)
        stamps: dict[int, Stamp] = {}
        stamped = []
        left = iter(places)
        for row in leaving:
            self._turn += 1
            row_places = tuple(islice(left, len(row.columns.values)))
            stamp = stamps[row.id] = Stamp(self._term.epoch, self._turn, self._term.incarnation, row_places)
            stamped.append(OutboxRow(row.id, row.created, row.columns, stamp))
        if len(stamped) < len(rows):
            stamps |= self._set_aside(row for row in rows if row.stamp is None and row.id not in stamps)
        reach("relay.numbering")
        await self._store(stamps)
        reach("relay.numbered")
        self._numbering = numbering
        return Batch(stamped, columns, places)

    async def _leaving(self, rows: list[OutboxRow]) -> tuple[list[OutboxRow], Columns, Sequence[Answer]]:
        """Those that need not wait, their events together, and what the outlet says of each."""
        columns = joined([row.columns for row in rows])
        if not self._barred and not self._suspects:
            found = await self._asked(columns)
            if {*map(type, found)} <= _SETTLED:
                return rows, columns, found
        else:
            found = await ask_of_open(columns, self._barred.why, self._asked)
        answers = iter(found)
        answered = [(row, list(islice(answers, len(row.columns)))) for row in rows]
        left = [(row, each) for row, each in answered if not self._barred.stays(row, each)]
        events = joined([row.columns for row, _ in left] or [columns.only([])])
        return [row for row, _ in left], events, [answer for _, each in left for answer in each]

    async def _asked(self, columns: Columns) -> Sequence[Answer]:
        """Of the outlet; meanwhile the lease stays ours: a topic that has to be made may take long."""
        known = self._outlet.known_places(columns)
        if known is not None:
            return known
        places = asyncio.ensure_future(self._outlet.places(columns))
        try:
            await self._there(places)
        finally:
            places.cancel()
        return places.result()

    def _set_aside(self, rows: Iterable[OutboxRow]) -> dict[int, Stamp]:
        stamps = {}
        for row in rows:
            self._aside += 1
            stamps[row.id] = Stamp(ASIDE, self._aside, b"", ())
        return stamps

    async def _store(self, stamps: Mapping[int, Stamp]) -> None:
        """With the topics that are barred, where they are others than before."""
        barred = self._barred.whys()
        if barred == self._noted:
            if stamps:
                await self._outbox.number(self._term, stamps)
            return
        await self._outbox.number(self._term, stamps, barred)
        self._noted = barred
        self._relay.bar(barred)

    def _send(self, batch: Batch) -> None:
        if not batch.rows:
            return
        refused = batch.refused()
        for each in refused:
            logger.error(
                "an event is kept apart: its broker will never take it",
                extra={"topic": each.event.topic, "event_type": each.event.type, "error": each.why},
            )
        there = self._outlet.send(batch)
        self._ahead.append(_Sent([row.id for row in batch.rows], len(batch.columns) - len(refused), there, refused))
        reach("relay.sent")

    async def _confirm(self) -> None:
        """The oldest batch that is on its way is there. It is deleted soon, with others."""
        batch = self._ahead[0]
        await self._there(batch.there)
        reach("relay.confirmed")
        self._ahead.popleft()
        self._relay.sent += batch.events
        self._there_since = self._there_since or monotonic()
        self._gone += batch.ids
        self._refused += batch.refused
        if len(self._gone) >= ROWS or monotonic() - self._there_since > LOOK_S:
            await self._forget()

    async def _forget(self) -> None:
        """Delete what the broker has."""
        gone, refused = self._gone, self._refused
        self._gone, self._refused, self._there_since = [], [], 0.0
        if gone:
            await self._outbox.delete(self._term, gone, refused)
            reach("relay.deleted")

    async def _there(self, there: asyncio.Future[Any]) -> None:
        """The broker has it, or has answered; meanwhile the lease stays ours, however long that takes."""
        while not there.done():
            await asyncio.wait([there], timeout=max(0.0, self._prolong_at - monotonic()))
            await self._prolong()
        await there

    async def _prolong(self) -> None:
        if monotonic() >= self._prolong_at:
            await self._outbox.lease(LEASE_S, self._term)
            self._prolong_at = monotonic() + PROLONG_S


async def _until(holds: Callable[[], Awaitable[bool]]) -> None:
    """Asked again and again."""
    pause_s = FIRST_PAUSE_S
    while True:
        await asyncio.sleep(pause_s)
        pause_s = min(2 * pause_s, LONGEST_PAUSE_S)
        if await holds():
            return


def _places(
    numbering: Numbering, columns: Columns, answers: Sequence[Answer]
) -> tuple[Numbering, list[tuple[int, int]]]:
    """Partition and number of each, NOWHERE where it has no partition; and the numbering to go on with."""
    topics = columns.topic_of_each()
    partitions = [answer for answer in answers if isinstance(answer, int)]
    if len(partitions) == len(answers):
        numbering, numbers = numbering.give(zip(topics, partitions, strict=True))
        return numbering, list(zip(partitions, numbers, strict=True))
    lanes = [(topic, answer) for topic, answer in zip(topics, answers, strict=True) if isinstance(answer, int)]
    numbering, numbers = numbering.give(lanes)
    rest = iter(numbers)
    return numbering, [(answer, next(rest)) if isinstance(answer, int) else NOWHERE for answer in answers]


def _tell(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and task.exception() is not None:
        logger.critical("events wait in the outbox: this process relays no more", exc_info=task.exception())
