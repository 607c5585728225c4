"""SIGKILL at the commit of handlers that work with sessions: what they wrote is there with the account, or not."""

from pathlib import Path

import pytest

from tests.integration.kills.stage import Stage, assert_exactly_once

EVENTS = 60


@pytest.fixture
def stage(dialect: str, request: pytest.FixtureRequest, tmp_path: Path) -> Stage:
    """One SQLite file, or Kafka and PostgreSQL."""
    if dialect == "sqlite":
        return Stage(tmp_path)
    return Stage(tmp_path, request.getfixturevalue("kafka").url, request.getfixturevalue("postgres_url"))


def test_killed_before_its_commit_a_session_has_written_nothing_and_no_event_is_lost_or_doubled(stage: Stage) -> None:
    assert stage.publish(0, EVENTS) == 0
    with stage.running("direct", bank="orm", failpoint="store.committing"):
        for handler in ("book", "confirm"):
            assert_exactly_once(stage.wait_for(handler, EVENTS), range(EVENTS))
        assert stage.fired() == 1
    for handler in ("book", "confirm"):
        assert len(stage.effects(handler)) == EVENTS
