"""Publishing: pipelined, acknowledged by all replicas in sync, in order per key also after a send that failed."""

from __future__ import annotations

import asyncio
import logging
import math
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from functools import partial
from itertools import chain, islice
from time import sleep

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from onward.brokers.kafka.client import LIBRARY_LOG, Client
from onward.brokers.kafka.cluster import MESSAGE_BYTES
from onward.brokers.kafka.failures import REFUSED, UNKNOWN_TOPIC
from onward.brokers.kafka.hearing import Hearing, Listening, Looking
from onward.brokers.kafka.wire import Headers
from onward.errors import BrokerError, EncodeError, OnwardError, PublishUncertainError
from onward.ledger import Lane
from onward.ports import Outgoing
from onward.waiters import settle, settled

logger = logging.getLogger("onward.kafka")

FEW = 64  # events: more of them are gathered
GATHER_MS = 1
YIELD_EVERY = 1_000
ENDING_S = 5.0
LOOK_S = 5.0
LOOK_AGAIN_S = 0.05
DEFAULT_TIMEOUT_MS = 30_000
LARGEST_BATCH_BYTES = 1_000_000

_WEAK = {
    "linger.ms": 0,
    "queue.buffering.max.messages": 100_000,
    "queue.buffering.max.kbytes": 131_072,
    "message.max.bytes": MESSAGE_BYTES,
}
_STRONG = {
    "enable.idempotence": True,  # with it acks=all
    "enable.gapless.guarantee": True,  # one message that is refused ends the producer, before what is behind it is sent
    # Single messages must not expire: what comes behind one of them would be sent without it. Our own limit ends all.
    "message.timeout.ms": 0,
}
_FOR_GOOD = frozenset(
    {
        KafkaError.INVALID_MSG,
        KafkaError.INVALID_RECORD,
        KafkaError.MSG_SIZE_TOO_LARGE,
        KafkaError.POLICY_VIOLATION,
        KafkaError.RECORD_LIST_TOO_LARGE,
    }
)
"""However often the same message is sent."""

_BEHIND = frozenset({KafkaError._PURGE_INFLIGHT, KafkaError._PURGE_QUEUE})
"""Given up since something before it failed."""

_TIMEOUTS = ("delivery.timeout.ms", "message.timeout.ms")
_NOTHING_SENT = frozenset(
    {
        *REFUSED,
        *UNKNOWN_TOPIC,
        KafkaError._UNKNOWN_PARTITION,
        *_FOR_GOOD,
        KafkaError._PURGE_QUEUE,
    }
)


Prepared = tuple[str, bytes | None, bytes | None, int, int, Headers]
"""One message as the client takes it: topic, value, key, partition, milliseconds since the epoch, headers."""


Lanes = Sequence[int | Lane]
"""Of messages, in their order: partitions where all go to one topic."""

_Answer = Callable[[KafkaError | None, Message], None]
_Entry = tuple[Prepared, _Answer | None]


class _Batch:
    """What one `send` waits for; counted by whoever polls.

    Kafka is asked what became of the first and the last message of a lane: what lies between can't be missing where the
    last one is there, nor be there where the first one is not. To hear of each would stop the event loop for each.
    """

    def __init__(self, done: asyncio.Future[None], complete: deque[_Batch]) -> None:
        self.begun = False
        """Whether it has had its turn."""
        self.handed = 0
        self.asked = 0
        self.told = 0
        self.handed_over = False
        self.published = 0
        """At least."""
        self.error: KafkaError | None = None
        self.there: set[int | Lane] = set()
        self.failed: set[int | Lane] = set()
        """These, and not only as others did; or without an answer in time."""
        self.done = done
        self._complete = complete

    def answers(self, lanes: Lanes) -> list[_Answer | None]:
        """For each message, given its lane, what takes Kafka's answer, where it is asked for."""
        if len(lanes) == 1:
            return [partial(self._answered, lanes[0], 1, True)]
        counts = Counter[int | Lane](lanes)
        last = dict(zip(lanes, range(len(lanes)), strict=True))
        first = dict(zip(reversed(lanes), reversed(range(len(lanes))), strict=True))
        answers: list[_Answer | None] = [None] * len(lanes)
        for lane, place in first.items():
            if last[lane] == place:
                answers[place] = partial(self._answered, lane, 1, True)
            else:
                answers[place] = partial(self._answered, lane, 1, False)
                answers[last[lane]] = partial(self._answered, lane, counts[lane] - 1, True)
        return answers

    def _answered(self, lane: int | Lane, count: int, last: bool, error: KafkaError | None, message: Message) -> None:
        """Of `count` messages of a lane, the last of which is told of.

        Confirmed without an offset is one that Kafka found to be behind what it has. That it has it is what the client
        makes of that; but a topic that was made again has none of it, and may have got what was sent behind it.
        """
        if error is None and message.offset() is None:
            error = KafkaError(KafkaError.DUPLICATE_SEQUENCE_NUMBER)
        if error is None:
            self.published += count
            if last:
                self.there.add(lane)
        else:
            self.error = self.error or error
            if error.code() not in _BEHIND:
                self.failed.add(lane)
        self.told += 1
        if self.over:
            self._complete.append(self)

    def end(self) -> None:
        """No more is handed over."""
        self.handed_over = True
        if self.over:
            settle(self.done)

    async def ended(self, deadline: float) -> bool:
        """Whether all is told, by then on the loop's clock; also where the loop had no turn to hear it."""
        await settled(self.done, deadline)
        return self.over

    @property
    def over(self) -> bool:
        return self.handed_over and self.told == self.asked


