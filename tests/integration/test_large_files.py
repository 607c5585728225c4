"""Looking at a file costs what is shown, however much the file holds."""

from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from onward.ports import Outgoing
from onward.sqlite.database import Database
from onward.sqlite.health import examine
from onward.sqlite.inspection import inspecting
from onward.sqlite.log import FileLog
from onward.sqlite.records import Tail
from onward.sqlite.status import status
from onward.topics import Topic
from tests.integration.steps import reads_counted

SMALL, LARGE = 50, 5000


def fill(path: Path, count: int) -> None:
    """So many events, handled by a service that has retried as many dead letters with success."""
    with closing(Database.open(path)) as database:
        log = FileLog(database)
        with database.transaction_sync() as writer:
            log.names.create_topic(Topic("orders", 1))
            log.append([Outgoing("orders", "made", 1, b"{}", None)] * count, "test")
            writer.execute(
                "INSERT INTO onward_subscription VALUES (1, 'shop', 'transactional', 1, 1, 0, NULL);"
                "INSERT INTO onward_handler VALUES (1, 'pay', 'transactional', 'earliest', '[\"made\"]', '[0]');"
                "INSERT INTO onward_account (subscription, partition, start_offset, next_offset)"
                " SELECT 1, 0, 0, next_offset FROM onward_lane"
            )
            writer.executemany(
                "INSERT INTO onward_dead_letter (subscription, partition, offset, handler, state, cause, error, detail,"
                " fingerprint, attempts, first_at, died_at, event_id, event_type, event_version, event_source,"
                " event_time) VALUES (1, 0, ?, 'pay', 'recovered', 'fatal', '', '', '', 1, 0, 0, '', '', 1, '', 0)",
                [(offset,) for offset in range(count)],
            )


def look_at_status(path: Path) -> object:
    with inspecting(path) as inspection:
        return status(inspection)


def follow_the_end(path: Path) -> object:
    with inspecting(path) as inspection:
        tail = Tail(inspection, "orders")
        tail.start(last=10)
        return list(tail.read())


@pytest.mark.parametrize("look", [look_at_status, follow_the_end, examine])
def test_looking_takes_no_more_steps_for_a_larger_file(tmp_path: Path, look: Callable[[Path], object]) -> None:
    taken: list[int] = []
    for count in (SMALL, LARGE):
        path = tmp_path / f"{count}.db"
        fill(path, count)
        with reads_counted(every=1) as reads:
            assert look(path)
        taken.append(sum(reads))
    small, large = taken
    assert small > 0, "the steps must be counted for this test to say anything"
    assert large < 2 * small < LARGE
