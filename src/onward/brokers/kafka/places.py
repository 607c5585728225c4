"""Does the log go on where an account stands? Pure: told by the topic's identity and the bounds of its partitions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from onward.errors import RegistrationError
from onward.ports import Place, Shift


class Mark(NamedTuple):
    """What is kept beside an offset: the cluster, the topic's identity in it, and a leader's epoch.

    When that leader led, all below the offset was as handled: where it is so no more, a later one wrote it.
    """

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
    """A topic as it is now: `bounds` are first and next offset by partition; `identity` is another once made anew.

    `epochs` are those of the last leaders that may have written to a partition, -1 where that is not known.
    """

    name: str
    cluster: str
    identity: str
    bounds: Mapping[int, tuple[int, int]]
    epochs: Mapping[int, int]


class Doubt(NamedTuple):
    """Leaders after `epoch` may have written below `offset`, up to which events are done: the log was cut back then."""

    partition: int
    low: int
    offset: int
    epoch: int


def doubts(state: TopicState, places: Mapping[int, Place]) -> list[Doubt]:
    """The places of which `shifts` has to be told at which offset later leaders began to write, if below the place."""
    found = []
    for partition, place in sorted(places.items()):
        low, high = state.bounds[partition]
        known = Mark.read(place.mark)
        if known is not None and known.topic == state.identity and -1 < known.epoch < state.epochs[partition]:
            found.append(Doubt(partition, low, min(max(place.offset, place.beyond), high), known.epoch))
    return [doubt for doubt in found if doubt.low < doubt.offset]


def shifts(state: TopicState, places: Mapping[int, Place], cuts: Mapping[int, int]) -> list[Shift]:
    """The partitions that don't go on at their place, and those whose mark is not on record yet (without a `why`).

    `cuts` are the offsets, where `doubts` were right, from which on other events are below the place. Raises
    RegistrationError for accounts of another cluster.
    """
    found = (_shift(state, partition, place, cuts.get(partition)) for partition, place in sorted(places.items()))
    return [shift for shift in found if shift is not None]


def _shift(state: TopicState, partition: int, place: Place, cut: int | None) -> Shift | None:
    low, high = state.bounds[partition]
    known = Mark.read(place.mark)
    mark = Mark(state.cluster, state.identity, state.epochs[partition])
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
            Place(low, str(mark)),
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
    if cut is None and max(place.offset, place.beyond) > high:
        cut = high
    if cut is not None:
        return Shift(
            partition,
            Place(min(cut, place.offset), str(mark)),
            anew=True,
            others=cut,
            why=f"the log was cut back to {cut} by Kafka, as after the election of a leader that lacked events; what"
            " was there and was handled is gone, and what was written there since is handled",
        )
    if str(mark) != place.mark:
        return Shift(partition, place._replace(mark=str(mark)), anew=False, why="")
    return None
