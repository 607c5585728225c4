"""SIGKILL of whoever relays, at each named step and at random: what was published is on Kafka and takes effect once."""

from __future__ import annotations

import random
import signal
from pathlib import Path

import pytest

from scripts.servers.kafka import Kafka
from tests.integration.kills.stage import Stage, assert_exactly_once
from tests.integration.kills.test_kill_at_every_failpoint import RELAYING
from tests.integration.relay.soak import again, soak

EVENTS = 400
STORES = ["file", "postgresql"]


@pytest.fixture(params=STORES)
def stage(request: pytest.FixtureRequest, tmp_path: Path, kafka: Kafka) -> Stage:
    """Kafka, and each store that keeps an outbox."""
    return Stage(tmp_path, kafka.url, "" if request.param == "file" else request.getfixturevalue("postgres_url"))


def test_there_are_failpoints_at_every_step_of_a_relay() -> None:
    steps = {"leads", "numbering", "numbered", "sent", "confirmed", "deleted"}
    assert {name.partition(".")[2] for name in RELAYING} == steps


@pytest.mark.parametrize("name", RELAYING)
def test_killed_while_relaying_no_event_is_lost_doubled_or_reordered(name: str, stage: Stage) -> None:
    assert stage.publish(0, EVENTS) == 0
    with stage.running("direct", failpoint=name):
        for handler in ("book", "confirm"):
            assert_exactly_once(stage.wait_for(handler, EVENTS), range(EVENTS))
        assert stage.fired() == 1, f"{name} was never reached"
    for handler in ("book", "confirm"):
        assert len(stage.effects(handler)) == EVENTS


PUBLISHING = ["store.written:5", "store.committed:5", "relay.numbered", "relay.sent", "relay.deleted"]


@pytest.mark.parametrize("name", PUBLISHING)
def test_a_publisher_that_is_killed_while_it_relays_has_published_what_it_was_told(name: str, stage: Stage) -> None:
    assert stage.publish(0, EVENTS, failpoint=name) == -signal.SIGKILL
    acknowledged = [int(line) for line in stage.acknowledged.read_text().split()]
    with stage.running("direct"):
        # Of every key there is one more, so that when these have come, all before them have.
        last = range(1_000, 1_020)
        assert stage.publish(last.start, last.stop) == 0
        stage.until(lambda: {n for _, n in stage.effects("confirm")} >= set(last), "the last are confirmed")
    for handler in ("book", "confirm"):
        found = stage.effects(handler)
        assert_exactly_once(found, [*acknowledged, *last])
        in_doubt = {n for _, n in found} - {*acknowledged, *last}
        assert len(in_doubt) in (0, 20)


@pytest.mark.timeout(300)
def test_killed_at_random_with_a_relay_in_between_and_servers_that_restart_every_event_takes_effect_once(
    stage: Stage, kafka: Kafka, request: pytest.FixtureRequest
) -> None:
    servers = [kafka, request.getfixturevalue("postgres")] if stage.store else [kafka]
    soak(
        stage,
        events=600,
        chunk=60,
        kills=12,
        restarts=[again(server) for server in servers],
        chance=random.Random(7),
    )
