"""What is missing from a log, however the steps fall in which it is looked at."""

from contextlib import closing
from pathlib import Path
from random import Random

import pytest

from onward.ports import Outgoing
from onward.sqlite import audit_log
from onward.sqlite.database import Database
from onward.sqlite.inspection import inspecting
from onward.sqlite.log import FileLog
from onward.topics import Topic

EVENTS = 60


def written(path: Path, deleted: set[int], first: int) -> None:
    """One partition of sixty events, without these, of which the counters say that `first` is the oldest kept."""
    with closing(Database.open(path)) as database:
        log = FileLog(database)
        with database.transaction_sync() as writer:
            log.names.create_topic(Topic("other", 1))
            log.names.create_topic(Topic("orders", 1))
            for topic in ("other", "orders", "other"):
                log.append([Outgoing(topic, "made", 1, b"{}", None)] * EVENTS, "test")
            (lane,) = writer.execute("SELECT max(id) FROM onward_lane").fetchone() or (0,)
            writer.executemany("DELETE FROM onward_log WHERE pos = ?", [(lane << 40 | each,) for each in deleted])
            writer.execute("UPDATE onward_lane SET first_offset = ? WHERE id = ?", (first, lane))


def looked_at(path: Path) -> tuple[audit_log.Lane, int]:
    """What was found, and how many events the steps say they looked at."""
    steps: list[int] = []
    with inspecting(path) as inspection:
        (lane,) = [each for each in audit_log.bounds(inspection) if each.topic == "orders"]
        return audit_log.look(inspection, lane, steps.append), sum(steps)


@pytest.mark.parametrize("step_rows", [1, 2, 7, 1000])
@pytest.mark.parametrize("seed", range(6))
def test_what_is_missing_is_what_plain_sets_say(
    database_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int, step_rows: int
) -> None:
    monkeypatch.setattr(audit_log, "STEP_ROWS", step_rows)
    random = Random(seed)
    first = random.randrange(EVENTS)
    deleted = {offset for offset in range(EVENTS) if random.random() < random.choice([0.1, 0.9])}
    written(database_path, deleted, first)
    lane, looked = looked_at(database_path)
    kept = set(range(first, EVENTS))
    assert {offset for gap in lane.lost.numbers.intervals() for offset in gap} == deleted & kept
    assert {offset for run in lane.stored.intervals() for offset in run} == kept - deleted
    assert {offset for run in lane.stray.intervals() for offset in run} == set(range(first)) - deleted
    assert (lane.complete, looked) == (True, EVENTS - first)


@pytest.mark.parametrize(("most", "complete"), [(10, True), (9, False)])
def test_a_log_in_shreds_is_not_looked_at_to_its_end(
    database_path: Path, monkeypatch: pytest.MonkeyPatch, most: int, complete: bool
) -> None:
    monkeypatch.setattr(audit_log, "STEP_ROWS", 5)
    monkeypatch.setattr(audit_log, "MOST_GAPS", most)
    written(database_path, set(range(1, 21, 2)), 0)
    lane, _ = looked_at(database_path)
    assert (lane.complete, lane.lost.count) == (complete, most)
