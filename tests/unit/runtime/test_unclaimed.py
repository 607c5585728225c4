"""A subscription that nobody runs is told once, when that has lasted, and again when it begins again."""

import pytest

from onward.runtime.unclaimed import AFTER_S, Unclaimed

PAY, SHIP = {"pay": "nobody runs pay"}, {"ship": "nobody runs ship"}


def test_it_is_told_once_when_nobody_has_run_it_for_so_long(caplog: pytest.LogCaptureFixture) -> None:
    alarm = Unclaimed()
    alarm.look(PAY, 100.0)
    alarm.look(PAY | SHIP, 99.0 + AFTER_S)
    assert caplog.messages == []
    for later_s in (0.0, 0.5, 1000.0):
        alarm.look(PAY, 100.0 + AFTER_S + later_s)
    assert caplog.messages == ["nobody runs pay"]


def test_one_that_was_run_meanwhile_begins_anew(caplog: pytest.LogCaptureFixture) -> None:
    alarm = Unclaimed()
    alarm.look(PAY, 0.0)
    alarm.look(PAY, AFTER_S)
    alarm.look({}, AFTER_S + 1.0)
    alarm.look(PAY, AFTER_S + 2.0)
    alarm.look(PAY, 2 * AFTER_S)
    assert caplog.messages == ["nobody runs pay"]
    alarm.look(PAY, 2 * AFTER_S + 2.0)
    assert caplog.messages == ["nobody runs pay"] * 2
