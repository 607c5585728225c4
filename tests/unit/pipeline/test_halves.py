"""Where one event can't be undone alone, halves find the failing ones without running the others again and again."""

from hypothesis import given
from hypothesis import strategies as st

from onward.pipeline.halves import Halves


def search(size: int, failing: set[int]) -> tuple[list[int], int]:
    """Which events were left to run alone, and how many were run in all, each as often as it was."""
    halves, alone, ran, place = Halves(), [], 0, 0
    while place < size:
        count = halves.together(size - place)
        ran += max(count, 1)
        if count and failing & set(range(place, place + count)):
            halves.failed(count)
            continue
        if not count:
            alone.append(place)
        halves.done(max(count, 1))
        place += max(count, 1)
    return alone, ran


def test_without_a_failure_all_run_at_once() -> None:
    assert search(256, set()) == ([], 256)


def test_one_that_fails_is_the_only_one_to_run_alone() -> None:
    for failing in (0, 1, 127, 128, 254, 255):
        assert search(256, {failing})[0] == [failing]


def test_finding_one_costs_at_most_two_runs_more_of_each() -> None:
    assert max(search(256, {failing})[1] for failing in range(256)) <= 3 * 256


@given(st.integers(1, 300), st.sets(st.integers(0, 299), max_size=8))
def test_whichever_fail_they_and_no_others_run_alone(size: int, failing: set[int]) -> None:
    failing = {each for each in failing if each < size}
    alone, _ = search(size, failing)
    assert alone == sorted(failing)
