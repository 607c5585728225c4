"""Does the log go on where an account stands? Pure: told by the topic's identity and the bounds of its partitions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from onward.errors import RegistrationError
from onward.ports import Place, Shift


class Mark(NamedTuple):
    """What is kept beside an offset: the cluster, the topic's identity in it, and the last event's leader epoch."""

    cluster: str
    topic: str
    epoch: int = -1

    @classmethod
    def read(cls, text: str) -> Mark | None:
        cluster, _, rest = text.partition(" ")
        topic, _, epoch = rest.partition(" ")
        return cls(cluster, topic, int(epoch)) if epoch.lstrip("-").isdecimal() else None

    def __str__(self) -> str:
        return f"{self.cluster} {self.topic} {self.epoch}"


@dataclass(frozen=True, slots=True)
class TopicState:
    """A topic as it is now: `bounds` are first and next offset by partition; `identity` is another once made anew."""

    name: str
    cluster: str
    identity: str
    bounds: Mapping[int, tuple[int, int]]


def shifts(state: TopicState, places: Mapping[int, Place]) -> list[Shift]:
    """The partitions that don't go on at their place, and those whose mark is not on record yet (without a `why`).

    Raises RegistrationError for accounts of another cluster.
    """
    return [shift for partition, place in sorted(places.items()) if (shift := _shift(state, partition, place))]


def _shift(state: TopicState, partition: int, place: Place) -> Shift | None:
    low, high = state.bounds[partition]
    known = Mark.read(place.mark)
    mark = Mark(state.cluster, state.identity, known.epoch if known else -1)
    if known is not None and known.cluster != state.cluster:
        raise RegistrationError(
            f"This store's accounts of topic {state.name!r} belong to Kafka cluster {known.cluster}, and the broker is"
            f" cluster {state.cluster}: their offsets mean different events. Point ONWARD_BROKER to the former cluster,"
            " or give the service another store (ONWARD_STORE). Nothing was handled.",
            topic=state.name,
        )
    if known is not None and known.topic != state.identity:
        return Shift(
            partition,
            Place(low, str(mark._replace(epoch=-1))),
            anew=True,
            why="the topic was deleted and made again; what is in the new one is handled from its beginning, and what"
            " was left unhandled in the old one is gone",
        )
    if place.offset < low:
        return Shift(
            partition,
            Place(low, str(mark)),
            anew=False,
            why=f"Kafka's retention took the events from {place.offset} to {low - 1} before they were handled",
        )
    if place.offset > high:
        return Shift(
            partition,
            Place(high, str(mark)),
            anew=True,
            why=f"the log was cut back to {high} by Kafka, as after a leader that lacked events; what was written"
            " there and handled is gone, and what is written from here on is handled",
        )
    if str(mark) != place.mark:
        return Shift(partition, place._replace(mark=str(mark)), anew=False, why="")
    return None
