"""Topics that take no events though they have leaders: only a send tells, and only a send tells that it is over."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import NamedTuple

from onward.errors import BrokerError, OnwardError
from onward.ledger import Lane
from onward.relay.port import NOWHERE, Batch, OutboxRow, Outlet


class Suspect(NamedTuple):
    """The lanes of a topic whose events were not taken, and why."""

    why: BrokerError
    lanes: frozenset[Lane]


class Suspects:
    """Kept from term to term: what has numbers waits for them, and a term that begins would fail by it again."""

    def __init__(self) -> None:
        self._found: dict[str, Suspect] = {}

    def __bool__(self) -> bool:
        return bool(self._found)

    def __contains__(self, topic: str) -> bool:
        return topic in self._found

    def why(self, topic: str) -> BrokerError | None:
        suspect = self._found.get(topic)
        return None if suspect is None else suspect.why

    def note(self, error: OnwardError) -> None:
        """A send failed: its error says by which lanes, where that is known."""
        if not isinstance(error, BrokerError):
            return
        lanes: Iterable[Lane] = error.fields.get("lanes", ())  # type: ignore[assignment]
        for topic, partition in lanes:
            known = self._found[topic].lanes if topic in self._found else frozenset[Lane]()
            self._found[topic] = Suspect(error, known | {(topic, partition)})

    def keep(self, lanes: Collection[Lane]) -> None:
        """Those in which something waits that has numbers. Nothing can be found out about others."""
        for suspect in list(self._found.values()):
            for lane in suspect.lanes - {*lanes}:
                self._clear(lane)

    def _clear(self, lane: Lane) -> None:
        topic, _ = lane
        left = self._found[topic].lanes - {lane}
        if left:
            self._found[topic] = self._found[topic]._replace(lanes=left)
        else:
            del self._found[topic]

    async def clear(self, fronts: Fronts, outlet: Outlet) -> bool:
        """Send an event for each lane, the first of those that wait in it; whether a topic takes events again.

        The others of its row may not leave yet: so the row stays, and this event is sent again with it. Raises
        EncodeError and BrokerError where the broker will never take it.
        """
        cleared = False
        for topic, suspect in list(self._found.items()):
            for lane in sorted(suspect.lanes):
                try:
                    await outlet.prove(Batch.of([fronts.of(lane)]))
                except OnwardError as error:
                    if not isinstance(error, BrokerError) or error.fields.get("refused"):
                        self._clear(lane)
                        raise
                    self._found[topic] = self._found[topic]._replace(why=error)
                    break
                self._clear(lane)
            if topic not in self._found:
                cleared = True
            elif cleared:
                break  # what waits for the others has waited for this one long enough
        return cleared


class Fronts:
    """For each lane of a suspect, the first event of those that have numbers and wait."""

    def __init__(self, suspects: Suspects) -> None:
        self._suspects = suspects
        self._rows: dict[Lane, OutboxRow] = {}

    @property
    def lanes(self) -> Collection[Lane]:
        return self._rows.keys()

    def note(self, row: OutboxRow) -> None:
        """It waits, behind those that were noted before it."""
        assert row.stamp is not None
        topics = row.columns.topic_of_each()
        for at, (topic, place) in enumerate(zip(topics, row.stamp.places, strict=True)):
            lane = topic, place[0]
            if topic in self._suspects and place != NOWHERE and lane not in self._rows:
                self._rows[lane] = row.only(at)

    def of(self, lane: Lane) -> OutboxRow:
        return self._rows[lane]
