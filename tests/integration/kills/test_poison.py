"""An event that ends its process each time ends as a dead letter, alone, over all processes."""

from pathlib import Path
from typing import Any

import apsw
import pytest

from tests.integration.kills.stage import Stage, assert_exactly_once

POISON = 37
NEIGHBOURS = [n for n in range(100) if n != POISON]


def letters(stage: Stage) -> list[Any]:
    connection = apsw.Connection(str(stage.database), flags=apsw.SQLITE_OPEN_READONLY)
    try:
        return connection.execute("SELECT cause, attempts, value FROM onward_dead_letter").fetchall()
    finally:
        connection.close()


@pytest.mark.timeout(180)
def test_an_event_that_kills_its_process_ends_as_a_dead_letter_alone(tmp_path: Path) -> None:
    stage = Stage(tmp_path)
    assert stage.publish(0, 100) == 0
    with stage.running("fragile"):
        found = stage.wait_for("crash", len(NEIGHBOURS))
    assert_exactly_once(found, NEIGHBOURS)
    assert len(stage.effects("crash")) == len(NEIGHBOURS)
    assert letters(stage) == [("process_died", 5, b'{"account":"account-2","n":37}')]
    ends = stage.log().count("ended with -9")
    assert ends == 5


@pytest.mark.timeout(180)
def test_an_event_that_kills_its_process_is_found_though_the_store_fails_in_between(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    turns = tmp_path / "turns"
    monkeypatch.setenv("BANK_TURNS", str(turns))
    stage = Stage(tmp_path)
    assert stage.publish(0, 100) == 0
    with stage.running("unlucky"):
        found = stage.wait_for("totter", len(NEIGHBOURS))
    assert_exactly_once(found, NEIGHBOURS)
    assert len(stage.effects("totter")) == len(NEIGHBOURS)
    ((cause, attempts, value),) = letters(stage)
    assert (cause, value) == ("process_died", b'{"account":"account-2","n":37}')
    assert attempts in (3, 4)  # three are allowed, and of the unmarked ones before none or two are counted
    assert len(turns.read_text()) < 10


@pytest.mark.timeout(180)
def test_an_event_that_keeps_its_transaction_open_ends_as_a_dead_letter_alone(tmp_path: Path) -> None:
    stage = Stage(tmp_path)
    assert stage.publish(0, 100) == 0
    with stage.running("endless", "direct", options=("--hold-s", "1")):
        found = stage.wait_for("hold", len(NEIGHBOURS))
        stage.wait_for("book", 100)  # the other writers of the file go on
    assert_exactly_once(found, NEIGHBOURS)
    assert len(stage.effects("hold")) == len(NEIGHBOURS)
    ((cause, attempts, value),) = letters(stage)
    assert (cause, value) == ("process_died", b'{"account":"account-2","n":37}')
    assert attempts in (3, 4)  # three are allowed, and of the unmarked ones before none or two are counted
    assert stage.log().count("has held the write lock for 1.") >= 3
