"""What came before on a partition, by producers' numbers: told by the log alone, wherever one begins to read."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from onward.ledger import Arrivals, IntervalSet, Numbers, Position, ProducerLedger, Run

CREATED = datetime(2026, 3, 1, 12, tzinfo=UTC)
OPENED = CREATED + timedelta(seconds=1)


def empty() -> Arrivals:
    return Arrivals.after(ProducerLedger(CREATED))


def run(number: int, offset: int, count: int = 1, incarnation: str = "a") -> Run:
    return Run(incarnation, OPENED, number, offset, count)


def offsets(repeated: list[range]) -> list[int]:
    return [offset for each in repeated for offset in each]


def at(next_offset: int, *beyond: int) -> Position:
    return Position(0, next_offset, IntervalSet(beyond))


def test_what_a_relay_sends_again_is_a_repetition_and_what_follows_is_not() -> None:
    arrivals, repeated = empty().arrive([run(1, 0, 5)])
    assert repeated == []
    arrivals, repeated = arrivals.arrive([run(3, 5, 6)])
    assert repeated == [range(5, 8)]
    assert arrivals.runs == (run(1, 0, 5), run(6, 8, 3))


def test_a_delivery_that_comes_again_holds_the_same_repetitions() -> None:
    arrivals, _ = empty().arrive([run(1, 0, 5), run(4, 5, 3)])
    again, repeated = arrivals.arrive([run(3, 2, 3), run(4, 5, 3)])
    assert repeated == [range(5, 7)]
    assert again == arrivals
    assert offsets(again.arrive([run(1, 0, 5), run(4, 5, 3), run(6, 8, 2)])[1]) == [5, 6, 8]


def test_a_run_that_comes_again_and_goes_on_is_new_from_where_nothing_had_come() -> None:
    arrivals, _ = empty().arrive([run(1, 0, 3)])
    arrivals, repeated = arrivals.arrive([run(1, 0, 6)])
    assert repeated == []
    assert arrivals.runs == (run(1, 0, 6),)


def test_what_is_in_hand_when_a_delivery_before_it_comes_again_is_stored_once_it_is_done() -> None:
    arrivals, _ = empty().arrive([run(1, 0, 4)])
    arrivals, _ = arrivals.arrive([run(1, 0, 2)])
    assert arrivals.at(at(0, 2, 4))[1] == {"a": Numbers(1, IntervalSet((3, 5)))}


def test_a_late_number_in_a_gap_is_new_between_repetitions() -> None:
    arrivals, _ = empty().arrive([run(1, 0, 2), run(4, 2, 2)])
    arrivals, repeated = arrivals.arrive([run(1, 4, 5)])
    assert repeated == [range(4, 6), range(7, 9)]
    assert arrivals.runs[-1] == run(3, 6)


def test_incarnations_are_told_apart() -> None:
    arrivals, _ = empty().arrive([run(1, 0, 3)])
    assert arrivals.arrive([run(1, 3, 3, incarnation="b")])[1] == []


def test_only_what_is_done_is_stored() -> None:
    arrivals, _ = empty().arrive([run(1, 0, 4), run(1, 4, 1, "b"), run(5, 5, 2)])
    arrivals, news = arrivals.at(at(3))
    assert news == {"a": Numbers(1, IntervalSet((1, 4)))}
    assert arrivals.runs == (run(4, 3), run(1, 4, 1, "b"), run(5, 5, 2))
    arrivals, news = arrivals.at(at(3, 6, 7))
    assert news == {"a": Numbers(1, IntervalSet((1, 4, 6, 7)))}
    assert arrivals.runs == (run(4, 3), run(1, 4, 1, "b"), run(5, 5))
    arrivals, news = arrivals.at(at(7))
    assert news == {"a": Numbers(1, IntervalSet((1, 7))), "b": Numbers(1, IntervalSet((1, 2)))}
    assert arrivals.runs == ()
    assert arrivals.at(at(9)) == (arrivals, {})


def test_a_run_done_in_its_middle_leaves_both_its_ends() -> None:
    arrivals, _ = empty().arrive([run(1, 0, 9)])
    arrivals, news = arrivals.at(at(0, 2, 4, 6, 7))
    assert news == {"a": Numbers(1, IntervalSet((3, 5, 7, 8)))}
    assert arrivals.runs == (run(1, 0, 2), run(5, 4, 2), run(8, 7, 2))


def test_what_is_done_beyond_the_position_is_known_after_a_restart_that_delivers_none_of_it() -> None:
    arrivals, _ = empty().arrive([run(1, 0, 5000)])
    arrivals, _ = arrivals.at(at(0, 1, 5000))
    arrivals, repeated = Arrivals.after(arrivals.stored).arrive([run(1, 0, 1000)])
    assert repeated == [range(1, 1000)]
    arrivals, _ = arrivals.at(at(5000))
    assert Arrivals.after(arrivals.stored).arrive([run(2001, 5000, 10)])[1] == [range(5000, 5010)]


def test_a_copy_that_is_done_before_the_event_it_repeats_leaves_that_new() -> None:
    arrivals, _ = empty().arrive([run(1, 0, 2), run(1, 2)])
    arrivals, news = arrivals.at(at(0, 1, 3))
    assert news == {"a": Numbers(1, IntervalSet((2, 3)))}
    assert Arrivals.after(arrivals.stored).arrive([run(1, 0, 2), run(1, 2)])[1] == [range(1, 2), range(2, 3)]


def test_an_older_incarnation_is_owed_from_the_number_that_came_first_though_a_later_one_was_done_first() -> None:
    older = run(7, 0, 3)._replace(opened=CREATED - timedelta(seconds=1))
    arrivals, _ = empty().arrive([older])
    arrivals, news = arrivals.at(at(0, 2, 3))
    assert news == {"a": Numbers(7, IntervalSet((9, 10)))}
    assert arrivals.at(at(3))[1] == {"a": Numbers(7, IntervalSet((7, 10)))}


def test_runs_that_go_on_where_the_last_one_ended_are_one() -> None:
    arrivals, _ = empty().arrive([run(1, 0, 2)])
    arrivals, _ = arrivals.arrive([run(3, 2, 2), run(6, 4), run(7, 6), run(1, 7, 1, "b"), run(8, 8)])
    assert arrivals.runs == (run(1, 0, 4), run(6, 4), run(7, 6), run(1, 7, 1, "b"), run(8, 8))


def test_of_what_is_done_beyond_the_position_nothing_is_kept_run_by_run() -> None:
    arrivals, position = empty(), at(0)
    for begin in range(0, 400, 20):
        arrivals, _ = arrivals.arrive(
            [run(offset // 2 + 1, offset, 1, "ab"[offset % 2]) for offset in range(begin, begin + 20)]
        )
        position = position.finish(range(max(begin, 1), begin + 20))
        arrivals, _ = arrivals.at(position)
        assert arrivals.runs == (run(1, 0),)
    assert arrivals.stored.incarnations == {
        "a": Numbers(1, IntervalSet((2, 201))),
        "b": Numbers(1, IntervalSet((1, 201))),
    }


@given(
    st.lists(st.tuples(st.sampled_from("ab"), st.integers(1, 12)), max_size=40),
    st.data(),
)
def test_what_is_not_done_is_a_repetition_where_a_plain_set_says_so_whatever_was_done_first_and_lost(
    log: list[tuple[str, int]], data: st.DataObject
) -> None:
    expected, before = set(), set()
    for offset, each in enumerate(log):
        if each in before:
            expected.add(offset)
        before.add(each)

    arrivals, position, at_offset, delivered = empty(), at(0), 0, 0
    for _ in range(data.draw(st.integers(0, 12))):
        # Delivered further, done in part and in any order, written down; then what memory had is lost or kept, or
        # the delivery begins again at the position.
        stop = data.draw(st.integers(at_offset, len(log)))
        arrivals, repeated = arrivals.arrive(
            [run(log[offset][1], offset, 1, log[offset][0]) for offset in range(at_offset, stop)]
        )
        told = [offset for offset in range(at_offset, stop) if not position.done(offset)]
        assert expected.intersection(told) == set(offsets(repeated)).intersection(told)
        at_offset, delivered = stop, max(delivered, stop)
        owed = [offset for offset in range(delivered) if not position.done(offset)]
        if owed:
            position = position.finish(data.draw(st.lists(st.sampled_from(owed), unique=True)))
        arrivals, _ = arrivals.at(position)
        goes_on = data.draw(st.sampled_from(["on", "again", "after a kill"]))
        if goes_on != "on":
            at_offset = position.next
        if goes_on == "after a kill":
            arrivals, delivered = Arrivals.after(arrivals.stored), at_offset
    first = {each: offset for offset, each in reversed(list(enumerate(log)))}
    for (name, number), offset in first.items():
        assert arrivals.stored.is_new(name, number) is not position.done(offset)


def test_of_an_incarnation_that_was_not_read_the_store_is_asked_before_its_numbers_are_told_apart() -> None:
    read = ProducerLedger(CREATED, {"m": Numbers(1, IntervalSet.of([1]))})
    assert Arrivals.after(read).strangers([run(1, 0)]) == set()
    arrivals = Arrivals.after(read, "m")
    runs = [run(1, 0, 3), run(1, 3, 1, "m"), run(1, 4, 1, "z")]
    assert arrivals.strangers(runs) == {"a"}
    arrivals, repeated = arrivals.recalled({"a": Numbers(1, IntervalSet.of([2]))}).arrive(runs)
    assert repeated == [range(1, 2), range(3, 4)]
    assert arrivals.strangers(runs) == set()
    assert arrivals.strangers([run(1, 5, 1, "b")]) == {"b"}
    stored, news = arrivals.at(at(5))
    assert news["a"] == Numbers(1, IntervalSet.of([1, 2, 3]))
    assert stored.strangers([run(1, 5, 1, "b")]) == {"b"}
