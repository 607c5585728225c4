"""A service scaled from one process to three and back while events come: rates, and how long nothing is handled."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from time import perf_counter, sleep

import psycopg

from benchmarks.harness import Benchmark
from benchmarks.kafka_orders import ANSWER_S, HANDLED_S, hand_over, make_topic, other_producer, register
from benchmarks.kafka_postgres import ask, database
from benchmarks.kafka_workers import PARTITIONS, processes, service, sharing
from benchmarks.orders import expect

STEPS = (("1 process", 1), ("2", 2), ("3", 3), ("2 again", 2), ("1 again", 1))
AHEAD = 100_000  # events sent and not handled yet, at most
CHUNK = 5_000
LOOK_S = 0.01
TALLIED = "SELECT coalesce(sum(succeeded), 0) FROM onward.tally"


class Load:
    """Events sent so that there are always some to handle, until the block ends; how many are handled, all the time."""

    def __init__(self, url: str) -> None:
        self.sent = self.handled = 0
        self.moved_at = perf_counter()
        self.gap_s = 0.0
        """The longest time without an event since this was set to 0."""
        self._url = url
        self._stopping = threading.Event()
        self._threads = [threading.Thread(target=each) for each in (self._send, self._look)]

    @contextmanager
    def flowing(self) -> Iterator[None]:
        for thread in self._threads:
            thread.start()
        try:
            yield
        finally:
            self._stopping.set()
            for thread in self._threads:
                thread.join()

    def _send(self) -> None:
        producer = other_producer()
        while not self._stopping.is_set():
            if self.sent - self.handled < AHEAD:
                hand_over(producer, "sent", CHUNK)
                self.sent += CHUNK
            else:
                sleep(LOOK_S)
        assert producer.flush(ANSWER_S) == 0

    def _look(self) -> None:
        with psycopg.connect(self._url, autocommit=True) as connection:
            while not self._stopping.wait(LOOK_S):
                ((found,),) = connection.execute(TALLIED).fetchall()
                now = perf_counter()
                self.gap_s = max(self.gap_s, now - self.moved_at)
                if found > self.handled:
                    self.handled, self.moved_at = int(found), now

    def until(self, holds: Callable[[], bool], claim: str) -> None:
        until = perf_counter() + HANDLED_S
        while not holds():
            if perf_counter() > until:
                raise TimeoutError(f"not in {HANDLED_S:g} s: {claim}")
            sleep(LOOK_S)


def _measure(count: int, folder: Path) -> dict[str, float]:
    """Each step begins when a process is started or told to end, and its rate when the others have its partitions."""
    make_topic("sent", PARTITIONS)
    name = f"sent-{folder.name}"
    found: dict[str, float] = {}
    with database(folder) as url, ExitStack() as stack:
        asyncio.run(register(service(url, name, "insert")))
        load = Load(url)
        running = [stack.enter_context(ExitStack())]
        running[0].enter_context(processes(url, name, "insert"))
        load.until(lambda: sharing(f"{name}:sent") == 1, "one process has the partitions")
        with load.flowing():
            load.until(lambda: load.handled > 0, "events are handled")
            for step, wanted in STEPS:
                load.gap_s = 0.0
                if wanted > len(running):
                    running.append(stack.enter_context(ExitStack()))
                    running[-1].enter_context(processes(url, name, "insert"))
                elif wanted < len(running):
                    running.pop(0).close()
                load.until(lambda all_of=wanted: sharing(f"{name}:sent") == all_of, f"{step}: all have partitions")  # type: ignore[misc]
                handled, began = load.handled, perf_counter()
                load.until(lambda enough=handled + count: load.handled >= enough, f"{step}: events are handled")  # type: ignore[misc]
                found[f"{step}, rate"] = (load.handled - handled) / (perf_counter() - began)
                found[f"{step}, longest gap"] = load.gap_s * 1e3
        load.until(lambda: ask(url, TALLIED) >= load.sent, "what was sent is handled")
        expect("events handled", ask(url, "SELECT count(*) FROM sent"), load.sent)
    return found


BENCHMARKS = [
    Benchmark(
        "onward run from one process to three and back, on Kafka and PostgreSQL, one INSERT each",
        {"onward": _measure},
        {f"{step}, {what}": unit for step, _ in STEPS for what, unit in (("rate", "events/s"), ("longest gap", "ms"))},
        200_000,
        2_000,
        rounds=3,
    )
]
