"""What was fetched and waits: nothing lost, nothing twice, in turns and in bounds."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from onward.brokers.kafka import lanes as module
from onward.brokers.kafka.lanes import AHEAD_RECORDS, CROWDED_S, KEPT_RECORDS, RESTED_S, STOP_RECORDS, Lanes
from onward.ports import Record


def records(first: int, end: int, size: int = 1) -> list[Record]:
    return [(offset, b"type", b"x" * size, None, None) for offset in range(first, end)]


def opened(*partitions: int, at: int = 0) -> Lanes:
    lanes = Lanes(lambda: None)
    lanes.assign(dict.fromkeys(partitions, at))
    return lanes


def offsets(lanes: Lanes, limit: int = 1000) -> list[int]:
    taken = lanes.take(limit)
    return [] if taken is None else [record[0] for record in taken.records]


def test_partitions_take_turns() -> None:
    lanes = opened(0, 1, 2)
    lanes.add({partition: records(0, 3) for partition in range(3)})
    turns = [taken.partition for _ in range(9) if (taken := lanes.take(1))]
    assert turns == [0, 1, 2] * 3
    assert lanes.take(1) is None


def test_what_comes_from_before_a_place_is_dropped() -> None:
    lanes = opened(0, at=5)
    lanes.add({0: records(2, 7)})
    assert offsets(lanes) == [5, 6]
    lanes.add({0: records(0, 3), 1: records(0, 3)})
    assert offsets(lanes) == []


def test_going_back_to_what_is_kept_needs_no_fetching() -> None:
    lanes = opened(0)
    lanes.add({0: records(0, 100)})
    assert offsets(lanes, 60) == [*range(60)]
    lanes.go_to(0, 20)
    assert lanes.wishes(0.0).seek == {}
    assert offsets(lanes) == [*range(20, 100)]


def test_going_where_nothing_is_kept_is_fetched_again_and_what_comes_meanwhile_is_dropped() -> None:
    lanes = opened(0, at=50)
    lanes.add({0: records(50, 60)})
    assert offsets(lanes, 4) == [*range(50, 54)]
    lanes.go_to(0, 10)
    lanes.add({0: records(60, 70)})
    assert offsets(lanes) == []
    assert lanes.wishes(0.0).seek == {0: 10}
    assert lanes.wishes(0.0).seek == {}
    lanes.add({0: records(10, 12)})
    assert offsets(lanes) == [10, 11]


def test_a_paused_partition_is_not_taken_and_does_not_stop_the_others() -> None:
    lanes = opened(0, 1)
    lanes.pause(0)
    lanes.add({0: records(0, 3), 1: records(0, 3)})
    assert [taken.partition for _ in range(2) if (taken := lanes.take(10))] == [1]
    lanes.resume(0)
    assert offsets(lanes) == [0, 1, 2]


def test_a_pause_is_kept_for_a_partition_that_comes_later() -> None:
    lanes = opened()
    lanes.pause(4)
    lanes.assign({4: 0})
    lanes.add({4: records(0, 1)})
    assert lanes.take(1) is None


def test_fetching_waits_when_enough_is_ahead_and_goes_on_when_it_was_taken() -> None:
    lanes = opened(0)
    lanes.add({0: records(0, AHEAD_RECORDS)})
    assert not lanes.wait_for_room(0.0)
    lanes.take(1)
    assert lanes.wait_for_room(0.0)


def test_fetching_waits_for_bytes_too() -> None:
    lanes = opened(0)
    lanes.add({0: records(0, 17, size=1 << 20)})
    assert not lanes.wait_for_room(0.0)


def test_a_delivery_ends_before_it_has_too_many_bytes_but_has_one_record() -> None:
    lanes = opened(0)
    lanes.add({0: records(0, 10, size=3 << 20)})
    assert offsets(lanes) == [0, 1]
    lanes = opened(0)
    lanes.add({0: records(0, 2, size=9 << 20)})
    assert offsets(lanes) == [0]


def test_a_partition_paused_for_long_is_stopped_at_the_client_and_goes_on_after(monkeypatch: Any) -> None:
    monkeypatch.setattr(module, "monotonic", lambda: 100.0)
    lanes = opened(0, 1)
    lanes.pause(0)
    lanes.add({0: records(0, STOP_RECORDS)})
    assert lanes.wishes(100.0).stop == []
    assert lanes.wishes(100.0 + 2 * RESTED_S).stop == [0]
    lanes.resume(0)
    assert lanes.wishes(100.3).go_on == []
    assert len(offsets(lanes, STOP_RECORDS)) == STOP_RECORDS
    assert lanes.wishes(100.4).go_on == [0]


def test_a_paused_partition_makes_room_for_the_others(monkeypatch: Any) -> None:
    monkeypatch.setattr(module, "monotonic", lambda: 100.0)
    lanes = opened(0, 1)
    lanes.pause(0)
    lanes.add({0: records(0, AHEAD_RECORDS)})
    assert not lanes.wait_for_room(0.0)
    lanes.wishes(100.0)
    assert lanes.wishes(101.0).stop == [0]
    assert lanes.wait_for_room(0.0)


def test_whoever_takes_nothing_for_long_stops_all_so_that_the_client_is_still_polled() -> None:
    lanes = opened(0, 1)
    lanes.add({0: records(0, AHEAD_RECORDS)})
    assert lanes.wishes(100.0).stop == []
    assert lanes.wishes(100.0 + CROWDED_S).stop == [0]
    assert lanes.wait_for_room(0.0)


def test_many_paused_partitions_give_their_memory_back_and_are_fetched_again(monkeypatch: Any) -> None:
    monkeypatch.setattr(module, "monotonic", lambda: 100.0)
    lanes = opened(*range(5))
    for partition in range(5):
        lanes.pause(partition)
        lanes.add({partition: records(0, STOP_RECORDS)})
    wishes = lanes.wishes(101.0)
    assert wishes.stop == [*range(5)]
    assert wishes.seek == dict.fromkeys(range(5), 0)


def test_what_is_kept_of_what_was_taken_is_bounded() -> None:
    lanes = opened(0)
    for first in range(0, 5 * KEPT_RECORDS, 1000):
        lanes.add({0: records(first, first + 1000)})
        offsets(lanes)
    lanes.go_to(0, 0)
    assert lanes.wishes(0.0).seek == {0: 0}


def test_the_end_is_after_the_last_record_where_only_control_records_follow() -> None:
    lanes = opened(0)
    lanes.add({0: records(0, 10)})
    assert lanes.ends(lambda _: 12) == {0: 12}
    lanes.note_last(0, 11)
    assert lanes.ends(lambda _: 11) == {0: 10}
    assert (lanes.beyond_control(0, 9), lanes.beyond_control(0, 10)) == (9, 11)
    lanes.add({0: records(12, 13)})
    assert lanes.ends(lambda _: 13) == {0: 13}
    assert lanes.beyond_control(0, 10) == 10


def test_whoever_waits_is_told_once_there_is_something_for_it() -> None:
    told: list[None] = []
    lanes = Lanes(lambda: told.append(None))
    lanes.assign({0: 0, 1: 0})
    lanes.pause(1)
    assert lanes.take(1) is None
    lanes.add({1: records(0, 1)})
    assert not told
    lanes.add({0: records(0, 1)})
    lanes.add({0: records(1, 2)})
    assert len(told) == 1


ACTIONS = st.sampled_from(["fetch", "take", "back", "pause"])


@given(st.lists(st.tuples(ACTIONS, st.integers(1, 50))))
def test_every_record_is_taken_once_in_order_whatever_goes_back_and_forth(actions: list[tuple[str, int]]) -> None:
    """Beside a model of the client: it fetches on from where it is, or was sent to."""
    lanes = opened(0)
    end, fetched, due = 100, 0, 0
    for action, count in [*actions, *[("fetch", 100), ("take", 100)] * 2]:
        if action == "fetch":
            begin = lanes.wishes(0.0).seek.get(0, fetched)
            fetched = min(end, begin + count)
            if fetched > begin:
                lanes.add({0: records(begin, fetched)})
        elif action == "take":
            found = offsets(lanes, count)
            assert found == [*range(due, due + len(found))]
            due += len(found)
        elif action == "back":
            due = max(0, due - count)
            lanes.go_to(0, due)
        else:
            lanes.pause(0)
            assert offsets(lanes) == []
            lanes.resume(0)
    assert due == end
