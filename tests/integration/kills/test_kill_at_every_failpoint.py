"""SIGKILL at each named point of an event's way, once; then nothing is lost, doubled or out of order."""

import os
import random
import re
import signal
import time
from contextlib import suppress
from pathlib import Path

import pytest

from onward.sqlite.delayed import MOVED_ROWS
from scripts.servers.process import Keeping
from tests.integration.kills.bank import STUCK
from tests.integration.kills.stage import ROOT, Stage, assert_exactly_once

EVENTS = 400
HANDLED_BY = {"batch": "direct", "careful": "careful", "suspect": "direct", "plain": "plain"}
FIRST_EFFECT = {"direct": "book", "careful": "review", "plain": "notify"}
BURST = 150
EFFECTS = {"direct": ("book", "confirm"), "careful": ("review",), "plain": ("notify",)}


def names() -> list[str]:
    found: set[str] = set()
    for path in (ROOT / "src" / "onward").rglob("*.py"):
        found.update(re.findall(r'\breach\("([a-z_.]+)"\)', path.read_text()))
    return sorted(found)


PUBLISHING = [name for name in names() if name.startswith("publish.")]
DELIVERING = [name for name in names() if name.startswith("timers.")]
RELAYING = [name for name in names() if name.startswith("relay.")]
PARKING = [name for name in names() if name.startswith("parking.")]
HANDLING = [name for name in names() if name not in PUBLISHING + DELIVERING + RELAYING + PARKING]
FAR_S = 3600.0
QUICK = "?session.timeout.ms=1500&heartbeat.interval.ms=200"  # what is killed is missed no longer than that


def test_there_are_failpoints_at_every_step() -> None:
    steps = {name.partition(".")[0] for name in names()}
    assert {"publish", "partitions", "batch", "careful", "suspect", "store", "plain", "parking", "timers"} <= steps


@pytest.fixture(params=["file", "servers"])
def stage(request: pytest.FixtureRequest, tmp_path: Path, keeping: Keeping) -> Stage:
    """One SQLite file, or Kafka and PostgreSQL, which end with `keeping`."""
    if request.param == "file":
        return Stage(tmp_path)
    return Stage(tmp_path, request.getfixturevalue("kafka").url + QUICK, request.getfixturevalue("postgres_url"))


@pytest.mark.parametrize("name", HANDLING)
def test_killed_while_handling_no_event_is_lost_doubled_or_reordered(name: str, stage: Stage) -> None:
    service = HANDLED_BY.get(name.partition(".")[0], "direct")
    assert stage.publish(0, EVENTS) == 0
    failpoint = f"batch.handled,batch.handled,{name}" if name.startswith("suspect") else name
    with stage.running(service, failpoint=failpoint):
        for handler in EFFECTS[service]:
            assert_exactly_once(stage.wait_for(handler, EVENTS), range(EVENTS))
        # A handler without an effect in the store may come to its events after the others.
        stage.until(lambda: stage.fired() == failpoint.count(",") + 1, f"{name} is reached")
        # Or it would be told to end beside its worker's death, and say that not everything was finished.
        stage.until(lambda: stage.replaced() == stage.fired(), "the worker that was killed is started again")
    for handler in EFFECTS[service]:
        assert len(stage.effects(handler)) == EVENTS


