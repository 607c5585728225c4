"""Real child processes: blocked, ended from inside and outside, drained, stopped and started again."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import apsw
import httpx
import pytest

from onward.runtime import unclaimed
from onward.runtime.health import HealthServer
from onward.runtime.supervisor import ServiceState, Supervisor
from tests.integration.supervised import Asked, publisher

ROOT = Path(__file__).parents[2]
MODULE = "tests.integration.supervised"
PATIENCE_S = 30.0


@pytest.fixture(autouse=True)
def store(database_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """One file for all services of a test, whose children import from the checkout."""
    monkeypatch.setenv("ONWARD_STORE", f"sqlite:///{database_path}")
    monkeypatch.setenv("PYTHONPATH", f"{ROOT / 'src'}{os.pathsep}{ROOT}")
    return database_path


async def until(holds: Callable[[], bool], what: str, within_s: float = PATIENCE_S) -> None:
    """Wait for a fact about another process, which has no event of ours to wait for: so look, and look again."""
    try:
        async with asyncio.timeout(within_s):
            while not holds():
                await asyncio.sleep(0.02)
    except TimeoutError:
        pytest.fail(f"not within {within_s:g} s: {what}", pytrace=False)


def effects(path: Path, service: str) -> list[int]:
    """What a service did, seen by a connection that knows only the test's own table."""
    if not path.exists():
        return []
    connection = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)
    connection.set_busy_timeout(5000)
    try:
        return [int(str(row[0])) for row in connection.execute("SELECT n FROM effect WHERE service = ?", (service,))]
    except apsw.SQLError:
        return []
    finally:
        connection.close()


async def publish(*events: Asked) -> None:
    await publisher.publish(*events)
    await publisher.close()


@asynccontextmanager
async def running(
    *services: str, drain_s: float = 10.0, hang_s: float = 10.0, hold_s: float = 10.0
) -> AsyncIterator[Supervisor]:
    """Supervised services of the test's module, all ready."""
    targets = [(each, f"{MODULE}:{each}") for each in services]
    supervisor = Supervisor(targets, drain_s=drain_s, hang_s=hang_s, hold_s=hold_s)
    await supervisor.start()
    try:
        await until(lambda: all(each.state == "running" for each in supervisor.states()), "services are ready")
        yield supervisor
    finally:
        await supervisor.stop_all()


def state(supervisor: Supervisor, service: str) -> ServiceState:
    return next(each for each in supervisor.states() if each.name == service)


def ready(health: HealthServer) -> tuple[int, str]:
    answer = httpx.get(f"{health.address}/ready", timeout=1)
    return answer.status_code, answer.text


def test_a_blocked_event_loop_is_not_ready_within_2_s_and_replaced_within_its_limit(
    store: Path, tmp_path: Path
) -> None:
    async def scenario() -> None:
        async with running("troubled", hang_s=3.0) as supervisor:
            health = HealthServer(supervisor.states)
            health.start()
            try:
                assert (await asyncio.to_thread(ready, health))[0] == 200
                (pid,) = state(supervisor, "troubled").pids
                once = tmp_path / "blocked"
                await publish(Asked(key="a", n=1, deed="block", once=str(once)))
                await until(once.exists, "the handler blocks")
                await until(lambda: ready(health)[0] == 503, "/ready is 503", within_s=2.0)
                status, body = await asyncio.to_thread(ready, health)
                assert status == 503
                assert "event loop has not turned" in body
                await until(
                    lambda: state(supervisor, "troubled").pids not in ((pid,), ()), "it is replaced", within_s=5.0
                )
                await until(lambda: effects(store, "troubled") == [1], "the event is handled")
                await until(lambda: ready(health)[0] == 200, "/ready is 200 again")
                assert state(supervisor, "troubled").restarts == 1
            finally:
                health.stop()

    asyncio.run(scenario())


