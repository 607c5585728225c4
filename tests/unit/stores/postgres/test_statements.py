"""What a handler's tasks may do beside a savepoint that ends, and after a statement that was cut short."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, cast

import pytest

from onward import Event
from onward.errors import TransactionError
from onward.ports import Outgoing
from onward.stores.postgres import statements as module
from onward.stores.postgres.command import Command
from onward.stores.postgres.session import Session
from onward.stores.postgres.statements import Statements
from onward.stores.postgres.transaction import PostgresSyncTransaction, PostgresTransaction
from onward.stores.result import StatementResult

UPDATE = "UPDATE effect SET n = 1"
OTHER = "UPDATE effect SET n = 2"


class Noted(Event, type="statements.noted", topic="noted"):
    n: int


class HeldSession:
    """Holds what begins with `held` until `let_go`; `sent` has all that it was given."""

    def __init__(self, held: str = "") -> None:
        self.held = held
        self.sent: list[str] = []
        self.reached = asyncio.Event()
        self.let_go = asyncio.Event()

    async def send(self, commands: Sequence[Command], doing: str) -> None:
        await self._take([command.sql for command in commands])

    async def run(self, sql: str, args: object, doing: str, *, before: Sequence[Command]) -> StatementResult:
        await self._take([*(command.sql for command in before), sql])
        return StatementResult([], 1)

    async def _take(self, sent: list[str]) -> None:
        if self.held and any(sql.startswith(self.held) for sql in sent):
            self.reached.set()
            await self.let_go.wait()
        self.sent += sent


class Scene:
    """One transaction on that session."""

    def __init__(self, held: str = "") -> None:
        self.session = HeldSession(held)
        self.outputs: list[Outgoing] = []
        self.statements = Statements(cast(Session, self.session), self.outputs, service="shop", path="here")
        self.tx = PostgresTransaction(self.statements)

    async def undone(self) -> None:
        with pytest.raises(ValueError, match="undo"):
            async with self.tx.savepoint():
                raise ValueError("undo")


async def publish(tx: PostgresTransaction) -> None:
    await tx.publish(Noted(n=1))


async def submit(tx: PostgresTransaction) -> None:
    await tx.submit(UPDATE)


async def execute(tx: PostgresTransaction) -> None:
    await tx.execute(UPDATE)


@pytest.mark.parametrize("say", [publish, submit, execute])
def test_what_a_task_says_while_another_ones_savepoint_is_undone_is_refused_and_not_lost(
    say: Callable[[PostgresTransaction], Awaitable[None]],
) -> None:
    async def play() -> None:
        scene = Scene("ROLLBACK TO")
        undoing = asyncio.create_task(scene.undone())
        await scene.session.reached.wait()
        with pytest.raises(TransactionError, match="of another task is open"):
            await say(scene.tx)
        scene.session.let_go.set()
        await undoing
        await say(scene.tx)
        assert len(scene.outputs) == (say is publish)
        waiting = [command.sql for command in await scene.statements.close()]
        assert [sql for sql in [*scene.session.sent, *waiting] if sql == UPDATE] == [UPDATE] * (say is not publish)

    asyncio.run(play())


def test_a_handler_that_returns_while_a_savepoint_ends_stores_nothing() -> None:
    async def play() -> None:
        scene = Scene("ROLLBACK TO")
        undoing = asyncio.create_task(scene.undone())
        await scene.session.reached.wait()
        with pytest.raises(TransactionError, match="Await every task"):
            scene.statements.refuse_unkept()
        scene.session.let_go.set()
        await undoing
        scene.statements.refuse_unkept()

    asyncio.run(play())


def test_a_savepoint_that_waited_for_a_statement_which_was_cut_short_does_not_excuse_it() -> None:
    async def play() -> None:
        scene = Scene(UPDATE)
        cut = asyncio.create_task(scene.tx.execute(UPDATE))
        await scene.session.reached.wait()
        undoing = asyncio.create_task(scene.undone())
        await asyncio.sleep(0)  # it has entered, and waits for the connection
        cut.cancel()
        with pytest.raises(TransactionError, match="was cut short"):
            await undoing
        with pytest.raises(TransactionError, match="was cut short"):
            scene.statements.refuse_unkept()
        with pytest.raises(asyncio.CancelledError):
            await cut

    asyncio.run(play())


@pytest.mark.parametrize("held", [OTHER, "ROLLBACK TO"])
def test_a_savepoint_whose_undoing_is_cut_short_fails_the_event(held: str) -> None:
    """While it waits for the connection, too: nothing of it is undone then."""

    async def play() -> None:
        scene = Scene(held)
        inside = asyncio.Event()

        async def undone() -> None:
            async with scene.tx.savepoint():
                await scene.tx.execute(UPDATE)
                beside = asyncio.create_task(scene.tx.execute(OTHER)) if held == OTHER else None
                if beside is not None:
                    beside.add_done_callback(lambda done: done.exception())
                    await scene.session.reached.wait()
                inside.set()
                raise ValueError("undo")

        undoing = asyncio.create_task(undone())
        await inside.wait()
        if held != OTHER:
            await scene.session.reached.wait()
        undoing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await undoing
        scene.session.let_go.set()
        with pytest.raises(TransactionError, match="was cut short"):
            scene.statements.refuse_unkept()

    asyncio.run(play())


def test_a_statement_whose_submission_was_cancelled_is_not_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_WAITING", 1)

    async def play() -> None:
        scene = Scene(UPDATE)
        running = asyncio.create_task(scene.tx.execute(UPDATE))
        await scene.session.reached.wait()
        submitting = asyncio.gather(*(scene.tx.submit(OTHER) for _ in range(2)), return_exceptions=True)
        await asyncio.sleep(0)
        submitting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await submitting
        scene.session.let_go.set()
        await running
        assert [(command.sql, len(command.rows)) for command in await scene.statements.close()] == [(OTHER, 1)]

    asyncio.run(play())


def test_a_result_that_arrives_as_its_thread_gives_up_waiting_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    class Late:
        looks = 0

        def result(self, timeout: float | None = None) -> str:
            self.looks += 1
            if self.looks == 1:
                raise TimeoutError
            return "the result"

        def done(self) -> bool:
            return True

    async def nothing() -> Any: ...

    async def play() -> None:
        scene = Scene()
        tx = PostgresSyncTransaction(scene.statements, asyncio.get_running_loop())
        work = nothing()
        monkeypatch.setattr(asyncio, "run_coroutine_threadsafe", lambda *_: Late())
        assert await asyncio.to_thread(tx.wait, work) == "the result"
        work.close()

    asyncio.run(play())