class _Gone:
    """In place of a producer that has ended."""

    def __len__(self) -> int:
        return 0

    def poll(self, _timeout_s: float) -> int:
        return 0

    def purge(self, **_what: bool) -> None:
        """Nothing waits."""

    def produce(self, *_message: object, **_more: object) -> None:
        raise KafkaException(KafkaError(KafkaError._FATAL))

    def list_topics(self, *_asked: object) -> None:
        """It sends nothing, and need not know."""


class Sender:
    """One producer of the client library, and whoever hears what became of its messages."""

    def __init__(
        self,
        client: Client,
        batch_bytes: int = LARGEST_BATCH_BYTES,
        *,
        gathers: bool = False,
        longest_s: float = math.inf,
        ends: bool = False,
    ) -> None:
        """Where it `ends`, nothing more goes by it once anything was not sent, for whatever reason.

        No send takes longer than `longest_s`, or than the address says. `batch_bytes` is the most that its topics
        take at once: Kafka measures batches, not messages.

        One that `gathers` is for many messages at a time: each waits for up to GATHER_MS for others to be sent with it,
        and their answers are heard now and then. Fewer requests, for the client and for Kafka.
        """
        options = client.options({**_WEAK, "batch.size": batch_bytes, "linger.ms": GATHER_MS if gathers else 0}, {})
        timeouts = [int(options.pop(name)) for name in _TIMEOUTS if name in options]
        self.timeout_s = min(longest_s, min(timeouts, default=DEFAULT_TIMEOUT_MS) / 1000)
        self._client = client
        self._ends = ends
        self._loop = asyncio.get_running_loop()
        self._complete: deque[_Batch] = deque()
        self._room = asyncio.Event()
        self._full = False  # someone waits for room
        self._handing = asyncio.Lock()
        self._queue = 0  # who hands over, or waits for it
        self.abandoned = False
        self._ended_by = ""  # what the client says that ended it
        try:
            self._producer: Producer | _Gone = Producer(options | _STRONG, logger=LIBRARY_LOG)
        except KafkaException as error:
            raise client.refused_option(error) from None
        self._hearing: Hearing = Looking(self) if gathers else Listening(self)
        self._hearing.start()

    def poll(self, wait_s: float) -> bool:
        try:
            self._producer.poll(wait_s)
        except KafkaException as error:  # the client sends nothing more: what waits is told so by the next polls
            self._ended_by = self._client.teller.scrub(str(error.args[0]))
            LIBRARY_LOG.info("a producer ended: %s", self._ended_by)
            self.abandon()
        except Exception:  # of what it calls, such as a handler of its log: whoever waits for answers still does
            logger.exception("hearing what became of messages failed, and goes on")
        return bool(self._complete) or self._full

    def tell(self) -> None:
        self._full = False
        self._room.set()
        while self._complete:
            settle(self._complete.popleft().done)

    @property
    def under_way(self) -> int:
        return len(self._producer)

    def let_go(self) -> None:
        self._producer = _Gone()

    @property
    def idle(self) -> bool:
        """Whether nothing is handed over or under way."""
        return not self._queue and not self.under_way

    async def send(self, messages: Iterable[Prepared], lanes: Lanes, events: Sequence[Outgoing]) -> None:
        """All of them acknowledged, in this order per partition. A message is asked for when it is its turn.

        `lanes` tell for each message which others it must not be without.

        Raises BrokerError and EncodeError where none was published, PublishUncertainError where some may have been.
        Their field `lanes` says which failed, as far as that is known.
        """
        batch = _Batch(self._loop.create_future(), self._complete)
        error = await self._failure(messages, lanes, events, batch)
        if error is not None:
            if self._ends:
                self.abandon()
            topic = next(iter(events)).topic
            failed = [lane if isinstance(lane, tuple) else (topic, lane) for lane in set(batch.failed)]
            error.fields.setdefault("lanes", failed)
            raise error

    async def _failure(
        self, messages: Iterable[Prepared], lanes: Lanes, events: Sequence[Outgoing], batch: _Batch
    ) -> OnwardError | None:
        deadline = self._loop.time() + self.timeout_s
        refused: OnwardError | None = None
        entries: Iterable[_Entry] = zip(messages, batch.answers(lanes), strict=True)
        if len(lanes) == 1 and not self._queue and not self.abandoned:  # nobody comes before it
            batch.begun = True
            left = self._hand_over(entries, batch)
            entries = [] if left is None else [left[0]]
        try:
            if batch.handed < len(lanes):
                refused = await self._in_turn(deadline, iter(entries), lanes, events, batch)
            batch.end()
            self._hearing.expect()
            in_time = await batch.ended(deadline)
        except TimeoutError:
            in_time = False
        if not in_time and not batch.begun:
            return BrokerError(
                f"Sending to Kafka at {self._client.address.servers} was not begun within {self.timeout_s:g} s, as what"
                " came before was still being handed over: nothing was sent. Send it again.",
                lanes=(),
            )
        if not in_time:
            batch.failed = batch.failed or {*lanes} - batch.there
            self.abandon()
            return self._uncertain(batch, len(events), f"no answer in {self.timeout_s:g} s")
        error = batch.error
        if refused is None and error is None:
            return None
        if error is not None and error.code() == KafkaError.DUPLICATE_SEQUENCE_NUMBER:
            self.abandon()  # the client does not see a gap
        if batch.published or (error is not None and error.code() not in _NOTHING_SENT):
            return self._doubt(batch, len(events), refused)
        if refused is None:
            assert error is not None
            refused = self._refusal(error, events)
        return refused

    async def _in_turn(
        self, deadline: float, entries: Iterator[_Entry], lanes: Lanes, events: Sequence[Outgoing], batch: _Batch
    ) -> OnwardError | None:
        """Whoever began first is first. Raises TimeoutError."""
        self._queue += 1
        try:
            async with asyncio.timeout_at(deadline), self._handing:
                batch.begun = True
                return await self._enqueue(entries, lanes, events, batch)
        finally:
            self._queue -= 1
            self._hearing.expect()

    async def _enqueue(
        self, entries: Iterator[_Entry], lanes: Lanes, events: Sequence[Outgoing], batch: _Batch
    ) -> OnwardError | None:
        """Hand them to the client; where it refuses one, those before it count as the batch, and its reason is told."""
        again: list[_Entry] = []
        while not self.abandoned:
            refused = self._hand_over(islice(chain(again, entries), YIELD_EVERY), batch)
            if refused is None:
                if batch.handed == len(lanes):
                    return None
                again = []
                await asyncio.sleep(0)
                continue
            entry, error = refused
            again = [entry]
            if isinstance(error, BufferError):
                await self._wait_for_room()
                continue
            code = error.args[0].code()
            if code == KafkaError._UNKNOWN_PARTITION:
                await asyncio.to_thread(self._look_at, entry[0][0])
                continue
            if code == KafkaError._FATAL:
                break
            batch.failed.add(lanes[batch.handed])
            if self._ends:
                self.abandon()
            return self._refusal(error.args[0], events[batch.handed : batch.handed + 1])
        return self._left_behind()  # what comes before may be missing: the rest must not be there without that

    def _hand_over(
        self, entries: Iterable[_Entry], batch: _Batch
    ) -> tuple[_Entry, BufferError | KafkaException] | None:
        """Up to the first that the client does not take: that one, and why not."""
        produce = self._producer.produce
        for entry in entries:
            (topic, value, key, partition, millis, headers), answer = entry
            try:
                produce(topic, value, key, partition, on_delivery=answer, timestamp=millis, headers=headers)
            except (BufferError, KafkaException) as error:
                return entry, error
            batch.handed += 1
            if answer is not None:
                batch.asked += 1
        return None

    def _look_at(self, topic: str) -> None:
        """Have the client see partitions that were added, as others have. Its caller has a time limit."""
        sleep(LOOK_AGAIN_S)
        with suppress(KafkaException):
            self._producer.list_topics(topic, LOOK_S)

    async def _wait_for_room(self) -> None:
        self._hearing.expect()
        if self._full:
            await self._room.wait()
        else:
            self._room.clear()
            self._full = True  # and try again: what became free before was not told

    def _left_behind(self) -> OnwardError:
        return BrokerError(
            f"An earlier send to Kafka at {self._client.address.servers} failed, and what had to come behind it was not"
            " sent. Send it again.",
            lanes=(),
        )

    def abandon(self) -> None:
        """Nothing that waits may be sent any more: what came in before it is not known to be there. Safe to repeat."""
        self.abandoned = True
        self._producer.purge(in_queue=True, in_flight=True, blocking=False)
        self._hearing.close()

    def _refusal(self, error: KafkaError, events: Sequence[Outgoing]) -> OnwardError:
        names = ", ".join(sorted({repr(event.topic) for event in events}))
        if error.code() == KafkaError.MSG_SIZE_TOO_LARGE:
            return too_large(max(events, key=lambda event: len(event.value or b"")))
        if error.code() in _FOR_GOOD:
            return EncodeError(
                f"Kafka will never take an event for topic {names} as it is ({self._client.teller.scrub(error.str())}):"
                " nothing was published. A compacted topic needs a key, for one; look at how the topic is configured."
            )
        return self._client.teller.told(error, f"Publishing to topic {names}")

    def _doubt(self, batch: _Batch, count: int, refused: OnwardError | None) -> PublishUncertainError:
        """`refused` says why not all were handed over, where that is so."""
        error = batch.error
        if error is None or isinstance(refused, EncodeError):
            return self._uncertain(batch, count, str(refused), refused=isinstance(refused, EncodeError))
        if error.code() in _BEHIND and self._ended_by:  # by one that Kafka refused, and nobody asked of
            return self._uncertain(batch, count, self._ended_by, refused=True)
        return self._uncertain(batch, count, self._client.teller.scrub(error.str()), refused=error.code() in _FOR_GOOD)

    def _uncertain(self, batch: _Batch, count: int, why: str, *, refused: bool = False) -> PublishUncertainError:
        """`refused` where that is what will happen to one of them each time, or may be."""
        return PublishUncertainError(
            f"Publishing {count} event(s) to Kafka at {self._client.address.servers} failed ({why}): {batch.published}"
            " are there, or more, and of the others some may be. To publish again may publish those twice; a handler"
            " that keeps to the event's key takes no harm.",
            published=batch.published,
            count=count,
            refused=refused,
        )

    async def close(self) -> None:
        """What is under way has ENDING_S to end."""
        self._hearing.close()
        if not await self._hearing.ended(ENDING_S):
            self._producer.purge(in_queue=True, in_flight=True, blocking=False)
            await self._hearing.ended(ENDING_S)


