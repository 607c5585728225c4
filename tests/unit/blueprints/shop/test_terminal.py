"""Progress is a bar on a terminal and a plain line now and then elsewhere."""

import io

import pytest
from rich.console import Console

from onward.blueprints.shop import terminal
from onward.blueprints.shop.terminal import shown


def test_without_a_terminal_there_is_a_line_every_two_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    now = iter([10.0, 10.5, 12.1])
    monkeypatch.setattr(terminal, "monotonic", lambda: next(now))
    written = io.StringIO()
    with shown(Console(file=written, width=40)) as progress:
        progress.read(5_000)
        progress.published(100, 2_342, 7)
        progress.published(1_200, 2_342, 3_456)
    assert written.getvalue().splitlines() == [
        "read 5,000 rows",
        "published 1,200 of 2,342 invoices; 3,456 events wait to be handled",
    ]


def test_on_a_terminal_there_are_bars_that_leave_nothing_behind() -> None:
    written = io.StringIO()
    console = Console(file=written, force_terminal=True, width=100, legacy_windows=False)
    with shown(console) as progress:
        progress.read(5_000)
        progress.published(1_200, 2_342, 3_456)
    assert "1200/2342" in written.getvalue()
    assert "3,456 events wait to be handled" in written.getvalue()
    assert written.getvalue().endswith("\x1b[2K")
