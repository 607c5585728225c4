"""What a store shows from outside, while a service is at work on it, of logs that somebody else holds."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from datetime import UTC, datetime

import pytest
from msgspec import structs

from onward import ids
from onward.errors import StoreError
from onward.events import Envelope
from onward.inspection.finding import Finding
from onward.inspection.letter import REFUSED, Letter
from onward.inspection.report import Report, Wrong
from onward.inspection.status import Standing
from onward.inspection.view import Bounds, Ruling, StoreView
from onward.ports import Claim, DeadLetter, Outgoing, Parked, Place, Settlement, Shift
from onward.relay import Outbox, Refused
from onward.testing.contracts.scenes import ORDERS, SCENE_S, StoreBench


@dataclass(slots=True)
class ToldLogs:
    """`LogsView` of the topic ORDERS, whose partitions end where a scene says."""

    bounds_told: list[Bounds] = field(default_factory=lambda: [(0, 0)] * ORDERS.partitions)
    read: set[int] | None = None  # the partitions that members are said to read, where that is sure

    def bounds(self, topics: Collection[str]) -> Mapping[str, Sequence[Bounds]]:
        return {topic: self.bounds_told for topic in topics if topic == ORDERS.name}

    def readers(self, groups: Collection[tuple[str, str]]) -> Mapping[tuple[str, str], Collection[int]]:
        return {} if self.read is None else dict.fromkeys(groups, self.read)

    def examine(self, topics: Collection[str]) -> list[Finding]:
        return [Finding("broker", True, f"has {', '.join(topics)}")]


@dataclass(frozen=True, slots=True)
class ViewBench:
    """A store whose logs are elsewhere, the view of it, what that view knows of the logs, and the service's outbox."""

    bench: StoreBench
    view: StoreView
    logs: ToldLogs
    outbox: Outbox

    async def with_refused(self, *events: Outgoing) -> None:
        """The broker would not take these."""
        await self.bench.claimed()
        term = await self.outbox.lease(60.0)
        assert term is not None
        await self.outbox.delete(term, [], [Refused(each, "It is too large.") for each in events])

    async def settled(self, settlement: Settlement) -> Claim:
        """The subscription's first partition moved so far."""
        claim = await self.bench.claimed()
        async with self.bench.store.unit() as unit:
            await unit.commit(claim, settlement)
        self.logs.bounds_told[0] = (0, claim.position.next)
        return claim

    async def with_a_dead_letter(self) -> Claim:
        """Four events: three succeeded, and the last is a dead letter."""
        position = (await self.bench.claimed()).position
        return await self.settled(Settlement(position.finish_through(4), {"pay": 3}, dead=[_LETTER]))

    async def with_parked_events(self) -> Claim:
        """Six events: three succeeded, and the last two are parked behind a dead letter of their key."""
        position = (await self.bench.claimed()).position
        letter = _LETTER._replace(blocks=True)
        parked = [Parked("pay", offset, structs.replace(_LETTER.envelope, offset=offset), b"{}") for offset in (4, 5)]
        return await self.settled(Settlement(position.finish_through(6), {"pay": 3}, dead=[letter], parked=parked))

    async def due(self, claim: Claim) -> list[int]:
        """The offsets of what is parked and may run now."""
        async with self.bench.store.unit() as unit:
            return [each.offset for each in (await unit.queues(claim, 2000.0)).due]

    async def standing(self) -> Standing:
        (found,) = (await asyncio.to_thread(self.view.status)).subscriptions
        return found

    async def audit(self) -> Report:
        return await asyncio.to_thread(self.view.audit)

    async def rule(self, ruling: Ruling, ids: Sequence[int] | None) -> int:
        return await asyncio.to_thread(self.view.rule, ruling, ids)

    async def letters(self, *, every_state: bool = False) -> list[tuple[str, int]]:
        """(state, offset) of each, the newest first."""
        found = await asyncio.to_thread(lambda: self.view.letters(every_state=every_state))
        return [(each.state, each.offset) for each in found]


OpenView = Callable[[], AbstractAsyncContextManager[ViewBench]]


def on_view(
    scene: Callable[[ViewContract, ViewBench], Awaitable[None]],
) -> Callable[[ViewContract, OpenView], None]:
    def test(self: ViewContract, open_view: OpenView) -> None:
        async def play() -> None:
            async with asyncio.timeout(SCENE_S), open_view() as bench:
                await scene(self, bench)

        asyncio.run(play())

    test.__name__ = test.__qualname__ = scene.__name__
    return test


