"""What commands on a file show of events that are parked behind a dead letter of their key, and do with them."""

import asyncio
import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from onward.cli import main
from onward.sqlite.audit import audit
from onward.sqlite.neighbours import Neighbours
from tests.integration.services import change, handle, park
from tests.integration.test_cli import Onward, Packed, query, shipping


@pytest.fixture
def onward(database_path: Path) -> Onward:
    def invoke(*arguments: str) -> Result:
        return CliRunner().invoke(main, [*arguments, "--database", str(database_path)], catch_exceptions=False)

    return invoke


@pytest.fixture
def waiting(database_path: Path) -> Path:
    """Three parcels, of which one is a dead letter and another is parked behind it."""
    same = [Packed(order_id="same", weight_g=n) for n in range(1, 4)]
    asyncio.run(handle(shipping(database_path), *same))
    park(database_path, "ship")
    return database_path


def test_status_shows_how_many_events_are_parked(
    onward: Onward, waiting: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("onward.cli.status.SAMPLE_S", 0.001)
    (shown,) = json.loads(onward("status", "--json").stdout)["subscriptions"]
    assert (shown["handled"], shown["dead_letters"], shown["parked"]) == (3, 1, 1)
    head, row, *_ = onward("status").stdout.splitlines()
    assert head.index("DEAD") < head.index("PARKED") < head.index("HELD BY")
    assert row[head.index("PARKED") : head.index("HELD BY")].split() == ["1"]


def test_a_dead_letter_is_listed_and_shown_with_how_many_events_wait_for_it(onward: Onward, waiting: Path) -> None:
    (listed,) = json.loads(onward("dead-letters", "list", "--json").stdout)
    assert listed["waiting"] == 1
    head, row = onward("dead-letters", "list").stdout.splitlines()
    assert head.index("ATTEMPTS") < head.index("WAITING") < head.index("DIED")
    assert row[head.index("WAITING") : head.index("DIED")].split() == ["1"]
    assert "  waiting   1 later event of its key\n" in onward("dead-letters", "show", "1").stdout
    change(waiting, "UPDATE onward_blocked SET waiting = 1234")
    assert "  waiting   1,234 later events of its key\n" in onward("dead-letters", "show", "1").stdout
    change(waiting, "UPDATE onward_blocked SET letter = NULL")
    assert "waiting" not in onward("dead-letters", "show", "1").stdout


@pytest.mark.parametrize("ruling", ["retry", "discard"])
def test_who_reads_the_topic_is_woken_by_a_decision(
    onward: Onward, waiting: Path, monkeypatch: pytest.MonkeyPatch, ruling: str
) -> None:
    woken: list[set[str]] = []
    monkeypatch.setattr(Neighbours, "notify", lambda _, topics: woken.append(set(topics)))
    assert onward("dead-letters", ruling, "1").exit_code == 0
    assert woken == [{"cli.parcels"}]


def test_what_is_parked_for_a_renamed_handler_goes_on_under_its_new_name(onward: Onward, waiting: Path) -> None:
    assert onward("handlers", "rename", "shipping", "ship", "send").exit_code == 0
    assert query(waiting, "SELECT handler, waiting FROM onward_blocked") == [("send", 1)]
    assert audit(waiting).problems == ()


@pytest.mark.parametrize("arguments", [("ship",), ("transactional", "--topic", "cli.parcels")])
def test_what_is_parked_for_a_retired_handler_is_owed_to_nobody(
    onward: Onward, waiting: Path, arguments: tuple[str, ...]
) -> None:
    assert onward("handlers", "retire", "shipping", *arguments).exit_code == 0
    assert query(waiting, "SELECT 1 FROM onward_blocked") == []
    assert query(waiting, "SELECT 1 FROM onward_parked") == []
    assert audit(waiting).problems == ()
