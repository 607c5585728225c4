"""What a cluster knows of topics. Every method waits for the network: call it in a thread of its own."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import Future
from contextlib import suppress
from threading import Lock
from time import monotonic, sleep
from typing import Any, TypeVar

from confluent_kafka import ConsumerGroupState, KafkaError, KafkaException, TopicCollection, TopicPartition
from confluent_kafka.admin import (  # type: ignore[attr-defined]  # its stub leaves NewTopic out
    AdminClient,
    ConfigResource,
    ListOffsetsResultInfo,
    NewTopic,
    OffsetSpec,
    ResourceType,
    TopicMetadata,
)

from onward.brokers.kafka.client import LIBRARY_LOG, Client
from onward.brokers.kafka.failures import PASSING, REFUSED, SILENT, UNKNOWN_TOPIC
from onward.brokers.kafka.places import TopicState
from onward.errors import BrokerError, BrokerUnreachableError, RegistrationError, SettingError
from onward.outgoing import MAX_EVENT_BYTES
from onward.topics import Topic

ANSWER_S = 5.0
ATTEMPT_S = 1.5  # after which one server is not waited for any longer
CREATED_S = 30.0  # for a new topic to be known and led everywhere
LOOK_EVERY_S = 0.05
MESSAGE_BYTES = MAX_EVENT_BYTES + (64 << 10)  # an event at its limit, with key and headers
KAFKA_S_OWN_LIMIT = 1_048_588  # max.message.bytes where nobody said anything

_SETTLED = {ConsumerGroupState.STABLE, ConsumerGroupState.EMPTY, ConsumerGroupState.DEAD}

Answer = TypeVar("Answer")
Key = TypeVar("Key")


class Cluster:
    """One admin client, made when it is first needed. For several threads."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._made: AdminClient | None = None
        self._lock = Lock()
        self._name = ""
        self._locked_out: KafkaError | None = None
        self.identities: dict[str, str] = {}  # of the topics that `identity` was asked for, as of then

    def _admin(self) -> AdminClient:
        with self._lock:
            if self._made is None:
                try:
                    self._made = AdminClient(self._client.options({}, {"error_cb": self._heard}), logger=LIBRARY_LOG)
                except KafkaException as error:
                    raise self._client.refused_option(error) from None
            return self._made

    def ensure(self, topics: Sequence[Topic]) -> None:
        """Create what is missing. Raises RegistrationError where a topic is there and not as it was declared."""
        found = {topic.name: self.copies(topic.name) for topic in topics}
        missing = [topic for topic in topics if not found[topic.name]]
        if missing:
            self._create(missing)
        for topic in topics:
            _compare(topic, found[topic.name] or self._created(topic), self._client.address.replication)

    def _create(self, topics: Sequence[Topic]) -> None:
        replication = self._client.address.replication
        wanted = [
            NewTopic(
                topic.name,
                num_partitions=topic.partitions,
                replication_factor=replication or -1,
                config={"max.message.bytes": str(MESSAGE_BYTES)},
            )
            for topic in topics
        ]
        for name, created in self._admin().create_topics(wanted, request_timeout=ANSWER_S).items():
            try:
                self._answer(created, f"Creating topic {name!r}")
            except BrokerError as error:
                if error.fields.get("code") == KafkaError.INVALID_REPLICATION_FACTOR:
                    raise SettingError(
                        f"Topic {name!r} can't be created with replication={replication}: {error} Give ONWARD_BROKER a"
                        " number that the cluster has servers for."
                    ) from None
                if error.fields.get("code") != KafkaError.TOPIC_ALREADY_EXISTS:  # somebody else was faster
                    raise

    def _created(self, topic: Topic) -> list[int]:
        until = monotonic() + CREATED_S
        while not (found := self.copies(topic.name)):
            if monotonic() > until:
                raise BrokerError(
                    f"Topic {topic.name!r} was created and has no leader after {CREATED_S:g} s. Look at the cluster's"
                    " log; the service can be started again."
                )
            sleep(LOOK_EVERY_S)
        return found

    def copies(self, topic: str) -> list[int]:
        """The copies of each partition; none for a topic that is not there, or not yet for all to see."""
        metadata = self._described(topic)
        if metadata is None:
            return []
        if metadata.error is not None:
            raise self._client.teller.told(metadata.error, f"Asking for topic {topic!r}")
        partitions = metadata.partitions
        led = sorted(partitions) == list(range(len(partitions))) and all(p.leader >= 0 for p in partitions.values())
        return [len(partitions[number].replicas) for number in sorted(partitions)] if led else []

    def exists(self, topic: str) -> bool:
        """Whether it is there, led or not."""
        return self._described(topic) is not None

    def _described(self, topic: str) -> TopicMetadata | None:
        """None for one that is not there, or not yet for all to see."""
        metadata = self._ask(
            lambda: self._admin().list_topics(topic, timeout=ANSWER_S), f"Asking for topic {topic!r}"
        ).topics.get(topic)
        if metadata is not None and metadata.error is not None and metadata.error.code() in UNKNOWN_TOPIC:
            return None
        return metadata

    def partitions(self, topic: str) -> int:
        """How many it has; 0 for one that is not there."""
        return len(self.copies(topic))

    def name(self) -> str:
        """The cluster's own id."""
        if not self._name:
            found = self._ask(lambda: self._admin().list_topics(timeout=ANSWER_S), "Asking for the cluster")
            self._name = str(found.cluster_id or "-")
        return self._name

    def identity(self, topic: str) -> str:
        """Which topic of that name it is: another one once it was deleted and made again."""
        asked = TopicCollection([topic])
        described = self._answered(
            lambda admin: admin.describe_topics(asked, request_timeout=ATTEMPT_S), f"Asking for topic {topic!r}"
        )
        found = self.identities[topic] = str(described[topic].topic_id)
        return found

    def state(self, topic: str, partitions: Sequence[int]) -> TopicState:
        """A topic as it is at one time, told by its identity before and after."""
        identity = self.identity(topic)
        first = self._offsets(topic, partitions, OffsetSpec.earliest())  # type: ignore[no-untyped-call]
        end = self._offsets(topic, partitions, OffsetSpec.latest())  # type: ignore[no-untyped-call]
        if identity != self.identity(topic):
            return self.state(topic, partitions)
        bounds = {partition: (first[partition].offset, end[partition].offset) for partition in partitions}
        epochs = {partition: _epoch(end[partition]) for partition in partitions}
        return TopicState(topic, self.name(), identity, bounds, epochs)

    def bounds(self, topic: str, partitions: Sequence[int]) -> dict[int, tuple[int, int]]:
        first = self._offsets(topic, partitions, OffsetSpec.earliest())  # type: ignore[no-untyped-call]
        end = self._offsets(topic, partitions, OffsetSpec.latest())  # type: ignore[no-untyped-call]
        return {partition: (first[partition].offset, end[partition].offset) for partition in partitions}

    def since(self, topic: str, partitions: Sequence[int], millis: int) -> dict[int, int]:
        """The first offset at or after a time; below 0 where there is none."""
        found = self._offsets(topic, partitions, OffsetSpec.for_timestamp(millis))
        return {partition: answer.offset for partition, answer in found.items()}

    def _offsets(self, topic: str, partitions: Sequence[int], spec: OffsetSpec) -> dict[int, ListOffsetsResultInfo]:
        asked = {TopicPartition(topic, partition): spec for partition in partitions}
        if not asked:
            return {}
        answers = self._answered(
            lambda admin: admin.list_offsets(asked, request_timeout=ATTEMPT_S),
            f"Asking for the offsets of topic {topic!r}",
        )
        return {place.partition: answer for place, answer in answers.items()}

    def readers(self, groups: Collection[tuple[str, str]]) -> dict[tuple[str, str], set[int]]:
        """The partitions that members of a group have of its topic; nothing of a group that is moving or not told."""
        named = {group_id(*place): place for place in groups}
        found: dict[tuple[str, str], set[int]] = {}
        for name, asked in self._admin().describe_consumer_groups([*named], request_timeout=ANSWER_S).items():
            with suppress(BrokerError):
                group = self._answer(asked, f"Asking who is in group {name!r}")
                if group.state in _SETTLED:
                    places = [place for member in group.members for place in member.assignment.topic_partitions]
                    found[named[name]] = {place.partition for place in places}
        return found

    def message_bytes(self, topic: str) -> int | None:
        """The largest message that a topic takes; None where nobody answers."""
        resource = ConfigResource(ResourceType.TOPIC, topic)
        answer = self._admin().describe_configs([resource], request_timeout=ANSWER_S)[resource]
        try:
            return int(self._answer(answer, f"Asking how topic {topic!r} is configured")["max.message.bytes"].value)
        except BrokerUnreachableError:
            return None
        except BrokerError:  # most often refused; the server has the last word anyway
            return KAFKA_S_OWN_LIMIT

    def _answered(self, ask: Callable[[AdminClient], Mapping[Key, Future[Any]]], doing: str) -> dict[Key, Any]:
        """All answers; asked again for a while where leaders change, or the server that was asked does not answer.

        For longer where a server that leads has not heard of it: one that is busy takes its time over a new topic.
        """
        began = monotonic()
        while True:
            try:
                return {key: answer.result(ANSWER_S + 5.0) for key, answer in ask(self._admin()).items()}
            except KafkaException as error:
                code = error.args[0].code()
                patience_s = CREATED_S if code == KafkaError.NOT_LEADER_FOR_PARTITION else ANSWER_S
                if code not in PASSING | SILENT or monotonic() - began > patience_s:
                    raise self._told(error, doing) from None
            except TimeoutError:
                raise self._client.teller.unreachable(doing, "no answer") from None
            # It goes to the server that was last known as the controller: if that is gone, to learn of another may take
            # the client half a minute by itself.
            self._ask(lambda: self._admin().list_topics(timeout=ANSWER_S), doing)
            sleep(LOOK_EVERY_S)

    def _answer(self, asked: Future[Any], doing: str) -> Any:
        return self._ask(lambda: asked.result(ANSWER_S + 5.0), doing)

    def _ask(self, ask: Callable[[], Answer], doing: str) -> Answer:
        try:
            return ask()
        except KafkaException as error:
            raise self._told(error, doing) from None
        except TimeoutError:
            raise self._client.teller.unreachable(doing, "no answer") from None

    def _told(self, error: KafkaException, doing: str) -> BrokerError:
        """A request that nobody answers does not say that no server let us in: the library says it by the way."""
        if error.args[0].code() not in SILENT:
            return self._client.teller.told(error, doing)
        self._locked_out = None
        self._admin().poll(0)
        return self._client.teller.told(self._locked_out or error, doing)

    def _heard(self, error: KafkaError) -> None:
        """Called by the library, inside `poll`."""
        if error.code() in REFUSED or error.code() == KafkaError._SSL:
            self._locked_out = error


def group_id(group: str, topic: str) -> str:
    """What a group of ours is called on Kafka."""
    return f"{group}:{topic}"


def _epoch(answer: ListOffsetsResultInfo) -> int:
    return -1 if answer.leader_epoch is None else answer.leader_epoch


def _compare(topic: Topic, replicas: Sequence[int], replication: int | None) -> None:
    if topic.declared and len(replicas) < topic.partitions:
        raise RegistrationError(
            f"Topic {topic.name!r} has {len(replicas)} partitions on Kafka and the code declares {topic.partitions}."
            f" Declare partitions={len(replicas)}, or add partitions with Kafka's own tools: order per key breaks at"
            " that moment, since keys move.",
            topic=topic.name,
        )
    if replication is not None and set(replicas) != {replication}:
        raise RegistrationError(
            f"Topic {topic.name!r} has {min(replicas)} copies of a partition on Kafka and ONWARD_BROKER says"
            f" replication={replication}. Change it with kafka-reassign-partitions, or leave the option out.",
            topic=topic.name,
        )
