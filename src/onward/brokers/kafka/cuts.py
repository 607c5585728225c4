"""Where a log was cut back and written anew: found by the epochs of the leaders that wrote what is there now."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from time import monotonic
from typing import Any

from confluent_kafka import Consumer, KafkaError, TopicPartition

from onward.brokers.kafka.client import LIBRARY_LOG, Client
from onward.brokers.kafka.places import Doubt

READ_S = 10.0
_STRONG = {
    "group.id": "onward-reader",  # the library wants one; nothing is committed under it
    "enable.auto.commit": False,
    "auto.offset.reset": "earliest",  # retention may take what is looked at meanwhile
    "enable.partition.eof": True,
    "allow.auto.create.topics": False,
    "fetch.min.bytes": 1,
    "queued.min.messages": 1,
}

EpochAt = Callable[[int], tuple[int, int] | None]
"""Offset and leader epoch of the first event at an offset or behind it; None where there is none."""


def find_cuts(client: Client, topic: str, doubts: Sequence[Doubt]) -> dict[int, int]:
    """By partition, the first offset that a leader after the epoch wrote to, where it is below the place.

    Waits for the network: call it in a thread of its own. Raises BrokerError.
    """
    look = _Look(client, topic)
    try:
        cuts = {doubt.partition: first_later(doubt, partial(look, doubt.partition)) for doubt in doubts}
    finally:
        look.close()
    return {partition: cut for partition, cut in cuts.items() if cut is not None}


def first_later(doubt: Doubt, epoch_at: EpochAt) -> int | None:
    """Epochs rise along a log: bisected, after one look at the last event before the place, which most often is all."""
    last = epoch_at(doubt.offset - 1)
    if last is not None and last[0] < doubt.offset and last[1] <= doubt.epoch:
        return None
    low, high, found = doubt.low, doubt.offset, None
    while low < high:
        middle = (low + high) // 2
        seen = epoch_at(middle)
        if seen is None or seen[0] >= high or seen[1] > doubt.epoch:
            if seen is not None and seen[0] < high:
                found = seen[0]
            high = middle
        else:
            low = seen[0] + 1
    return found


class _Look:
    """Reads one event of a partition."""

    def __init__(self, client: Client, topic: str) -> None:
        self._client = client
        self._topic = topic
        self._doing = f"Looking whether topic {topic!r} was cut back"
        self._reader = Consumer(client.options({}, _STRONG), logger=LIBRARY_LOG)

    def __call__(self, partition: int, offset: int) -> tuple[int, int] | None:
        self._reader.assign([TopicPartition(self._topic, partition, offset)])
        until = monotonic() + READ_S
        while True:
            message = self._reader.poll(READ_S)
            if message is None or monotonic() > until:
                raise self._client.teller.unreachable(self._doing, f"no answer in {READ_S:g} s")
            error: Any = message.error()
            if error is None:
                return message.offset() or 0, message.leader_epoch() or 0
            if error.code() == KafkaError._PARTITION_EOF:
                return None
            raise self._client.teller.told(error, self._doing)

    def close(self) -> None:
        self._reader.close()