def test_an_open_transaction_is_not_ready_and_its_process_replaced_within_its_limit(
    store: Path, tmp_path: Path
) -> None:
    async def scenario() -> None:
        async with running("troubled", hold_s=4.0) as supervisor:
            (pid,) = state(supervisor, "troubled").pids
            await publish(Asked(key="a", n=1, deed="hold", once=str(tmp_path / "held")))
            reason = "a transaction has held the write lock"
            await until(lambda: reason in str(state(supervisor, "troubled").reasons), "it is not ready, and says why")
            assert state(supervisor, "troubled").pids == (pid,)
            await until(lambda: effects(store, "troubled") == [1], "the event is handled by another process")
            assert state(supervisor, "troubled").restarts == 1

    asyncio.run(scenario())


@pytest.mark.parametrize("deed", ["exit", "interrupt", "abort"])
def test_an_event_that_ends_its_process_has_it_replaced_and_is_handled_once(
    deed: str, store: Path, tmp_path: Path
) -> None:
    async def scenario() -> None:
        async with running("troubled") as supervisor:
            await publish(Asked(key="a", n=1, deed=deed, once=str(tmp_path / "once")), Asked(key="a", n=2))
            await until(lambda: effects(store, "troubled") == [1, 2], "both events are handled")
            assert state(supervisor, "troubled").restarts == 1

    asyncio.run(scenario())


@pytest.mark.parametrize("deed", ["fall", "trip"], ids=["with the transaction", "without"])
def test_a_base_exception_is_not_ready_within_2_s_and_its_process_replaced_whatever_its_neighbours_do(
    deed: str, store: Path, tmp_path: Path
) -> None:
    async def scenario() -> None:
        async with running("mixed") as supervisor:
            health = HealthServer(supervisor.states)
            health.start()
            try:
                (pid,) = state(supervisor, "mixed").pids
                lingers = tmp_path / "lingers"
                await publish(Asked(key="a", n=1, deed="linger", once=str(lingers)))
                await until(lingers.exists, "a plain handler is at work, for longer than a drain may take")
                await publish(Asked(key="b", n=2, deed=deed, once=str(tmp_path / "once")))
                await until(lambda: ready(health)[0] == 503, "/ready is 503", within_s=2.0)
                await until(lambda: state(supervisor, "mixed").pids not in ((pid,), ()), "replaced", within_s=5.0)
                await until(lambda: sorted(effects(store, "mixed fell")) == [1, 2], "handled once")
                await until(lambda: sorted(effects(store, "mixed tripped")) == [1, 2], "handled once")
                assert state(supervisor, "mixed").restarts == 1
            finally:
                health.stop()

    asyncio.run(scenario())


def test_an_event_that_always_ends_its_process_becomes_a_dead_letter_alone(store: Path) -> None:
    async def scenario() -> None:
        async with running("troubled") as supervisor:
            await publish(Asked(key="a", n=1), Asked(key="a", n=2, deed="exit"), Asked(key="a", n=3))
            await until(lambda: effects(store, "troubled") == [1, 3], "its neighbours are handled once")
            await until(lambda: state(supervisor, "troubled").dead == 1, "it is a dead letter")
        assert effects(store, "troubled") == [1, 3]

    asyncio.run(scenario())


def test_a_killed_process_is_replaced_and_the_other_services_go_on(store: Path) -> None:
    async def scenario() -> None:
        async with running("steady", "troubled") as supervisor:
            (pid,) = state(supervisor, "troubled").pids
            other = state(supervisor, "steady").pids
            os.kill(pid, signal.SIGKILL)
            await until(lambda: state(supervisor, "troubled").restarts == 1, "it is replaced")
            await publish(Asked(key="a", n=1))
            await until(lambda: effects(store, "troubled") == [1], "the new process handles")
            assert state(supervisor, "steady").pids == other
            assert state(supervisor, "steady").restarts == 0

    asyncio.run(scenario())


def test_a_stopped_service_catches_up_when_it_is_started_again_and_the_others_go_on(store: Path) -> None:
    async def scenario() -> None:
        async with running("steady", "troubled") as supervisor:
            await supervisor.stop("troubled")
            assert state(supervisor, "troubled").state == "stopped"
            assert state(supervisor, "troubled").pids == ()
            await publish(Asked(key="a", n=1))
            await until(lambda: effects(store, "steady") == [1], "the other service handles")
            await until(lambda: state(supervisor, "troubled").lags == {"asked": 1}, "its lag is known")
            assert effects(store, "troubled") == []
            await supervisor.start("troubled")
            await until(lambda: effects(store, "troubled") == [1], "it catches up")
            await until(lambda: state(supervisor, "troubled").lag == 0, "its lag is gone")
            assert state(supervisor, "troubled").restarts == 0

    asyncio.run(scenario())


