"""Which events run alone after unclean starts."""

from datetime import UTC, datetime

import pytest

from onward.ledger import Arrivals, Position, ProducerLedger
from onward.pipeline.suspects import SUSPECTS, is_suspect
from onward.ports import Claim


def claim(unclean: int, *, beyond: range = range(0), suspect_until: int = 0) -> Claim:
    position = Position(0, 10).finish(beyond)
    arrivals = Arrivals.after(ProducerLedger(datetime(2026, 3, 1, tzinfo=UTC)))
    return Claim(1, "orders", 0, b"token", 1, position, unclean, suspect_until, arrivals=arrivals)


@pytest.mark.parametrize(("unclean", "suspect"), [(0, False), (1, False), (2, True), (7, True)])
def test_suspicion_begins_at_the_second_unclean_start_in_a_row(unclean: int, suspect: bool) -> None:
    assert is_suspect(claim(unclean)) is suspect


def test_suspicion_covers_as_many_events_as_a_process_may_have_in_hand() -> None:
    held = claim(2)
    assert is_suspect(held)
    assert held.suspect_until == 10 + SUSPECTS


def test_suspicion_reaches_past_what_was_done_beyond_a_slow_event() -> None:
    held = claim(2, beyond=range(400, 500))
    assert is_suspect(held, 64)
    assert held.suspect_until == 564


def test_marks_beyond_a_slow_event_are_no_suspicion_by_themselves() -> None:
    held = claim(1, beyond=range(400, 500))
    assert not is_suspect(held, 64)
    assert held.suspect_until == 0


def test_a_range_on_record_lasts_until_the_position_has_passed_it() -> None:
    assert is_suspect(claim(0, suspect_until=11))
    assert not is_suspect(claim(0, suspect_until=10))
