"""Dead letters: kept with their bytes, and run again only when someone asks."""

from __future__ import annotations

from onward.ports import Claim, DeadLetter, Settlement
from onward.testing.contracts.scenes import StoreBench, arrived, on_store


class DeadLetterContract:
    """Supply the fixture `open_store`."""

    @on_store
    async def test_a_dead_letter_keeps_its_bytes_and_its_envelope(self, bench: StoreBench) -> None:
        claim = await bench.claimed()
        letter = _letter(0, value=b"\xff\x00 not JSON")
        await _bury(bench, claim, letter)
        assert await bench.inspection.retry_dead_letters() == 1
        async with bench.store.unit() as unit:
            (retried,) = await unit.retrying(claim)
        assert retried.letter == letter

    @on_store
    async def test_a_dead_letter_without_a_value_stays_without(self, bench: StoreBench) -> None:
        claim = await bench.claimed()
        await _bury(bench, claim, _letter(0, value=None))
        await bench.inspection.retry_dead_letters()
        async with bench.store.unit() as unit:
            assert [retried.letter.value for retried in await unit.retrying(claim)] == [None]

    @on_store
    async def test_dead_letters_are_counted_by_handler(self, bench: StoreBench) -> None:
        claim = await bench.claimed()
        await _bury(bench, claim, _letter(0), _letter(1), _letter(2, handler=""))
        assert dict(bench.inspection.tallies(claim.subscription)) == {"pay": (0, 2, 0), "": (0, 1, 0)}

    @on_store
    async def test_nothing_is_retried_unasked(self, bench: StoreBench) -> None:
        claim = await bench.claimed()
        await _bury(bench, claim, _letter(0))
        async with bench.store.unit() as unit:
            assert await unit.retrying(claim) == []

    @on_store
    async def test_letters_to_retry_come_oldest_first_and_of_their_partition_alone(self, bench: StoreBench) -> None:
        claim = await bench.claimed()
        other = await bench.claim_again(claim.subscription, partition=1)
        await _bury(bench, claim, _letter(4), _letter(1), _letter(3))
        await _bury(bench, other, _letter(2, partition=1))
        await bench.inspection.retry_dead_letters()
        async with bench.store.unit() as unit:
            assert [retried.letter.offset for retried in await unit.retrying(claim)] == [1, 3, 4]
            assert [retried.letter.offset for retried in await unit.retrying(other)] == [2]

    @on_store
    async def test_a_letter_that_succeeded_is_dead_no_more(self, bench: StoreBench) -> None:
        claim = await bench.claimed()
        await _bury(bench, claim, _letter(0))
        await bench.inspection.retry_dead_letters()
        async with bench.store.unit() as unit:
            (retried,) = await unit.retrying(claim)
            await unit.commit(claim, Settlement(claim.position, {"pay": 1}, revived=[retried.id]))
        assert dict(bench.inspection.tallies(claim.subscription)) == {"pay": (1, 0, 0)}
        assert await bench.inspection.retry_dead_letters() == 0
        async with bench.store.unit() as unit:
            assert await unit.retrying(claim) == []

    @on_store
    async def test_a_letter_that_failed_again_is_dead_again_with_its_new_error(self, bench: StoreBench) -> None:
        claim = await bench.claimed()
        await _bury(bench, claim, _letter(0))
        await bench.inspection.retry_dead_letters()
        async with bench.store.unit() as unit:
            (retried,) = await unit.retrying(claim)
            mark = "another"
            new = retried.letter._replace(
                cause="fatal", error="KeyError: new", detail="trace", fingerprint=mark, attempts=6
            )
            await unit.commit(claim, Settlement(claim.position, still_dead=[retried._replace(letter=new)]))
        async with bench.store.unit() as unit:
            assert await unit.retrying(claim) == []
        assert await bench.inspection.retry_dead_letters() == 1
        async with bench.store.unit() as unit:
            (again,) = await unit.retrying(claim)
        assert again.letter == new


def _letter(offset: int, *, handler: str = "pay", partition: int = 0, value: bytes | None = b"{}") -> DeadLetter:
    envelope = arrived(offset, "foobar", partition)
    return DeadLetter(
        offset, handler, "attempts_spent", "ValueError: no", "traceback", "mark", 5, 1000.5, envelope, value
    )


async def _bury(bench: StoreBench, claim: Claim, *letters: DeadLetter) -> None:
    async with bench.store.unit() as unit:
        await unit.commit(claim, Settlement(claim.position, dead=list(letters)))