@pytest.mark.parametrize(("service", "handler"), [("blocking", "post"), ("holding", "call")])
@pytest.mark.parametrize("name", PARKING)
def test_killed_while_a_blocked_key_goes_on_nothing_parked_is_lost_doubled_or_overtaken(
    name: str, service: str, handler: str, stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = stage.folder / "broken"
    broken.touch()
    monkeypatch.setenv("BANK_BROKEN", str(broken))
    assert stage.publish(0, EVENTS) == 0
    account = [{n for n in range(EVENTS) if n % 7 == first % 7 and n >= first} for first in (STUCK[0], STUCK[1])]
    waiting = set.union(*account)
    with stage.running(service, failpoint=name):
        assert_exactly_once(
            stage.wait_for(handler, EVENTS - len(waiting)), [n for n in range(EVENTS) if n not in waiting]
        )
        broken.unlink()
        assert stage.command("dead-letters", "retry", "--all") == 0
        stage.until(lambda: stage.fired() == 1, f"{name} is reached")
        stage.until(lambda: stage.replaced() == stage.fired(), "the worker that was killed is started again")
        # A dead letter that was running again beside that, on another partition, is a dead letter once more.
        assert stage.command("dead-letters", "retry", "--all") == 0
        assert_exactly_once(stage.wait_for(handler, EVENTS), range(EVENTS))
    assert len(stage.effects(handler)) == EVENTS
    assert stage.audited() == 0


@pytest.mark.parametrize("name", PUBLISHING)
def test_killed_while_publishing_what_was_acknowledged_is_handled_once(name: str, tmp_path: Path) -> None:
    stage = Stage(tmp_path)
    assert stage.publish(0, EVENTS, failpoint=f"{name}:5") == -signal.SIGKILL
    acknowledged = [int(line) for line in stage.acknowledged.read_text().split()]
    assert 0 < len(acknowledged) < EVENTS
    assert stage.publish(EVENTS, EVENTS + 20) == 0
    with stage.running("direct"):
        stage.wait_for("confirm", len(acknowledged) + 20)
    found = [(key, n) for key, n in stage.effects("book") if n < EVENTS]
    assert_exactly_once(found, acknowledged)
    in_doubt = {n for _, n in found} - set(acknowledged)
    assert in_doubt in (set(), set(range(len(acknowledged), len(acknowledged) + 20)))


@pytest.mark.parametrize("name", DELIVERING)
def test_killed_while_delivering_each_delayed_event_takes_effect_once_in_order(name: str, tmp_path: Path) -> None:
    stage = Stage(tmp_path)
    events = 2 * MOVED_ROWS + 200
    assert stage.publish(0, events, delay_s=FAR_S) == 0
    assert stage.make_due() == events
    with stage.running("direct", workers=2, failpoint=f"{name}:2"):
        for handler in EFFECTS["direct"]:
            assert_exactly_once(stage.wait_for(handler, events), range(events))
        assert stage.fired() == 1, f"{name} was never reached"
    assert len(stage.effects("book")) == events
    assert stage.make_due() == 0


@pytest.mark.parametrize("name", PUBLISHING)
def test_killed_while_delaying_what_was_acknowledged_is_handled_once(name: str, tmp_path: Path) -> None:
    stage = Stage(tmp_path)
    assert stage.publish(0, EVENTS, failpoint=f"{name}:5", delay_s=FAR_S) == -signal.SIGKILL
    acknowledged = [int(line) for line in stage.acknowledged.read_text().split()]
    assert 0 < len(acknowledged) < EVENTS
    waiting = stage.make_due()
    assert waiting in (len(acknowledged), len(acknowledged) + 20)
    with stage.running("direct"):
        stage.wait_for("confirm", waiting)
    assert_exactly_once(stage.effects("book"), range(waiting))


def behind(stage: Stage, published: int) -> set[str]:
    """The services that have events to handle."""
    handled = stage.handled()
    return {service for service, handler in FIRST_EFFECT.items() if handled.get(handler, 0) < published}


@pytest.mark.timeout(300)
def test_killed_at_a_hundred_random_instants_every_event_takes_effect_once(tmp_path: Path) -> None:
    """Each kill is of a process that is there, of a service that has events to handle at that moment."""
    stage = Stage(tmp_path)
    chance = random.Random(20)
    killed: set[int] = set()
    published = 0
    with stage.running("direct", "careful", "plain", workers=4), stage.publishing() as publisher:
        while len(killed) < 100:
            stage.until(lambda: stage.members().keys() - killed, "a worker is there")
            if len(behind(stage, published)) < len(FIRST_EFFECT):
                publisher.publish(published, published + BURST)
                published += BURST
            time.sleep(chance.random() * 0.25)  # the instant is the point of the test
            late = behind(stage, published)
            victims = [pid for pid, service in stage.members().items() if service in late and pid not in killed]
            for victim in chance.sample(victims, min(3, len(victims))):
                with suppress(ProcessLookupError):
                    os.kill(victim, signal.SIGKILL)
                    killed.add(victim)
        for handler in ("book", "confirm", "review", "notify"):
            forwarded = published // 10 if handler == "confirm" else 0
            found = stage.wait_for(handler, published + forwarded)
            own = [each for each in found if not each[0].startswith("forwarded")]
            assert_exactly_once(own, range(published))
            assert len(found) - len(own) == forwarded