class Senders:
    """A producer for few messages at a time and one for many, of each size of batch that topics take.

    Most take the same. Order holds within one of them: `gathers`, which says of which kind those are that are given
    out, has to stay while anything is under way.
    """

    def __init__(self, client: Client, *, ends: bool = False) -> None:
        """One that has ended is replaced at its next use; where it `ends`, as a Sender does, by `begin` alone."""
        self.gathers = False
        self._client = client
        self._ends = ends
        self._senders: dict[tuple[bool, int], Sender] = {}

    def begin(self) -> None:
        self._senders = {kind: each for kind, each in self._senders.items() if not each.abandoned}

    @property
    def idle(self) -> bool:
        """Whether nothing is handed over or under way."""
        return all(each.idle for each in self._senders.values())

    @property
    def ended(self) -> bool:
        """Whether one has, of the kind that is given out."""
        return any(each.abandoned for (gathers, _), each in self._senders.items() if gathers is self.gathers)

    def of(self, room: int) -> Sender:
        """The one for a topic whose messages may hold so many bytes."""
        kind = self.gathers, _batch_bytes(room)
        sender = self._senders.get(kind)
        if sender is None or (sender.abandoned and not self._ends):
            sender = self._senders[kind] = Sender(self._client, kind[1], gathers=self.gathers, ends=self._ends)
        return sender

    def alone(self, room: int, longest_s: float) -> Sender:
        """Another one. Whoever asks closes or abandons it."""
        return Sender(self._client, _batch_bytes(room), longest_s=longest_s)

    def abandon(self) -> None:
        for sender in self._senders.values():
            sender.abandon()

    async def close(self) -> None:
        senders, self._senders = self._senders, {}
        for sender in senders.values():
            await sender.close()


def _batch_bytes(room: int) -> int:
    return max(1, min(LARGEST_BATCH_BYTES, room))


def lanes_of(topics: Sequence[str], partitions: Sequence[int]) -> Lanes:
    """The lane of each message, as `Sender.send` wants them."""
    return partitions if len({*topics}) == 1 else list(zip(topics, partitions, strict=True))


def too_large(event: Outgoing) -> EncodeError:
    return EncodeError(
        f"Kafka does not take an event of {len(event.value or b''):,} bytes on topic {event.topic!r}: nothing was"
        " published. Keep large content elsewhere and publish where it is, or raise the topic's max.message.bytes."
    )
