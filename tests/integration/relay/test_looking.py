"""A file whose logs are on Kafka is looked at as any other store: its accounts are not taken for damaged."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from onward.cli import main
from scripts.servers.kafka import Kafka
from tests.integration.kills.stage import Stage
from tests.integration.services import change

EVENTS = 40


@pytest.fixture
def stage(tmp_path: Path, kafka: Kafka, monkeypatch: pytest.MonkeyPatch) -> Stage:
    """A service has handled some events, by a relay, and some more wait for it."""
    monkeypatch.setattr("onward.cli.status.SAMPLE_S", 0.001)
    stage = Stage(tmp_path, kafka.url)
    with stage.running("direct"):
        assert stage.publish(0, EVENTS) == 0
        stage.wait_for("confirm", EVENTS)
    assert stage.publish(EVENTS, EVENTS + 20) == 0
    return stage


def look(stage: Stage, *arguments: str) -> Result:
    options = ["--database", str(stage.database), "--broker", stage.broker]
    return CliRunner().invoke(main, [*arguments, *options], catch_exceptions=False)


def test_a_file_beside_kafka_shows_lag_and_outbox_and_its_audit_balances_or_names_what_is_wrong(stage: Stage) -> None:
    status = json.loads(look(stage, "status", "--json").stdout)
    assert {each["topic"]: each["lag"] for each in status["subscriptions"]} == {"payments": 20, "bookings": 0}
    assert status["topics"] == [], "the file holds no log"
    assert [(each["service"], each["oldest_age_s"], each["led"]) for each in status["outboxes"]] == [
        ("direct", None, False)
    ]

    balanced = look(stage, "audit")
    assert balanced.exit_code == 0, balanced.stdout
    report = json.loads(look(stage, "audit", "--json").stdout)["report"]
    assert sum(each["in_flight"] for each in report["tallies"]) == 20
    assert sum(each["done"] for each in report["tallies"]) == 2 * EVENTS

    without_broker = CliRunner().invoke(main, ["audit", "--database", str(stage.database)])
    assert without_broker.exit_code == 0
    assert "The ends of logs are not known" in without_broker.stdout

    change(stage.database, "UPDATE onward_tally SET succeeded = succeeded + 1 WHERE handler = 'confirm'")
    damaged = look(stage, "audit")
    assert damaged.exit_code == 3
    assert "handler confirm" in damaged.stdout
