"""Events through a broker and a store while workers are killed, and servers killed and started again; `make soak`."""

from __future__ import annotations

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from scripts.servers import kafka_jars
from scripts.servers.errors import Absent, Failed
from scripts.servers.kafka import Kafka
from scripts.servers.postgres import Postgres
from scripts.servers.process import Keeping
from tests.integration.kills.stage import Stage, assert_exactly_once

KILLED_AT_ONCE = 2
LONGEST_WAIT_S = 0.5
START_S, HANDLED_PER_S = 120, 50  # no more is waited for: a stalled run ends by itself
AHEAD = 20_000  # events published and not handled yet, at most, so that processes are killed at work all along

Say = Callable[[str], None]


def soak(
    stage: Stage,
    *,
    events: int,
    chunk: int,
    kills: int,
    restarts: Sequence[Callable[[], None]] = (),
    chance: random.Random,
    say: Say = lambda _said: None,
) -> None:
    """Publish so many events, `chunk` at a time, and kill so many workers meanwhile; then count every effect.

    Each of `restarts` is called once, spread over the run. Raises AssertionError for an event that is lost, doubled or
    out of order, and where the audit does not balance.
    """
    published = killed = 0
    began = time.monotonic()
    due = [events * (each + 1) // (len(restarts) + 1) for each in range(len(restarts))]
    waiting = list(zip(due, restarts, strict=True))
    with stage.running("direct", "plain", workers=2) as supervisor:
        while published < events or killed < kills:
            before = published, killed
            if published < events and published - _handled(stage) < AHEAD:
                assert stage.publish(published, min(published + chunk, events)) == 0
                published = min(published + chunk, events)
            assert time.monotonic() - began < START_S + published / HANDLED_PER_S, stage.log()
            time.sleep(chance.random() * LONGEST_WAIT_S)  # the instant is the point
            while waiting and waiting[0][0] <= published:
                waiting.pop(0)[1]()
                say("a server was killed and is back")
            if killed * events < kills * published or published == events:
                killed += _kill(workers_of(supervisor), min(KILLED_AT_ONCE, kills - killed), chance)
            if (published, killed) != before:
                say(f"{published:,} of {events:,} published, {killed} workers killed")
        forwarded = (published + 9) // 10
        for handler, more in (("book", 0), ("confirm", forwarded), ("notify", 0)):
            found = stage.wait_for(handler, published + more, within_s=START_S + published / HANDLED_PER_S)
            own = [each for each in found if not each[0].startswith("forwarded")]
            assert_exactly_once(own, range(published))
            assert len(found) - len(own) == more
            say(f"{handler}: {len(found):,} effects, each once and in order")
    assert stage.audited() == 0


def workers_of(process: subprocess.Popen[bytes]) -> list[int]:
    """The processes that a supervisor has begun."""
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    return [int(pid) for pid in children.read_text().split()]


def _handled(stage: Stage) -> int:
    """How many events the slowest handler has had."""
    found = stage.counted()
    return min(found.get(handler, 0) for handler in ("book", "confirm", "notify"))


def _kill(workers: list[int], most: int, chance: random.Random) -> int:
    chance.shuffle(workers)
    killed = 0
    for worker in workers[:most]:
        with suppress(ProcessLookupError):
            os.kill(worker, signal.SIGKILL)
            killed += 1
    return killed


def main() -> int:
    parser = argparse.ArgumentParser(prog="make soak", description="Events through Kafka while everything is killed.")
    parser.add_argument("--events", type=int, default=1_000_000)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--restarts", type=int, default=10, help="of Kafka and of PostgreSQL, by turns")
    parser.add_argument("--store", choices=("sqlite", "postgres"), default="postgres")
    parser.add_argument("--seed", type=int, default=int(time.time()))
    asked = parser.parse_args()
    began = time.monotonic()

    def say(said: str) -> None:
        sys.stderr.write(f"{time.monotonic() - began:7.1f} s  {said}\n")

    try:
        with Keeping() as keeping, tempfile.TemporaryDirectory() as folder:
            kafka_jars.fetch()
            kafka = Kafka(keeping, 1)
            servers: list[Kafka | Postgres] = [kafka]
            store = ""
            if asked.store == "postgres":
                postgres = Postgres(keeping)
                servers.append(postgres)
                store = postgres.url
            say(f"seed {asked.seed}")
            soak(
                Stage(Path(folder), kafka.url, store),
                events=asked.events,
                chunk=max(60, asked.events // max(asked.kills, 1)),
                kills=asked.kills,
                restarts=[again(servers[turn % len(servers)]) for turn in range(asked.restarts)],
                chance=random.Random(asked.seed),
                say=say,
            )
    except (Absent, Failed) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    say("nothing lost, nothing twice, in order per key, and the audit balances")
    return 0


def again(server: Kafka | Postgres) -> Callable[[], None]:
    """Kill it and start it again."""

    def restart() -> None:
        server.kill()
        server.start()

    return restart


if __name__ == "__main__":
    sys.exit(main())
