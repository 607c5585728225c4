"""Topics that take no events though they have leaders: only a send tells, and only a send tells that it is over."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterable
from time import monotonic
from typing import NamedTuple

from onward.errors import BrokerError, OnwardError
from onward.ledger import Lane
from onward.relay.port import NOWHERE, Batch, OutboxRow, Outlet

PROVE_S = 5.0  # for the first try; each that fails is given twice as long
LONGEST_PROVE_S = 60.0
AT_ONCE = 8  # topics
SOON_S = 0.1  # after one takes events again, for others that do
WELL_S = 300.0  # that fails again within it has not been well, and rests for longer
FIRST_REST_S = 1.0
LONGEST_REST_S = 300.0


class Suspect(NamedTuple):
    """The lanes of a topic whose events were not taken, and why; when to try it next, and how often that was."""

    why: BrokerError
    lanes: frozenset[Lane]
    due: float
    tries: int = 0


class Suspects:
    """Kept from term to term: what has numbers waits for them, and a term that begins would fail by it again."""

    def __init__(self) -> None:
        self._found: dict[str, Suspect] = {}
        self._rests: dict[str, tuple[float, float]] = {}  # how long one rested, and when it took events again

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
            known = self._found.get(topic) or Suspect(error, frozenset(), monotonic() + self._rest_s(topic))
            self._found[topic] = known._replace(why=_told(error), lanes=known.lanes | {(topic, partition)})

    def _rest_s(self, topic: str) -> float:
        """One that takes an event when it is tried, and not what waits behind that, must not end term after term."""
        rest_s, well_at = self._rests.get(topic, (0.0, -WELL_S))
        return min(max(FIRST_REST_S, 2 * rest_s), LONGEST_REST_S) if monotonic() - well_at < WELL_S else 0.0

    def keep(self, lanes: Collection[Lane]) -> None:
        """Those in which something waits that has numbers. Nothing can be found out about others."""
        for topic, suspect in list(self._found.items()):
            left = suspect.lanes & {*lanes}
            if left:
                self._found[topic] = suspect._replace(lanes=left)
            else:
                del self._found[topic]

    async def clear(self, fronts: Fronts, outlet: Outlet) -> bool:
        """Send an event for each lane, the first of those that wait in it; whether a topic takes events again.

        The others of its row may not leave yet: so the row stays, and this event is sent again with it. Raises
        EncodeError and BrokerError where the broker will never take it.
        """
        places = asyncio.Semaphore(AT_ONCE)
        due = [topic for topic, each in self._found.items() if each.due <= monotonic()]
        trying = [asyncio.create_task(self._clear(topic, fronts, outlet, places)) for topic in due]
        left, cleared = {*trying}, False
        try:
            while left:
                limit_s = SOON_S if cleared else None
                done, left = await asyncio.wait(left, timeout=limit_s, return_when=asyncio.FIRST_COMPLETED)
                results = [each.result() for each in done]
                cleared = cleared or any(results)
                if not done:
                    break
        finally:
            for each in trying:
                each.cancel()
            await asyncio.gather(*trying, return_exceptions=True)
        return cleared

    async def _clear(self, topic: str, fronts: Fronts, outlet: Outlet, places: asyncio.Semaphore) -> bool:
        async with places:
            suspect = self._found[topic]
            batch = Batch.of(sorted(map(fronts.of, suspect.lanes), key=_order))
            try:
                await outlet.prove(batch, min(PROVE_S * 2**suspect.tries, LONGEST_PROVE_S))
            except OnwardError as error:
                if not isinstance(error, BrokerError) or error.fields.get("refused"):
                    del self._found[topic]
                    raise
                self._found[topic] = suspect._replace(why=_told(error), tries=min(suspect.tries + 1, 10))
                return False
            del self._found[topic]
            self._rests[topic] = self._rest_s(topic), monotonic()
            return True


def _told(error: BrokerError) -> BrokerError:
    return BrokerError(
        f"what is sent to it is not taken: {error} Where its servers answer, look at its replicas in sync"
        " (min.insync.replicas), at what this user may write, and at this machine's clock.",
        **error.fields,
    )


def _order(row: OutboxRow) -> tuple[int, int]:
    assert row.stamp is not None
    return row.stamp.epoch, row.stamp.turn


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
