"""What a handler runs in one transaction: those statements whose result nobody reads travel together with the next."""

from __future__ import annotations

import asyncio
from datetime import datetime
from time import time
from typing import Any

from onward.delays import Delay, due_micros
from onward.errors import StoreError
from onward.outgoing import encode_all, put_off
from onward.ports import Outgoing
from onward.stores.postgres.command import Arguments, Command
from onward.stores.postgres.failures import ENDED_WHILE_IDLE
from onward.stores.postgres.session import Session
from onward.stores.postgres.statement import MAX_KEPT, Plan, read, refuse_driven
from onward.stores.refusals import (
    BELOW_US,
    crossed_savepoints,
    cut_short,
    ended,
    failed_before,
    inside_savepoint,
    misfit,
    nameless,
    swallowed,
)
from onward.stores.result import Driven, StatementResult
from onward.stores.savepoints import Savepoint, Savepoints

MAX_WAITING = 500  # submitted statements that have not been sent

_plans: dict[str, Plan] = {}


class Statements:
    """What both faces of a transaction share, until its end or the `undo` of its event."""

    dialect = "postgresql"

    def __init__(self, session: Session, outputs: list[Outgoing], *, service: str, path: str) -> None:
        self.service = service
        self.path = path
        self.outputs = outputs
        self.failed: StoreError | None = None
        self.open = True
        self.savepoints = Savepoints()
        self._session = session
        self._waiting: list[tuple[str, list[Arguments]]] = []
        self._waiting_count = 0
        self._turn = asyncio.Lock()  # a handler's tasks share one connection

    async def execute(self, sql: str, params: dict[str, Any]) -> StatementResult:
        self.refuse()
        plan, args = _planned(sql, params)
        async with self._turn:
            self.refuse()  # again: whoever had the connection may have failed, or the unit ended meanwhile
            waiting = self._taken()
            doing = f"Running {sql[:200]!r}" + (", or what was submitted before it" if waiting else "")
            try:
                return await self._session.run(plan.sql, args, doing, before=waiting)
            except StoreError as error:
                mistaken = plan.has_mark and error.fields.get("sqlstate") == "42601"
                self.failed = nameless(sql) if mistaken else error
                raise self.failed from error
            except TypeError as error:
                if waiting:  # what was submitted is sent in part, or not at all
                    self.failed = misfit(f"{waiting[0].sql} … {sql}", error)
                    raise self.failed from error
                raise misfit(sql, error) from error
            except BaseException:  # the handler may catch a time-out around this, and go on
                self.failed = cut_short(doing)
                raise

    async def drive(self, sql: str, args: Any, *, many: bool) -> Driven:
        """`execute` for who speaks as the driver does, with parameters as `%(name)s`; `many` sets of them, or one.

        An error is raised from the driver's own.
        """
        self.refuse()
        refuse_driven(sql)
        async with self._turn:
            self.refuse()
            await self._flush()
            try:
                return await self._session.drive(sql, args, many=many)
            except StoreError as error:
                self.failed = error
                raise
            except BaseException:
                self.failed = cut_short(f"Running {sql[:200]!r}")
                raise

    async def submit(self, sql: str, params: dict[str, Any]) -> None:
        self.refuse()
        plan, args = _planned(sql, params)
        if self._waiting_count >= MAX_WAITING:
            async with self._turn:
                self.refuse()
                await self._flush()
        if self._waiting and self._waiting[-1][0] == plan.sql:
            self._waiting[-1][1].append(args)
        else:
            self._waiting.append((plan.sql, [args]))
        self._waiting_count += 1

    def publish(self, events: tuple[object, ...], at: datetime | None, delay: Delay | None) -> None:
        if not self.open:
            raise ended()
        self.savepoints.refuse_others()
        self.outputs.extend(put_off(encode_all(events), due_micros(time(), at, delay)))

    def refuse(self) -> None:
        """Raises TransactionError where nothing can be run any more, or not by this task."""
        if not self.open:
            raise ended()
        self.savepoints.refuse_others()
        if self.failed is not None:
            raise failed_before(self.failed) from self.failed

    def refuse_ended(self) -> None:
        """Raises TransactionError when somebody else has ended the transaction."""
        self._session.refuse_ended()

    # ---------------------------------------------------------------------------------------- savepoints

    def enter(self) -> Savepoint:
        """Called in the context of the code inside; `begin` is awaited next."""
        self.refuse()
        return self.savepoints.enter(len(self.outputs))

    async def begin(self, savepoint: Savepoint) -> None:
        async with self._turn:
            self.refuse()  # else its end would undo, and so excuse, what failed before it began
            await self._flush(f"SAVEPOINT {savepoint.name}")

    def leave(self, savepoint: Savepoint, keep: bool) -> bool | None:
        """Called where `enter` was. None if nothing is left to `end`; else whether it was the innermost one."""
        innermost = self.savepoints.leave(savepoint)
        if innermost is None or not self.open:
            if keep:
                raise ended()
            return None  # its work is undone already
        self.savepoints.close(savepoint)
        return innermost

    async def end(self, savepoint: Savepoint, keep: bool, innermost: bool) -> None:
        """Raises the error of what was submitted inside, and of savepoints that crossed; all inside is undone then.

        Other tasks are refused until the server has ended it: what they say meanwhile would be undone with it.
        """
        try:
            async with self._turn:
                await self._end(savepoint, keep, innermost)
        except StoreError:
            raise
        except BaseException:  # it may still be open on the server, with all that it was to undo
            self.failed = self.failed or cut_short("Ending a savepoint")
            raise
        finally:
            self.savepoints.forget(savepoint)

    async def _end(self, savepoint: Savepoint, keep: bool, innermost: bool) -> None:
        failure: StoreError | None = None
        if keep and innermost and self.failed is None:
            try:
                await self._flush(f"RELEASE {savepoint.name}")
            except StoreError as error:
                failure = error
            else:
                return
        await self._undo(savepoint.name)
        del self.outputs[savepoint.outputs :]
        if not innermost:
            failure = self.failed = crossed_savepoints()
        if failure is not None:
            raise failure

    # ------------------------------------------------------------------------------- for the unit around it

    async def mark(self, name: str) -> None:
        async with self._turn:
            await self._flush(f"SAVEPOINT {name}")

    async def keep(self, name: str) -> None:
        """Close a mark. Constraints that are checked at COMMIT are checked now, so that this event is blamed.

        Raises TransactionError for what must not be kept, and the error of what was submitted.
        """
        self.refuse_unkept()
        async with self._turn:
            await self._flush(
                "SAVEPOINT onward_check",
                "SET CONSTRAINTS ALL IMMEDIATE",
                "ROLLBACK TO onward_check",  # deferred again: the next handler may count on it
                "RELEASE onward_check",
                f"RELEASE {name}",
            )

    async def undo(self, name: str) -> None:
        async with self._turn:
            await self._undo(name)

    def refuse_unkept(self) -> None:
        """Raises what keeps this transaction, or the event in it, from being committed."""
        if self.failed is not None:
            if isinstance(self.failed, BELOW_US):
                raise self.failed
            raise swallowed(self.failed) from self.failed
        if self.savepoints:
            raise inside_savepoint()

    async def close(self) -> list[Command]:
        """End both faces; what was submitted and not sent."""
        self.open = False
        async with self._turn:
            waiting, self._waiting = self._waiting, []
            return [Command(*each) for each in waiting]

    async def _flush(self, *then: str) -> None:
        """Send what waits, and these after it, in one round trip."""
        waiting = self._taken()
        commands = [*waiting, *map(Command, then)]
        if not commands:
            return
        try:
            await self._session.send(commands, "Running what the handler submitted")
        except StoreError as error:
            self.failed = error
            raise
        except TypeError as error:
            self.failed = misfit(waiting[0].sql, error)
            raise self.failed from error
        except BaseException:
            self.failed = cut_short("Running what the handler submitted")
            raise

    def _taken(self) -> list[Command]:
        """What waits, which waits no more."""
        waiting, self._waiting, self._waiting_count = self._waiting, [], 0
        return [Command(*each) for each in waiting]

    async def _undo(self, name: str) -> None:
        """Raises StoreError; TransactionError when the server has ended the whole transaction for what was done."""
        self._waiting, self._waiting_count = [], 0
        failed, self.failed = self.failed, None
        try:
            await self._flush(f"ROLLBACK TO {name}", f"RELEASE {name}")
        except StoreError as error:
            if failed is not None and failed.fields.get("sqlstate") == ENDED_WHILE_IDLE:
                self.failed = failed
                raise failed from error
            raise


def plan_of(sql: str) -> Plan:
    """Raises TransactionError for what a handler can't say."""
    plan = _plans.get(sql)
    if plan is None:
        plan = read(sql)
        if len(_plans) >= MAX_KEPT:
            _plans.clear()
        _plans[sql] = plan
    return plan


def _planned(sql: str, params: dict[str, Any]) -> tuple[Plan, Arguments]:
    plan = plan_of(sql)
    try:
        return plan, plan.arguments(params)
    except KeyError as error:
        raise misfit(sql, error) from error