def test_a_subscription_that_nobody_runs_is_told_by_whoever_else_runs_on_the_file(
    store: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(unclaimed, "AFTER_S", 0.0)

    async def scenario() -> None:
        async with running("troubled"):
            pass
        async with running("steady"):
            await publish(Asked(key="a", n=1))
            await until(lambda: "nobody runs" in caplog.text, "it is told")
            await until(lambda: effects(store, "steady") == [1], "the other service handles")

    asyncio.run(scenario())
    assert "nobody runs troubled/transactional on asked, and 1 events wait for it; they are never pruned" in caplog.text
    assert "onward handlers retire troubled obey" in caplog.text


def test_what_is_in_flight_when_a_service_is_stopped_takes_effect(store: Path, tmp_path: Path) -> None:
    async def scenario() -> None:
        once = tmp_path / "once"
        async with running("troubled") as supervisor:
            await publish(Asked(key="a", n=1, deed="wait", once=str(once)))
            await until(once.exists, "the handler is at work")
            assert await supervisor.stop_all()
            assert effects(store, "troubled") == [1]
            assert state(supervisor, "troubled").handled == 1

    asyncio.run(scenario())


def test_a_kill_at_the_end_of_a_drain_is_no_unclean_start(store: Path, tmp_path: Path) -> None:
    async def scenario() -> None:
        once = tmp_path / "once"
        supervisor = Supervisor([("troubled", f"{MODULE}:troubled")], drain_s=0.2, hang_s=60.0)
        await supervisor.start()
        await until(lambda: state(supervisor, "troubled").state == "running", "the service is ready")
        await publish(Asked(key="a", n=1, deed="block", once=str(once)))
        await until(once.exists, "the handler blocks")
        assert not await supervisor.stop_all()

    asyncio.run(scenario())
    connection = apsw.Connection(str(store), flags=apsw.SQLITE_OPEN_READONLY)
    try:
        assert connection.execute("SELECT sum(unclean) FROM onward_account").get == 0
    finally:
        connection.close()


def start_run(*arguments: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "onward", "run", *arguments], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )


def test_sigterm_drains_and_says_what_was_done(store: Path, tmp_path: Path) -> None:
    async def scenario() -> None:
        once = tmp_path / "once"
        process = start_run(f"{MODULE}:troubled", "--json")
        assert process.stdout is not None
        try:
            await publish(Asked(key="a", n=1, deed="wait", once=str(once)))
            await until(once.exists, "the handler is at work")
            process.send_signal(signal.SIGTERM)
            printed, _ = await asyncio.to_thread(process.communicate, timeout=PATIENCE_S)
        finally:
            process.kill()
            process.wait()
            process.stdout.close()
        lines = [json.loads(line) for line in printed.splitlines()]
        assert process.returncode == 0
        assert effects(store, "troubled") == [1]
        done = next(line for line in lines if line.get("service") == "troubled")
        assert done["handled"] == 1

    asyncio.run(scenario())


def test_children_of_a_killed_supervisor_end_by_themselves(store: Path) -> None:
    async def scenario() -> None:
        process = start_run(f"{MODULE}:steady")
        assert process.stdout is not None
        try:
            await publish(Asked(key="a", n=1))
            await until(lambda: effects(store, "steady") == [1], "the service works")
            listing = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text()
            (child,) = map(int, listing.split())
            process.kill()
            process.wait()
            await until(lambda: not _lives(child), "the child has ended")
        finally:
            process.kill()
            process.wait()
            process.stdout.close()

    asyncio.run(scenario())


def test_a_handler_that_vanished_refuses_to_start_with_exit_code_1(store: Path) -> None:
    async def first() -> None:
        async with running("troubled"):
            pass

    asyncio.run(first())
    done = subprocess.run(
        [sys.executable, "-m", "onward", "run", f"{MODULE}:changed"],
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    assert done.returncode == 1
    assert "onward handlers rename troubled obey" in done.stderr


def _lives(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
