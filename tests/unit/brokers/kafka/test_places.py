"""Does a log go on where an account stands?"""

import pytest

from onward.brokers.kafka.places import Doubt, Mark, TopicState, doubts, shifts
from onward.errors import RegistrationError
from onward.ports import Place

MARK = Mark("cluster", "topic-a", 3)


def state(
    low: int = 10, high: int = 20, *, identity: str = "topic-a", cluster: str = "cluster", epoch: int = 3
) -> TopicState:
    return TopicState("orders", cluster, identity, {0: (low, high), 1: (0, 0)}, {0: epoch, 1: epoch})


def place(offset: int, mark: Mark | None = MARK) -> dict[int, Place]:
    return {0: Place(offset, "" if mark is None else str(mark))}


@pytest.mark.parametrize("offset", [10, 15, 20])
def test_a_place_within_the_log_stays(offset: int) -> None:
    assert shifts(state(), place(offset), {}) == []


def test_a_mark_that_is_not_on_record_yet_is_put_there_without_a_shift() -> None:
    (shift,) = shifts(state(), place(15, None), {})
    assert (shift.place.offset, shift.anew, shift.why) == (15, False, "")
    assert Mark.read(shift.place.mark) == Mark("cluster", "topic-a", 3)


def test_what_retention_took_is_passed_and_named() -> None:
    (shift,) = shifts(state(), place(4), {})
    assert (shift.partition, shift.place, shift.anew) == (0, Place(10, str(MARK)), False)
    assert "from 4 to 9" in shift.why


def test_another_topic_of_the_name_begins_at_its_beginning_also_where_it_is_longer() -> None:
    for high in (12, 5000):
        (shift,) = shifts(state(0, high, identity="topic-b"), place(12), {})
        assert (shift.place.offset, shift.anew) == (0, True)
        assert Mark.read(shift.place.mark) == Mark("cluster", "topic-b", 3)
        assert "made again" in shift.why


def test_a_log_that_was_cut_back_goes_on_at_its_end() -> None:
    (shift,) = shifts(state(), place(21), {})
    assert (shift.place.offset, shift.anew, shift.others) == (20, True, 20)
    assert "cut back to 20" in shift.why


def test_a_log_that_was_cut_back_and_written_anew_goes_on_where_the_new_events_begin() -> None:
    for offset in (15, 20, 25):
        (shift,) = shifts(state(epoch=4), place(offset), {0: 12})
        assert (shift.place, shift.anew) == (Place(12, str(MARK._replace(epoch=4))), True)
        assert "cut back to 12" in shift.why


def test_a_log_that_was_cut_back_among_events_done_out_of_order_goes_on_at_the_place() -> None:
    among = {0: Place(12, str(MARK), beyond=18)}
    assert doubts(state(epoch=4), among) == [Doubt(0, 10, 18, 3)]
    (shift,) = shifts(state(epoch=4), among, {0: 15})
    assert (shift.place.offset, shift.anew, shift.others) == (12, True, 15)
    (shift,) = shifts(state(high=14), among, {})
    assert (shift.place.offset, shift.anew, shift.others) == (12, True, 14)


@pytest.mark.parametrize(
    ("offset", "epoch", "expected"),
    [
        (15, 3, []),  # nobody else has led since
        (15, 4, [Doubt(0, 10, 15, 3)]),
        (25, 4, [Doubt(0, 10, 20, 3)]),
        (10, 4, []),  # nothing is left below it
        (15, -1, []),
    ],
)
def test_a_place_is_in_doubt_where_a_later_leader_may_have_written_below_it(
    offset: int, epoch: int, expected: list[Doubt]
) -> None:
    assert doubts(state(epoch=epoch), place(offset)) == expected


def test_a_place_without_a_mark_or_of_another_topic_is_in_no_doubt() -> None:
    assert doubts(state(epoch=4), place(15, None)) == []
    assert doubts(state(epoch=4), place(15, Mark("cluster", "topic-a", -1))) == []
    assert doubts(state(epoch=4, identity="topic-b"), place(15)) == []


def test_a_place_that_is_no_more_in_doubt_is_marked_so() -> None:
    (shift,) = shifts(state(epoch=4), place(15), {})
    assert (shift.place, shift.anew, shift.why) == (Place(15, str(MARK._replace(epoch=4))), False, "")


def test_accounts_of_another_cluster_are_refused() -> None:
    with pytest.raises(RegistrationError, match="belong to Kafka cluster cluster, and the broker is cluster other"):
        shifts(state(cluster="other"), place(15), {})


@pytest.mark.parametrize("text", ["", "x", "a b", "a b c", "a b 1 2"])
def test_a_mark_of_something_else_is_none(text: str) -> None:
    assert Mark.read(text) is None
