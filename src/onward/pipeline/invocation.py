"""A handler made ready to call: its parameters filled by a plan made once, sync functions adapted, middleware around.

`direct` is set for the common shape, `async def handler(event, tx)`, with nothing around it: the batch loop then
calls the user's function itself.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from dataclasses import dataclass
from functools import partial
from typing import Any

from onward.pipeline.context import Context
from onward.pipeline.handlers import Handler, HandlerKind, Slot, check_filled
from onward.pipeline.pace import Pace
from onward.pipeline.sessions import sessions
from onward.ports import Transaction, Unit

TX = "onward_tx"  # no parameter of a handler's

CallNext = Callable[[], Awaitable[Any]]
Middleware = Callable[[Any, Context, CallNext], Awaitable[Any]]


@dataclass(frozen=True, slots=True)
class Bound:
    """A handler with its resources. `call(event, unit, ctx)` runs it; `ctx` may be None unless `wants_context`."""

    handler: Handler
    call: Callable[[Any, Unit | None, Context | None], Awaitable[Any]]
    direct: Callable[[Any, Transaction], Awaitable[Any]] | None
    wants_context: bool
    pace: Pace | None = None  # of all its calls in this process, whatever the topic


def bind(handler: Handler, resources: Mapping[Any, Any], middleware: Sequence[Middleware]) -> Bound:
    """Raises DeclarationError for a parameter that no resource fills."""
    check_filled(handler, resources)
    call = _around(middleware, _call(handler, resources))
    shape = [parameter.slot for parameter in handler.parameters]
    direct = handler.is_async and not middleware and shape == [Slot.EVENT, Slot.TX]
    return Bound(
        handler=handler,
        call=call,
        direct=handler.function if direct else None,
        wants_context=bool(middleware) or Slot.CONTEXT in shape,
        pace=Pace(handler.calls_per_s) if handler.calls_per_s is not None else None,
    )


def _call(
    handler: Handler, resources: Mapping[Any, Any]
) -> Callable[[Any, Unit | None, Context | None], Awaitable[Any]]:
    fixed: dict[str, Any] = {}
    tx_name = context_name = session_name = None
    for parameter in handler.parameters[1:]:
        if parameter.slot is Slot.TX:
            tx_name = parameter.name
        elif parameter.slot is Slot.SESSION:
            session_name = parameter.name
        elif parameter.slot is Slot.CONTEXT:
            context_name = parameter.name
        else:
            fixed[parameter.name] = resources[parameter.wants]
    function = handler.function
    if session_name is not None:
        function = (_with_async_session if handler.is_async else _with_session)(function, session_name, tx_name)
        tx_name = tx_name or TX
    threads: ThreadPoolExecutor | None = None
    if not handler.is_async and handler.kind is HandlerKind.PLAIN:
        # The loop's own pool has a few threads per core, and would cut the declared concurrency down to that.
        threads = ThreadPoolExecutor(handler.concurrency, thread_name_prefix=f"onward-{handler.name}")

    async def call(event: Any, unit: Unit | None, context: Context | None) -> Any:
        arguments = dict(fixed)
        if context_name is not None:
            arguments[context_name] = context
        if tx_name is not None:
            assert unit is not None
            if not handler.is_async:
                return await unit.run_sync(lambda tx: function(event, **arguments, **{tx_name: tx}))
            arguments[tx_name] = unit.tx
        if threads is not None:
            work = partial(copy_context().run, _stepped, function, event, arguments)
            return await asyncio.get_running_loop().run_in_executor(threads, work)
        result = function(event, **arguments)
        return await result if handler.is_async else result

    return call


def _with_session(function: Callable[..., Any], name: str, tx_name: str | None) -> Callable[..., Any]:
    """The function with a session on the transaction that it is called with, which it may ask for too."""
    session_on = sessions().session_on

    def call(event: Any, **arguments: Any) -> Any:
        tx = arguments[tx_name] if tx_name is not None else arguments.pop(TX)
        with session_on(tx) as session:
            return function(event, **arguments, **{name: session})

    return call


def _with_async_session(function: Callable[..., Any], name: str, tx_name: str | None) -> Callable[..., Any]:
    """`_with_session` for `async def`."""
    session_on = sessions().async_session_on

    async def call(event: Any, **arguments: Any) -> Any:
        tx = arguments[tx_name] if tx_name is not None else arguments.pop(TX)
        async with session_on(tx) as session:
            return await function(event, **arguments, **{name: session})

    return call


def _stepped(function: Callable[..., Any], event: Any, arguments: dict[str, Any]) -> Any:
    """The call in its thread; a future can't carry a StopIteration, and would never be done."""
    try:
        return function(event, **arguments)
    except StopIteration as error:
        raise RuntimeError("the handler raised StopIteration") from error


def is_cancelled() -> bool:
    """Whether somebody asked the running task to end; else a CancelledError is a failure like any other.

    A handler raises one by itself when it awaits what somebody else cancelled.
    """
    task = asyncio.current_task()
    return task is None or task.cancelling() > 0


def _around(
    middleware: Sequence[Middleware], call: Callable[[Any, Unit | None, Context | None], Awaitable[Any]]
) -> Callable[[Any, Unit | None, Context | None], Awaitable[Any]]:
    """The onion, first middleware outermost."""
    for layer in reversed(middleware):
        call = _wrapped(layer, call)
    return call


def _wrapped(
    layer: Middleware, inner: Callable[[Any, Unit | None, Context | None], Awaitable[Any]]
) -> Callable[[Any, Unit | None, Context | None], Awaitable[Any]]:
    async def call(event: Any, unit: Unit | None, context: Context | None) -> Any:
        assert context is not None
        return await layer(event, context, lambda: inner(event, unit, context))

    return call
