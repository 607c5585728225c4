"""SIGKILL of whoever relays, at each named step and at random: what was published is on Kafka and takes effect once."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import psycopg
import pytest

from scripts.servers.kafka import Kafka
from tests.integration.kills.stage import PUBLISHER, ROOT, Stage, assert_exactly_once
from tests.integration.kills.test_kill_at_every_failpoint import RELAYING
from tests.integration.postgres.gate import gated
from tests.integration.relay.soak import again, soak

EVENTS = 400
TOGETHER = 20  # events that a publisher publishes in one transaction
KILLED = 8
MANY = 10_000  # more than a publisher has the time for
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


PUBLISHING = ["store.committing:5", "store.committed:5", *RELAYING]
LAST = range(1_000_000, 1_000_020)  # of every key there is one more: when these have come, all before them have


@pytest.mark.parametrize("name", PUBLISHING)
def test_a_publisher_that_is_killed_while_it_relays_has_published_what_it_was_told(name: str, stage: Stage) -> None:
    assert stage.publish(0, EVENTS, failpoint=name) == -signal.SIGKILL
    with stage.running("direct"):
        end_with_the_last(stage)
    assert_published(stage, turns=1)


def test_publishers_that_are_killed_at_random_while_they_relay_have_published_what_they_were_told(
    stage: Stage,
) -> None:
    chance = random.Random(5)
    with stage.running("direct"):
        for turn in range(KILLED):
            goal = acknowledged_by(stage) + TOGETHER * chance.randrange(1, 10)
            with publishing(stage, turn * MANY, (turn + 1) * MANY) as publisher:
                stage.until(lambda goal=goal: acknowledged_by(stage) >= goal, "some are published")  # type: ignore[misc]
                time.sleep(chance.random() * 0.05)  # the instant is the point
                publisher.kill()
                assert publisher.wait() == -signal.SIGKILL, "there was more to publish"
        end_with_the_last(stage)
    assert_published(stage, turns=KILLED)


COMMITTING = "SELECT pid FROM pg_stat_activity WHERE wait_event = 'advisory' AND datname = current_database()"


@pytest.mark.parametrize("holds", [False, True])
def test_a_publisher_that_is_killed_while_the_server_ends_its_commit_has_published_all_of_it_or_nothing(
    tmp_path: Path, kafka: Kafka, postgres_url: str, holds: bool
) -> None:
    stage = Stage(tmp_path, kafka.url, postgres_url)
    assert stage.publish(0, EVENTS) == 0
    with psycopg.connect(postgres_url, autocommit=True) as gate:
        for statement in gated("onward.outbox"):
            gate.execute(statement.encode())
        with publishing(stage, EVENTS, 2 * EVENTS) as publisher:
            stage.until(lambda: gate.execute(COMMITTING).fetchall(), "the COMMIT is on its way")
            publisher.kill()
        if not holds:
            ((pid,),) = gate.execute(COMMITTING).fetchall()
            gate.execute("SELECT pg_terminate_backend(%s, 10000)", (pid,))
    with stage.running("direct"):
        end_with_the_last(stage)
    assert_published(stage, turns=1)
    published = {n for _, n in stage.effects("book")} - {*range(EVENTS), *LAST}
    assert published == (set(range(EVENTS, EVENTS + TOGETHER)) if holds else set())


def publishing(stage: Stage, first: int, last: int) -> subprocess.Popen[bytes]:
    """A process that publishes these, and is to be killed amid that."""
    arguments = [str(first), str(last), str(stage.acknowledged), "0"]
    return subprocess.Popen([sys.executable, "-c", PUBLISHER, *arguments], env=stage.environment(), cwd=ROOT)


def acknowledged_by(stage: Stage) -> int:
    return len(stage.acknowledged.read_text().split()) if stage.acknowledged.exists() else 0


def end_with_the_last(stage: Stage) -> None:
    assert stage.publish(LAST.start, LAST.stop) == 0
    stage.until(lambda: {n for _, n in stage.effects("confirm")} >= set(LAST), "the last are confirmed")


def assert_published(stage: Stage, *, turns: int) -> None:
    """All that was acknowledged, and of each publisher's transaction without an answer all or nothing."""
    acknowledged = {int(line) for line in stage.acknowledged.read_text().split()}
    for handler in ("book", "confirm"):
        found = stage.effects(handler)
        assert_exactly_once(found, sorted(acknowledged))
        in_doubt = Counter(n // TOGETHER for n in {n for _, n in found} - acknowledged)
        assert len(in_doubt) <= turns
        assert set(in_doubt.values()) <= {TOGETHER}
    assert stage.audited() == 0


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
