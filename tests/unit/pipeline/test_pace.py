from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onward.pipeline.pace import Pace, calls_per_s


@pytest.mark.parametrize(
    ("limit", "per_s"),
    [("100/s", 100.0), ("2.5/s", 2.5), ("5/min", 5 / 60), ("20/h", 20 / 3600), (7, 7.0), (0.5, 0.5)],
)
def test_a_rate_is_so_many_a_time_or_a_number_per_second(limit: str | float, per_s: float) -> None:
    assert calls_per_s(limit) == pytest.approx(per_s)


@pytest.mark.parametrize(
    "limit",
    ["", "100", "9/day", "/s", "-5/s", "0/s", "1e3/s", 0, -1, True, float("nan"), float("inf"), "100001/s", [1]],
)
def test_what_is_no_rate_is_refused_with_what_is_one(limit: object) -> None:
    with pytest.raises(ValueError, match=r'is no rate: write "100/s", "5/min"'):
        calls_per_s(limit)


def test_calls_that_come_together_are_spaced_evenly() -> None:
    pace = Pace(4.0)
    assert [pace.wait_s(10.0) for _ in range(5)] == [0.0, 0.25, 0.5, 0.75, 1.0]


def test_a_call_after_a_rest_begins_at_once_and_the_rest_saved_nothing_up() -> None:
    pace = Pace(4.0)
    pace.wait_s(10.0)
    assert [pace.wait_s(100.0) for _ in range(3)] == [0.0, 0.25, 0.5]


def test_a_clock_that_is_set_back_makes_nobody_wait_for_longer() -> None:
    pace = Pace(4.0)
    pace.wait_s(10_000.0)
    assert [pace.wait_s(5_000.0) for _ in range(2)] == [0.25, 0.5]


@given(st.integers(1, 50), st.lists(st.floats(0.0, 2.0), min_size=1, max_size=200))
def test_no_second_has_more_calls_than_the_rate(per_s: int, gaps: list[float]) -> None:
    pace, now = Pace(float(per_s)), 0.0
    began: list[float] = []
    for gap in gaps:
        now += gap
        began.append(now + pace.wait_s(now))
    assert all(later - earlier >= 1 / per_s - 1e-9 for earlier, later in pairwise(began))
