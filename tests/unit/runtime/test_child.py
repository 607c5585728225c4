from typing import Any, cast

from onward.runtime.child import Child


def child() -> Child:
    """A slot with a process in it, as far as the slot can tell."""
    made = Child("shop:app", "shop")
    made.process = cast(Any, object())
    return made


def beat(handled: int = 0, lag: int = 0, unready: tuple[str, ...] = ()) -> dict[str, Any]:
    return {"unready": list(unready), "snapshot": {"handled": {"a": handled}, "lag": lag}}


def test_a_process_that_has_not_beaten_is_starting() -> None:
    assert child().reasons(1000.0) == ["starting"]


def test_a_process_that_beats_without_a_reason_is_ready() -> None:
    slot = child()
    slot.heard(beat(), 10.0)
    assert slot.reasons(11.5) == []


def test_silence_for_more_than_one_and_a_half_seconds_is_not_ready() -> None:
    slot = child()
    slot.heard(beat(), 10.0)
    assert slot.reasons(11.75) == ["its event loop has not turned for 1.8 s"]


def test_a_transaction_open_for_more_than_one_and_a_half_seconds_is_not_ready() -> None:
    slot = child()
    slot.heard({**beat(), "writing_since": 10.0}, 11.4)
    assert slot.reasons(11.4) == []
    slot.heard({**beat(), "writing_since": 10.0}, 11.75)
    assert slot.reasons(11.75) == ["a transaction has held the write lock for 1.8 s"]
    slot.heard({**beat(), "writing_since": 11.9}, 12.0)
    assert slot.reasons(12.0) == []


def test_what_the_process_says_of_itself_is_a_reason() -> None:
    slot = child()
    slot.heard(beat(unready=("the disk is full",)), 10.0)
    assert slot.reasons(10.0) == ["the disk is full"]


def test_lag_that_grows_for_a_minute_while_nothing_is_handled_is_not_ready() -> None:
    slot = child()
    slot.heard(beat(handled=5, lag=10), 0.0)
    slot.heard(beat(handled=5, lag=11), 59.0)
    assert slot.reasons(59.0) == []
    slot.heard(beat(handled=5, lag=1200), 60.0)
    assert slot.reasons(60.0) == ["nothing was handled for 60 s and 1,200 events wait"]
    slot.heard(beat(handled=6, lag=1300), 61.0)
    assert slot.reasons(61.0) == []


def test_an_idle_service_is_ready_however_long_it_idles() -> None:
    slot = child()
    slot.heard(beat(handled=5), 0.0)
    slot.heard(beat(handled=5), 3600.0)
    assert slot.reasons(3600.0) == []


def test_counts_survive_the_process_that_made_them() -> None:
    slot = child()
    slot.heard(beat(handled=5, lag=3), 0.0)
    slot.gone(-9)
    assert slot.counts["handled"] == {"a": 5}
    assert slot.lag == 0
    assert slot.reasons(0.0) == ["its process ended with -9"]
    slot.process = cast(Any, object())
    slot.heard(beat(handled=2), 1.0)
    assert slot.counts["handled"] == {"a": 7}


def test_the_last_counts_of_a_drained_process_are_kept() -> None:
    slot = child()
    slot.heard(beat(handled=5), 0.0)
    slot.heard({"drained": {}, "snapshot": {"handled": {"a": 8}}}, 0.1)
    slot.gone(0)
    assert slot.counts["handled"] == {"a": 8}


def test_the_rate_is_of_the_last_beats() -> None:
    slot = child()
    for second in range(40):
        slot.heard(beat(handled=100 * second), float(second))
    assert slot.rate_per_s == 100.0


def test_a_refusal_is_the_reason_until_a_process_beats() -> None:
    slot = child()
    slot.heard({"refused": "There is no handler 'a'."}, 0.0)
    slot.gone(78)
    assert slot.reasons(0.0) == ["There is no handler 'a'."]
    slot.process = cast(Any, object())
    slot.heard(beat(), 1.0)
    assert slot.reasons(1.0) == []


def test_a_slot_that_is_meant_to_be_empty_has_no_reason_to_be_unready() -> None:
    slot = child()
    slot.wanted = False
    assert slot.reasons(1000.0) == []
