"""Runs the bank under `onward run`, kills it, and counts effects through a connection that knows only its own table."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import apsw
import psycopg

ROOT = Path(__file__).parents[3]
PATIENCE_S = 60.0
PUBLISHER = """
import asyncio, sys
from tests.integration.kills.bank import Paid, direct
async def main(first, last, acknowledged, delay):
    with open(acknowledged, "a") as file:
        for n in range(first, last, 20):
            events = [Paid(account=f"account-{each % 7}", n=each) for each in range(n, min(n + 20, last))]
            await direct.publish(*events, delay=delay)
            file.write("".join(f"{event.n}\\n" for event in events))
            file.flush()
    await direct.close()
asyncio.run(main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], float(sys.argv[4]) or None))
"""


STREAMER = """
import asyncio, sys
from tests.integration.kills.bank import Paid, direct
async def main():
    for line in sys.stdin:
        await direct.publish(*(Paid(account=f"account-{n % 7}", n=n) for n in range(*map(int, line.split()))))
        print(line, end="", flush=True)
    await direct.close()
asyncio.run(main())
"""


class Publisher:
    """A process of its own that publishes when it is told to."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def publish(self, first: int, last: int) -> None:
        """All at once; returns when they are acknowledged."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{first} {last}\n")
        self._process.stdin.flush()
        assert self._process.stdout.readline() == f"{first} {last}\n"


class Stage:
    """One database, a file in its folder unless `store` names another; with the log in it unless `broker` names one."""

    def __init__(self, folder: Path, broker: str = "", store: str = "") -> None:
        self.folder = folder
        self.broker = broker
        self.store = store
        self.database = folder / "bank.db"
        self.acknowledged = folder / "acknowledged"
        self.points = folder / "points"
        self.points.mkdir(parents=True)

    def environment(self, failpoint: str = "") -> dict[str, str]:
        return {
            **os.environ,
            "ONWARD_BROKER": self.broker,
            "ONWARD_STORE": self.store or f"sqlite:///{self.database}",
            "ONWARD_FAILPOINT": failpoint,
            "ONWARD_FAILPOINT_DIR": str(self.points),
            "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "src")]),
        }

    def publish(self, first: int, last: int, failpoint: str = "", *, delay_s: float = 0.0) -> int:
        """Publish in a process of its own; its exit code, negative when it was killed."""
        return subprocess.run(
            [sys.executable, "-c", PUBLISHER, str(first), str(last), str(self.acknowledged), str(delay_s)],
            env=self.environment(failpoint),
            cwd=ROOT,
            timeout=PATIENCE_S,
            check=False,
        ).returncode

    def audited(self) -> int:
        """What `onward audit` exits with: 0 where every event is accounted for."""
        return self.command("audit")

    def command(self, *words: str) -> int:
        """Run `onward` with these; what it exits with."""
        return subprocess.run(
            [sys.executable, "-m", "onward", *words],
            env=self.environment(),
            cwd=ROOT,
            timeout=PATIENCE_S,
            check=False,
        ).returncode

    @contextmanager
    def publishing(self) -> Iterator[Publisher]:
        command, pipe = [sys.executable, "-c", STREAMER], subprocess.PIPE
        with subprocess.Popen(command, env=self.environment(), cwd=ROOT, stdin=pipe, stdout=pipe, text=True) as process:
            try:
                yield Publisher(process)
            finally:
                process.kill()

    @contextmanager
    def running(
        self, *services: str, bank: str = "bank", workers: int = 1, failpoint: str = "", options: Sequence[str] = ()
    ) -> Iterator[subprocess.Popen[bytes]]:
        """`onward run` with these services of the bank; SIGTERM at the end, and it must exit with 0."""
        targets = [f"tests.integration.kills.{bank}:{service}" for service in services]
        with (self.folder / "run.log").open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "onward", "run", *targets, "--workers", str(workers), *options],
                env=self.environment(failpoint),
                cwd=ROOT,
                stdout=log,
                stderr=log,
            )
            try:
                yield process
                process.send_signal(signal.SIGTERM)
                code = process.wait(PATIENCE_S)
                assert code == 0, f"onward run ended with {code}:\n{self.log()}"
            finally:
                if process.poll() is None:
                    process.kill()
                    process.wait()

    def make_due(self) -> int:
        """As if the time of all that waits had come, while nothing runs; how many those are."""
        connection = apsw.Connection(str(self.database))
        try:
            connection.execute("UPDATE onward_delayed SET due = ?", (int(time.time() * 1e6),))
            return connection.changes()
        finally:
            connection.close()

    def log(self) -> str:
        return (self.folder / "run.log").read_text(errors="replace")[-6000:]

    def members(self) -> dict[int, str]:
        """Process ids of the workers that have joined, some of which may have ended, with their services."""
        found: dict[int, str] = {}
        for path in (self.folder / "bank.db-run" / "members").glob("*.json"):
            with suppress(ValueError, OSError):
                member = json.loads(path.read_bytes())
                found[int(member["pid"])] = str(member["service"])
        return found

    def counted(self) -> dict[str, int]:
        """`handled`, and a wait after it: whoever counts over and over takes a fifth of the server's time at most."""
        began = time.monotonic()
        found = self.handled()
        time.sleep(max(0.02, 4 * (time.monotonic() - began)))
        return found

    def handled(self) -> dict[str, int]:
        """How many effects each handler has had."""
        if self.store:
            return self._handled_on_server()
        with suppress(apsw.SQLError, apsw.CantOpenError):
            connection = apsw.Connection(str(self.database), flags=apsw.SQLITE_OPEN_READONLY)
            connection.set_busy_timeout(5000)
            try:
                counts = connection.execute("SELECT handler, count(*) FROM effect GROUP BY handler")
                return {str(handler): int(str(count)) for handler, count in counts}
            finally:
                connection.close()
        return {}

    def _handled_on_server(self) -> dict[str, int]:
        with psycopg.connect(self.store) as connection, suppress(psycopg.errors.UndefinedTable):
            return dict(connection.execute("SELECT handler, count(*) FROM effect GROUP BY handler").fetchall())
        return {}

    def effects(self, handler: str) -> list[tuple[str, int]]:
        """(key, n) in the order in which they were committed."""
        if self.store:
            return self._effects_on_server(handler)
        with suppress(apsw.SQLError, apsw.CantOpenError):
            connection = apsw.Connection(str(self.database), flags=apsw.SQLITE_OPEN_READONLY)
            connection.set_busy_timeout(5000)
            try:
                rows = connection.execute("SELECT key, n FROM effect WHERE handler = ? ORDER BY place", (handler,))
                return [(str(key), int(str(n))) for key, n in rows]
            finally:
                connection.close()
        return []

    def _effects_on_server(self, handler: str) -> list[tuple[str, int]]:
        with psycopg.connect(self.store) as connection, suppress(psycopg.errors.UndefinedTable):
            rows = connection.execute("SELECT key, n FROM effect WHERE handler = %s ORDER BY place", (handler,))
            return rows.fetchall()
        return []

    def wait_for(self, handler: str, count: int, within_s: float = PATIENCE_S) -> list[tuple[str, int]]:
        """The effects, as soon as there are `count` of them."""
        deadline = time.monotonic() + within_s
        while (found := self.counted().get(handler, 0)) < count:
            assert time.monotonic() < deadline, f"{found} of {count} effects of {handler}:\n{self.log()}"
        return self.effects(handler)

    def until(self, holds: Callable[[], object], what: str) -> None:
        """Wait for a fact about other processes, which have no event of ours to wait for."""
        deadline = time.monotonic() + PATIENCE_S
        while not holds():
            assert time.monotonic() < deadline, f"not within {PATIENCE_S:g} s: {what}:\n{self.log()}"
            time.sleep(0.01)

    def reached(self) -> set[str]:
        path = self.points / "reached"
        return set(path.read_text().split()) if path.exists() else set()

    def fired(self) -> int:
        return len(list(self.points.glob("fired.*")))

    def replaced(self) -> int:
        """How many workers `onward run` has seen to end, and starts again."""
        return (self.folder / "run.log").read_text(errors="replace").count("; starting it again")


def assert_exactly_once(found: Sequence[tuple[str, int]], expected: Sequence[int]) -> None:
    """Nothing lost, nothing twice, order per key."""
    counts = Counter(n for _, n in found)
    assert [n for n in expected if counts[n] == 0] == [], "lost"
    assert {n: count for n, count in counts.items() if count > 1} == {}, "twice"
    by_key: dict[str, list[int]] = {}
    for key, n in found:
        by_key.setdefault(key, []).append(n)
    for key, numbers in by_key.items():
        assert numbers == sorted(numbers), f"{key} out of order"
