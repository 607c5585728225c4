"""The thread of one consumer: it alone talks to the client library, and moves whole batches to the event loop."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, field
from threading import Thread
from time import monotonic
from typing import Any

from confluent_kafka import OFFSET_END, Consumer, KafkaError, KafkaException, Message, TopicPartition

from onward.brokers.kafka import wire
from onward.brokers.kafka.client import LIBRARY_LOG, Client
from onward.brokers.kafka.cluster import Cluster, group_id
from onward.brokers.kafka.failures import PASSING
from onward.brokers.kafka.lanes import Lanes
from onward.brokers.kafka.places import TopicState
from onward.errors import BrokerError, OnwardError, RegistrationError
from onward.ports import Group

logger = logging.getLogger("onward.kafka")

FETCH = 1_000  # messages moved at once
POLL_S = 0.1
COMMITTED_S = 10.0
SURE_S = 0.25  # less than the 0.5 s for which the client stops fetching after a topic's deletion met a request of its
LIVELY_S = 2.0  # so long after an event the next one is expected, and what it would wait for is asked ahead
DOWN_S = 5.0
ENDS_EVERY_S = 0.25
TELL_EVERY_S = 0.05
STIR_S = 1.0

_WEAK = {
    "session.timeout.ms": 10_000,  # a dead process's partitions stand still for so long
    "heartbeat.interval.ms": 1_000,
    "queued.max.messages.kbytes": 16_384,
    "queued.min.messages": 20_000,
    "fetch.queue.backoff.ms": 10,  # a second by default: a queue that was full is long empty by then
}
_STRONG = {
    "enable.auto.commit": False,
    "enable.auto.offset.store": False,
    "auto.offset.reset": "error",  # where to go on is for the store to say
    "enable.partition.eof": True,
    "isolation.level": "read_committed",
    "partition.assignment.strategy": "cooperative-sticky",
    "allow.auto.create.topics": False,
}


@dataclass(frozen=True, slots=True)
class Request:
    """What the fetcher waits for the event loop to do: the offsets to begin at, or that these are given back."""

    partitions: Sequence[int]
    state: TopicState | None  # None: they are revoked
    done: Future[Mapping[int, int]] = field(default_factory=Future)


class Fetcher:
    """Runs until `close`, or until `failure` is set. `ask` and `tell` are called in its thread."""

    def __init__(
        self,
        client: Client,
        cluster: Cluster,
        group: Group,
        *,
        tell: Callable[[], None],
        ask: Callable[[Request], None],
    ) -> None:
        self.failure: OnwardError | None = None
        self.lanes = Lanes(tell)
        self.state: TopicState | None = None
        self._client = client
        self._cluster = cluster
        self._group = group
        self._tell = tell
        self._ask = ask
        self._closing = False
        self._sure_until = 0.0
        self._lively_until = 0.0
        self._ends: dict[int, int] = {}
        self._ends_at = 0.0
        self._tell_at = 0.0
        self._down_at: float | None = None
        self._unsure: set[int] = set()
        self._moved = False
        self._commits: dict[int, int] = {}
        self._committed: dict[int, int] = {}
        strong = {
            **_STRONG,
            "group.id": group_id(group.name, group.topic),
            "error_cb": self._heard,
            "on_commit": self._shown,
        }
        try:
            self._consumer = Consumer(client.options(_WEAK, strong), logger=LIBRARY_LOG)
        except KafkaException as error:
            raise client.refused_option(error) from None
        self._thread = Thread(target=self._run, name=f"onward-kafka-{group.name}:{group.topic}", daemon=True)

    # ----------------------------------------------------------------------------------------- the event loop

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        """Give partitions back and end; `running` says whether it has."""
        self._closing = True
        self.lanes.wake()

    @property
    def running(self) -> bool:
        return self._thread.is_alive()

    def commit(self, positions: Mapping[int, int]) -> None:
        """Show others how far the group is, some time soon."""
        self._commits = dict(positions)

    def known_end(self, partition: int) -> int:
        """As a fetch told it lately."""
        return self._ends.get(partition, -1)

    # --------------------------------------------------------------------------------------------- the thread

    def _run(self) -> None:
        try:
            self._consumer.subscribe(
                [self._group.topic], on_assign=self._assigned, on_revoke=self._revoked, on_lost=self._lost
            )
            while not self._closing and self.failure is None:
                self._step()
        except OnwardError as error:
            self._fail(error)
        except KafkaException as error:
            self._fail(self._client.teller.told(error, f"Reading topic {self._group.topic!r}"))
        except Exception as error:  # whatever it is, the event loop must hear of it: this thread is over
            logger.exception("reading %s ended", self._group.topic)
            self._fail(BrokerError(f"Reading topic {self._group.topic!r} ended: {error!r}."))
        finally:
            self._leave()

    def _leave(self) -> None:
        try:
            self._consumer.close()
        except KafkaException as error:
            logger.warning("%s", self._client.teller.told(error, f"Leaving group {self._group.name!r}"))
        finally:
            self.lanes.give_up(self.lanes.held)
            self._tell()

    def _step(self) -> None:
        now = monotonic()
        if self.lanes.wishful or self._commits or now >= self._tell_at:
            self._tell_at = now + TELL_EVERY_S
            self._tell_client(now)
        if now >= self._ends_at:
            self._ends_at = now + ENDS_EVERY_S
            self._note_ends()
        if not self.lanes.wait_for_room(POLL_S):
            return
        first = self._consumer.poll(POLL_S)
        if self._moved:
            self._stir()
        if first is None:
            self._unsure.clear()
            self._look_after_servers()
            self._make_sure_ahead()
            return
        found, told = wire.records([first, *self._consumer.consume(FETCH - 1, 0)], self._client.address.max_value_bytes)
        for partition in self._unsure:  # assigned while these came: they may be from before that
            if found.pop(partition, None):
                self.lanes.refetch(partition)
        self._unsure.clear()
        if found:
            self._make_sure()
            self._lively_until = monotonic() + LIVELY_S
            self.lanes.add(found)
        for message in told:
            self._note(message)

    def _tell_client(self, now: float) -> None:
        wishes = self.lanes.wishes(now)
        if wishes.stop:
            self._consumer.pause(self._places(wishes.stop))
        for partition, offset in wishes.seek.items():
            self._consumer.seek(TopicPartition(self._group.topic, partition, offset))
        if wishes.go_on:
            self._consumer.resume(self._places(wishes.go_on))
        if wishes.seek or wishes.go_on:
            self._sure_until = 0.0
        if self._commits:
            self._commit(wait=False)

    def _stir(self) -> None:
        """Ask the leaders something, for their connections to go on.

        The client stops all its partitions while some come or go, and the thread of a connection that has nothing to
        fetch then sleeps for up to a second, unless it is asked or told something.
        """
        self._moved = False
        held = [TopicPartition(self._group.topic, partition, OFFSET_END) for partition in self.lanes.held]
        with suppress(KafkaException):
            if held:
                self._consumer.offsets_for_times(held, timeout=STIR_S)

    def _note_ends(self) -> None:
        """Here and not where they are asked for: the client lets a call wait while another thread is in `poll`."""
        ends: dict[int, int] = {}
        for place in self._places(self.lanes.held):
            bounds = self._consumer.get_watermark_offsets(place, cached=True)
            if bounds is not None:
                ends[place.partition] = bounds[1]
        self._ends = ends

    def _places(self, partitions: Sequence[int]) -> list[TopicPartition]:
        return [TopicPartition(self._group.topic, partition) for partition in partitions]

    def _make_sure(self) -> None:
        """Is this still the topic that the accounts are of? What was fetched before we asked is of the one we see."""
        if monotonic() < self._sure_until:
            return
        asked_at = monotonic()
        while True:
            try:
                identity = self._cluster.identity(self._group.topic)
                break
            except BrokerError:
                if self._closing or monotonic() - asked_at > DOWN_S:
                    raise
        self._be_sure(identity)

    def _make_sure_ahead(self) -> None:
        """While nothing comes, so that what comes next need not wait for the answer. Who gives none is asked again."""
        if self._sure_until - POLL_S <= monotonic() < self._lively_until:
            try:
                identity = self._cluster.identity(self._group.topic)
            except BrokerError:
                return
            self._be_sure(identity)

    def _be_sure(self, identity: str) -> None:
        if self.state is not None and identity != self.state.identity:
            raise BrokerError(
                f"Topic {self._group.topic!r} was deleted and made again while it was read; its new events are taken"
                " from the beginning."
            )
        self._sure_until = monotonic() + SURE_S

    def _note(self, message: Message) -> None:
        """What the client tells beside events."""
        error: Any = message.error()
        if error.code() == KafkaError._PARTITION_EOF:
            partition, offset = message.partition(), message.offset()
            assert partition is not None
            assert offset is not None
            self.lanes.note_last(partition, offset)
        elif error.code() == KafkaError._MAX_POLL_EXCEEDED:
            logger.warning(
                "group %s was left for a while: %s", self._group.name, self._client.teller.scrub(error.str())
            )
        elif error.code() in PASSING:
            logger.info("reading %s: %s", self._group.topic, self._client.teller.scrub(error.str()))
        else:
            raise self._client.teller.told(error, f"Reading topic {self._group.topic!r}")

    def _heard(self, error: KafkaError) -> None:
        """Called by the library, inside `poll`."""
        # Not all of them down is what the library says each time: a lost one is a reason to look as well.
        if error.code() in (KafkaError._ALL_BROKERS_DOWN, KafkaError._TRANSPORT, KafkaError._RESOLVE):
            self._down_at = self._down_at or monotonic()
        elif error.fatal() or error.code() in (KafkaError._AUTHENTICATION, KafkaError.SASL_AUTHENTICATION_FAILED):
            self._fail(self._client.teller.told(error, f"Reading topic {self._group.topic!r}"))

    def _shown(self, error: KafkaError | None, places: list[TopicPartition]) -> None:
        """Called by the library, inside `poll`: what Kafka did not take is shown again with the next progress."""
        refused = {place.partition: error or place.error for place in places if error or place.error}
        for partition in refused:
            self._committed.pop(partition, None)
        why = next(iter(refused.values()), None)
        if why is not None:
            logger.info("%s", self._client.teller.told(why, f"Showing how far group {self._group.name!r} is"))

    def _look_after_servers(self) -> None:
        """Raises BrokerUnreachableError once no server has answered for DOWN_S."""
        if self._down_at is not None and monotonic() - self._down_at > DOWN_S:
            self._cluster.partitions(self._group.topic)
            self._down_at = None

    def _fail(self, error: OnwardError) -> None:
        self.failure = self.failure or error
        self._tell()

    # ------------------------------------------------------------------- called by the library, inside `poll`

    def _assigned(self, consumer: Consumer, places: list[TopicPartition]) -> None:
        partitions = [place.partition for place in places]
        begin: Mapping[int, int] = {}
        try:
            if partitions and not self._closing and self.failure is None:
                self._refuse_other_store(consumer, places)
                state = self._cluster.state(self._group.topic, partitions)
                if self.lanes.held:  # those that stay are read on where they are
                    self._be_sure(state.identity)
                self.state = state
                begin = self._asked(Request(partitions, self.state))
        except OnwardError as error:
            self._fail(error)
        except KafkaException as error:
            self._fail(self._client.teller.told(error, f"Beginning to read topic {self._group.topic!r}"))
        self._moved = self._moved or bool(self.lanes.held)
        self.lanes.assign(begin)
        consumer.incremental_assign(
            [TopicPartition(self._group.topic, partition, offset) for partition, offset in begin.items()]
        )
        self._unsure.update(begin)
        self._commits.update(begin)
        self._sure_until = 0.0

    def _refuse_other_store(self, consumer: Consumer, places: list[TopicPartition]) -> None:
        """Two stores under one group would each do a part, and what moved between them twice."""
        for place in consumer.committed(places, timeout=COMMITTED_S):
            theirs = getattr(place, "metadata", None)
            if self._group.store and theirs and theirs != self._group.store:
                raise RegistrationError(
                    f"Group {self._group.name}:{self._group.topic} on Kafka is worked by a service with another store"
                    f" (theirs is {theirs}, this one is {self._group.store}): each would handle a part of the events,"
                    " and what moves between them twice. Give all processes of the service the same ONWARD_STORE; to"
                    " give the group to this store for good, stop them and delete the group with"
                    " kafka-consumer-groups. Nothing was handled.",
                    group=self._group.name,
                )

    def _revoked(self, consumer: Consumer, places: list[TopicPartition]) -> None:
        partitions = [place.partition for place in places]
        self._commits.update(self._asked(Request(partitions, None)))
        self._commit(wait=True)
        self._given_up(consumer, places)

    def _lost(self, consumer: Consumer, places: list[TopicPartition]) -> None:
        """Somebody else may have them already; what they commit is compared with their claims."""
        self._asked(Request([place.partition for place in places], None))
        self._given_up(consumer, places)

    def _given_up(self, consumer: Consumer, places: list[TopicPartition]) -> None:
        partitions = [place.partition for place in places]
        self.lanes.give_up(partitions)
        for partition in partitions:
            self._commits.pop(partition, None)
            self._committed.pop(partition, None)
        consumer.incremental_unassign(places)
        self._moved = True

    def _asked(self, request: Request) -> Mapping[int, int]:
        """What the event loop answers: nothing, if its own part failed; it is told there."""
        self._ask(request)
        return request.done.result()

    def _commit(self, *, wait: bool) -> None:
        commits, self._commits = self._commits, {}
        shown = {partition: self.lanes.beyond_control(partition, offset) for partition, offset in commits.items()}
        fresh = {partition: offset for partition, offset in shown.items() if self._committed.get(partition) != offset}
        if not fresh:
            return
        offsets = [
            TopicPartition(self._group.topic, partition, offset, self._group.store)
            for partition, offset in fresh.items()
        ]
        try:
            if wait:
                self._consumer.commit(offsets=offsets, asynchronous=False)
            else:
                self._consumer.commit(offsets=offsets, asynchronous=True)
            self._committed.update(fresh)
        except KafkaException as error:  # the store knows better: this is for people and tools
            logger.info("%s", self._client.teller.told(error, f"Showing how far group {self._group.name!r} is"))