class ViewContract:
    """Supply the fixture `open_view`."""

    @on_view
    async def test_a_subscription_stands_where_its_accounts_do(self, bench: ViewBench) -> None:
        await bench.with_a_dead_letter()
        bench.logs.bounds_told[:2] = [(0, 6), (0, 1)]
        found = await bench.standing()
        assert (found.service, found.topic, found.handlers) == ("shop", "orders", ("pay",))
        assert (found.lag, found.handled, found.dead_letters, found.retrying) == (3, 4, 1, 0)
        assert [holder.lag for holder in found.holders] == [2, 1, 0, 0]

    @on_view
    async def test_who_claimed_a_partition_that_nobody_living_reads_holds_it_no_longer(self, bench: ViewBench) -> None:
        await bench.bench.claimed()
        bench.logs.read = set()
        found = await bench.standing()
        assert {(holder.member, holder.sure) for holder in found.holders} == {(None, True)}

    @on_view
    async def test_what_became_of_events_adds_up_while_some_wait(self, bench: ViewBench) -> None:
        await bench.with_a_dead_letter()
        bench.logs.bounds_told[0] = (0, 7)
        report = await bench.audit()
        assert report.problems == ()
        (tally,) = [each for each in report.tallies if each.published]
        assert (tally.published, tally.done, tally.in_flight) == (7, 4, 3)
        assert (tally.handlers["pay"].succeeded, tally.handlers["pay"].dead) == (3, 1)

    @on_view
    async def test_an_event_that_left_the_log_before_it_was_handled_has_a_name(self, bench: ViewBench) -> None:
        await bench.with_a_dead_letter()
        bench.logs.bounds_told[0] = (5, 7)
        (problem,) = (await bench.audit()).problems
        assert problem.kind is Wrong.LOST
        assert "orders, partition 0, offset 4: it left the log before" in problem.sentence

    @on_view
    async def test_a_position_beyond_the_log_is_damage(self, bench: ViewBench) -> None:
        await bench.with_a_dead_letter()
        bench.logs.bounds_told[0] = (0, 3)
        problem, *_ = (await bench.audit()).problems
        assert problem.kind is Wrong.DAMAGED
        assert "the log of this partition ends at 3" in problem.sentence

    @on_view
    async def test_what_a_log_lost_is_lost_and_not_skipped(self, bench: ViewBench) -> None:
        position = (await bench.bench.claimed()).position
        shift = Shift(0, Place(10, "log a"), anew=False, why="retention took them")
        await bench.settled(Settlement(position.finish_through(10), skipped=10, shift=shift))
        report = await bench.audit()
        (problem,) = report.problems
        assert (problem.kind, problem.count) == (Wrong.LOST, 10)
        assert "since retention took them" in problem.sentence
        assert [(each.skipped, each.lost) for each in report.tallies if each.published] == [(0, 10)]

    @on_view
    async def test_a_finding_that_is_accepted_is_told_of_and_no_problem_any_more(self, bench: ViewBench) -> None:
        for end in (10, 12):
            position = (await bench.bench.claimed()).position
            shift = Shift(0, Place(end, "log a"), anew=False, why="retention took them")
            await bench.settled(Settlement(position.finish_through(end), skipped=end - position.next, shift=shift))
        first, second = (await bench.audit()).problems
        assert first.id is not None
        assert second.id is not None
        with pytest.raises(StoreError, match="There is no finding 99 that can be accepted"):
            await bench.rule(Ruling.ACCEPT, [first.id, 99])
        assert (await bench.audit()).problems == (first, second)
        for _ in range(2):
            assert await bench.rule(Ruling.ACCEPT, [first.id]) == 1
            report = await bench.audit()
            assert report.problems == (second,)
            assert [(each.sentence, each.accepted != "") for each in report.accepted] == [(first.sentence, True)]
        await bench.rule(Ruling.ACCEPT, [second.id])
        assert (await bench.audit()).balanced

    @on_view
    async def test_a_dead_letter_is_shown_with_its_event(self, bench: ViewBench) -> None:
        await bench.with_a_dead_letter()
        (found,) = await asyncio.to_thread(bench.view.letters)
        assert (found.service, found.handler, found.topic, found.partition) == ("shop", "pay", "orders", 0)
        assert (found.event_id, found.event_key, found.value) == ("e", "k", b'{"n": 1}')
        assert (found.event_time, found.first_at) == (_LETTER.envelope.time, 1000.0)
        assert await asyncio.to_thread(bench.view.letters, [found.id]) == [found]
        with pytest.raises(StoreError, match="There is no dead letter 99"):
            await asyncio.to_thread(bench.view.letters, [99])

    @on_view
    async def test_a_letter_to_be_retried_is_on_its_way_to_its_handler(self, bench: ViewBench) -> None:
        claim = await bench.with_a_dead_letter()
        assert await bench.rule(Ruling.RETRY, None) == 1
        assert await bench.letters() == [("retrying", 3)]
        async with bench.bench.store.unit() as unit:
            assert len(await unit.retrying(claim)) == 1
        assert (await bench.standing()).retrying == 1

    @on_view
    async def test_a_discarded_letter_stays_on_record_and_the_sums_hold(self, bench: ViewBench) -> None:
        await bench.with_a_dead_letter()
        assert await bench.rule(Ruling.DISCARD, None) == 1
        assert await bench.letters() == []
        assert await bench.letters(every_state=True) == [("discarded", 3)]
        assert (await bench.audit()).problems == ()
        with pytest.raises(StoreError, match="it is discarded already"):
            await bench.rule(Ruling.RETRY, [(await asyncio.to_thread(_first, bench.view)).id])

    @on_view
    async def test_what_is_parked_behind_a_letter_is_shown_and_accounted_for(self, bench: ViewBench) -> None:
        await bench.with_parked_events()
        assert [each.waiting for each in await asyncio.to_thread(bench.view.letters)] == [2]
        found = await bench.standing()
        assert (found.handled, found.dead_letters, found.parked) == (6, 1, 2)
        report = await bench.audit()
        assert report.problems == ()
        (tally,) = [each for each in report.tallies if each.published]
        pay = tally.handlers["pay"]
        assert (tally.done, pay.done, pay.succeeded, pay.dead, pay.parked) == (6, 6, 3, 1, 2)

    @on_view
    async def test_nothing_waits_for_a_letter_that_blocks_nothing(self, bench: ViewBench) -> None:
        await bench.with_a_dead_letter()
        assert [each.waiting for each in await asyncio.to_thread(bench.view.letters)] == [0]
        assert (await bench.standing()).parked == 0

    @on_view
    async def test_what_waits_for_a_letter_may_run_once_it_is_discarded_and_its_key_stays_blocked(
        self, bench: ViewBench
    ) -> None:
        claim = await bench.with_parked_events()
        assert await bench.due(claim) == []
        assert await bench.rule(Ruling.DISCARD, [(await asyncio.to_thread(_first, bench.view)).id]) == 1
        assert await bench.due(claim) == [4, 5]
        assert (await bench.bench.claim_again(claim.subscription)).blocked == {("pay", "k")}
        assert (await asyncio.to_thread(_first, bench.view)).waiting == 0
        assert (await bench.standing()).parked == 2
        assert (await bench.audit()).problems == ()

    @on_view
    async def test_what_waits_for_a_letter_goes_on_waiting_while_others_are_discarded_or_the_ruling_fails(
        self, bench: ViewBench
    ) -> None:
        claim = await bench.with_parked_events()
        other = _LETTER._replace(offset=6, envelope=structs.replace(_LETTER.envelope, offset=6, key="other"))
        await bench.settled(Settlement(claim.position.finish_through(7), dead=[other]))
        first, blocking = await asyncio.to_thread(bench.view.letters)
        with pytest.raises(StoreError, match="There is no dead letter 99"):
            await bench.rule(Ruling.DISCARD, [blocking.id, 99])
        assert await bench.rule(Ruling.DISCARD, [first.id]) == 1
        claim = await bench.bench.claim_again(claim.subscription)
        assert await bench.due(claim) == []
        assert [each.waiting for each in await asyncio.to_thread(bench.view.letters)] == [2]

    @on_view
    async def test_what_waits_for_a_letter_waits_while_it_runs_again(self, bench: ViewBench) -> None:
        claim = await bench.with_parked_events()
        assert await bench.rule(Ruling.RETRY, None) == 1
        assert await bench.due(claim) == []
        assert [each.waiting for each in await asyncio.to_thread(bench.view.letters)] == [2]
        assert (await bench.audit()).problems == ()

    @on_view
    async def test_all_letters_that_are_named_are_ruled_on_or_none_is(self, bench: ViewBench) -> None:
        await bench.with_a_dead_letter()
        letter_id = (await asyncio.to_thread(_first, bench.view)).id
        for ruling in (Ruling.RETRY, Ruling.DISCARD):
            with pytest.raises(StoreError, match="There is no dead letter 99"):
                await bench.rule(ruling, [letter_id, 99])
        assert await bench.letters() == [("dead", 3)]

    @on_view
    async def test_what_a_broker_refused_is_shown_beside_dead_letters_under_ids_of_its_own(
        self, bench: ViewBench
    ) -> None:
        await bench.with_a_dead_letter()
        await bench.with_refused(_REFUSED, _REFUSED._replace(id=b"theirs", key=None, value=None))
        theirs, ours, dead = await asyncio.to_thread(bench.view.letters)
        assert theirs.id < ours.id < 0 < dead.id or ours.id < theirs.id < 0 < dead.id
        assert (ours.state, ours.cause, ours.error) == (REFUSED, REFUSED, "It is too large.")
        assert (ours.service, ours.handler, ours.topic, ours.event_type) == ("shop", "", "orders", "contract.event")
        assert (ours.event_id, ours.event_key, ours.value) == (ids.text(bytes(16)), "ä", b"large")
        assert (theirs.event_id, theirs.event_key, theirs.value) == ("theirs", None, None)
        assert await asyncio.to_thread(bench.view.letters, [ours.id]) == [ours]
        assert await asyncio.to_thread(lambda: bench.view.letters(service="another")) == []
        with pytest.raises(StoreError, match="There is no dead letter r99"):
            await asyncio.to_thread(bench.view.letters, [-99])

    @on_view
    async def test_a_refused_event_that_is_retried_leaves_again_as_the_same_event(self, bench: ViewBench) -> None:
        await bench.with_a_dead_letter()
        await bench.with_refused(_REFUSED, _REFUSED._replace(id=b"theirs"))
        theirs, ours, dead = await asyncio.to_thread(bench.view.letters)
        for ruling in (Ruling.RETRY, Ruling.DISCARD):
            with pytest.raises(StoreError, match="There is no dead letter r99"):
                await bench.rule(ruling, [ours.id, -99, dead.id])
        assert await asyncio.to_thread(bench.view.letters) == [theirs, ours, dead]
        assert await bench.rule(Ruling.RETRY, [ours.id, dead.id]) == 2
        (row,) = await bench.outbox.read(10)
        assert row.events == [_REFUSED]
        assert [each.state for each in await asyncio.to_thread(bench.view.letters)] == [REFUSED, "retrying"]
        assert await bench.rule(Ruling.RETRY, None) == 1
        assert [row.events[0].id for row in await bench.outbox.read(10)] == [_REFUSED.id, b"theirs"]

    @on_view
    async def test_a_refused_event_that_is_discarded_is_there_no_more(self, bench: ViewBench) -> None:
        await bench.with_refused(_REFUSED)
        (ours,) = await asyncio.to_thread(bench.view.letters)
        assert await bench.rule(Ruling.DISCARD, [ours.id]) == 1
        assert await asyncio.to_thread(lambda: bench.view.letters(every_state=True)) == []
        assert await bench.outbox.read(10) == []
        with pytest.raises(StoreError, match="There is no dead letter r"):
            await bench.rule(Ruling.RETRY, [ours.id])

    @on_view
    async def test_an_examination_finds_dead_letters_and_asks_the_logs(self, bench: ViewBench) -> None:
        await bench.with_a_dead_letter()
        found = {each.subject: each for each in await asyncio.to_thread(bench.view.examine)}
        assert not found["dead letters"].fine
        assert found["broker"].sentence == "has orders"


def _first(view: StoreView) -> Letter:
    return view.letters(every_state=True)[0]


_REFUSED = Outgoing(
    ORDERS.name, "contract.event", 1, b"large", "ä", b'{"traceparent":"00-ab"}', id=bytes(16), source="shop"
)
_LETTER = DeadLetter(
    3,
    "pay",
    "fatal",
    "ValueError: no",
    "ValueError: no, in pay",
    "fingerprint",
    1,
    1000.0,
    Envelope(
        id="e",
        source="shop",
        type="contract.event",
        version=1,
        topic=ORDERS.name,
        partition=0,
        offset=3,
        key="k",
        time=datetime(2026, 3, 1, 12, 30, tzinfo=UTC),
        extensions={},
    ),
    b'{"n": 1}',
)
