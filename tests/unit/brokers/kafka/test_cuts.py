"""At which offset did a later leader begin to write?"""

from __future__ import annotations

from bisect import bisect_left

from hypothesis import given
from hypothesis import strategies as st

from onward.brokers.kafka.cuts import first_later
from onward.brokers.kafka.places import Doubt

KNOWN = 5


class Log:
    """(offset, epoch) of each event that can be seen; counts the looks."""

    def __init__(self, *events: tuple[int, int]) -> None:
        self.events = events
        self.looks = 0

    def epoch_at(self, offset: int) -> tuple[int, int] | None:
        self.looks += 1
        return next((event for event in self.events if event[0] >= offset), None)


def test_a_log_that_was_not_cut_costs_one_look() -> None:
    log = Log(*((offset, KNOWN) for offset in range(1000)), (1000, KNOWN + 1))
    assert first_later(Doubt(0, 0, 1000, KNOWN), log.epoch_at) is None
    assert log.looks == 1


def test_the_first_event_of_a_later_leader_is_found_in_few_looks() -> None:
    log = Log(*((offset, KNOWN if offset < 333 else KNOWN + 2) for offset in range(1 << 16)))
    assert first_later(Doubt(0, 0, 1 << 16, KNOWN), log.epoch_at) == 333
    assert log.looks <= 18


def test_a_gap_before_the_place_is_no_cut() -> None:
    assert first_later(Doubt(0, 0, 10, KNOWN), Log((3, KNOWN), (12, KNOWN + 1)).epoch_at) is None


def test_nothing_left_is_no_cut() -> None:
    assert first_later(Doubt(0, 0, 10, KNOWN), Log().epoch_at) is None


@given(
    st.lists(st.integers(0, 200), unique=True).map(sorted),
    st.integers(0, 200),
    st.integers(0, 100),
    st.integers(101, 201),
)
def test_bisecting_finds_what_looking_at_all_finds(offsets: list[int], cut: int, low: int, place: int) -> None:
    events = [(offset, KNOWN if offset < cut else KNOWN + 1) for offset in offsets]
    kept = events[bisect_left(offsets, low) :]
    expected = next((offset for offset, epoch in kept if epoch > KNOWN and offset < place), None)
    assert first_later(Doubt(0, low, place, KNOWN), Log(*kept).epoch_at) == expected
