"""What came before on a partition, by producers' numbers: told by the log alone, wherever one begins to read."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from onward.ledger import Arrivals, IntervalSet, Numbers, ProducerLedger, Run

CREATED = datetime(2026, 3, 1, 12, tzinfo=UTC)
OPENED = CREATED + timedelta(seconds=1)


def empty() -> Arrivals:
    return Arrivals(ProducerLedger(CREATED))


def run(number: int, offset: int, count: int = 1, incarnation: str = "a") -> Run:
    return Run(incarnation, OPENED, number, offset, count)


def offsets(repeated: list[range]) -> list[int]:
    return [offset for each in repeated for offset in each]


def test_what_a_relay_sends_again_is_a_repetition_and_what_follows_is_not() -> None:
    arrivals, repeated = empty().arrive(0, [run(1, 0, 5)])
    assert repeated == []
    arrivals, repeated = arrivals.arrive(5, [run(3, 5, 6)])
    assert repeated == [range(5, 8)]
    assert arrivals.runs == (run(1, 0, 5), run(6, 8, 3))


def test_a_delivery_that_comes_again_holds_the_same_repetitions() -> None:
    arrivals, _ = empty().arrive(0, [run(1, 0, 5), run(4, 5, 3)])
    again, repeated = arrivals.arrive(2, [run(3, 2, 3), run(4, 5, 3)])
    assert repeated == [range(5, 7)]
    assert offsets(again.arrive(0, [run(1, 0, 5), run(4, 5, 3)])[1]) == [5, 6]


def test_a_late_number_in_a_gap_is_new_between_repetitions() -> None:
    arrivals, _ = empty().arrive(0, [run(1, 0, 2), run(4, 2, 2)])
    arrivals, repeated = arrivals.arrive(4, [run(1, 4, 5)])
    assert repeated == [range(4, 6), range(7, 9)]
    assert arrivals.runs[-1] == run(3, 6)


def test_incarnations_are_told_apart() -> None:
    arrivals, _ = empty().arrive(0, [run(1, 0, 3)])
    assert arrivals.arrive(3, [run(1, 3, 3, incarnation="b")])[1] == []


def test_only_what_lies_below_the_position_is_stored() -> None:
    arrivals, _ = empty().arrive(0, [run(1, 0, 4), run(1, 4, 1, "b"), run(5, 5, 2)])
    arrivals, news = arrivals.upto(3)
    assert news == {"a": Numbers(1, IntervalSet((1, 4)))}
    assert arrivals.runs == (run(4, 3), run(1, 4, 1, "b"), run(5, 5, 2))
    arrivals, news = arrivals.upto(7)
    assert news == {"a": Numbers(1, IntervalSet((1, 7))), "b": Numbers(1, IntervalSet((1, 2)))}
    assert arrivals.runs == ()
    assert arrivals.upto(9) == (arrivals, {})


@given(
    st.lists(st.tuples(st.sampled_from("ab"), st.integers(1, 12)), max_size=40),
    st.lists(st.integers(0, 40), max_size=6),
    st.data(),
)
def test_repetitions_are_those_of_a_plain_set_wherever_reading_begins_again(
    log: list[tuple[str, int]], stops: list[int], data: st.DataObject
) -> None:
    expected, before = [], set()
    for offset, each in enumerate(log):
        if each in before:
            expected.append(offset)
        before.add(each)

    arrivals, position = empty(), 0
    for stop in [*(each for each in stops if each <= len(log)), len(log)]:
        # Delivered from the position on up to `stop`, of which a part is handled; then memory is lost or kept.
        if stop <= position:
            continue
        arrivals, repeated = arrivals.arrive(
            position,
            [run(number, offset, 1, name) for offset, (name, number) in enumerate(log) if position <= offset < stop],
        )
        assert offsets(repeated) == [each for each in expected if position <= each < stop]
        position = data.draw(st.integers(position, stop))
        arrivals, _ = arrivals.upto(position)
        if data.draw(st.booleans()):
            arrivals = Arrivals(arrivals.stored)
    for name, number in log[:position]:
        assert not arrivals.stored.is_new(name, number)
