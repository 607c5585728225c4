"""An event that ends its process each time ends as a dead letter, alone, over all processes."""

from pathlib import Path

import apsw
import pytest

from tests.integration.kills.stage import Stage, assert_exactly_once


@pytest.mark.timeout(180)
def test_an_event_that_kills_its_process_ends_as_a_dead_letter_alone(tmp_path: Path) -> None:
    stage = Stage(tmp_path)
    poison = 37
    assert stage.publish(0, 100) == 0
    neighbours = [n for n in range(100) if n != poison]
    with stage.running("fragile"):
        found = stage.wait_for("crash", len(neighbours))
    assert_exactly_once(found, neighbours)
    assert len(stage.effects("crash")) == len(neighbours)
    connection = apsw.Connection(str(stage.database), flags=apsw.SQLITE_OPEN_READONLY)
    letters = connection.execute("SELECT cause, attempts, value FROM onward_dead_letter").fetchall()
    connection.close()
    assert letters == [("process_died", 5, b'{"account":"account-2","n":37}')]
    ends = stage.log().count("ended with -9")
    assert ends == 5
