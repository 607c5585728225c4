"""What a handler is, read off its signature when it is declared.

A wrong signature fails here, at import of the user's module, with a sentence that says what to change.
"""

import inspect
import types
import typing
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from typing import Annotated, Any, get_args, get_origin

from onward.errors import DeclarationError
from onward.events import EventType, event_type
from onward.pipeline.context import Context
from onward.pipeline.pace import calls_per_s
from onward.pipeline.sessions import check_session, session_kind
from onward.policy import AfterLast, Retry
from onward.ports import SyncTransaction, Transaction

MAX_CONCURRENCY = 1000
DEFAULT_CONCURRENCY = 10

Start = str | datetime  # "now", "earliest", or an aware time


class HandlerKind(Enum):
    """How a handler runs; told apart by what it asks for."""

    TRANSACTIONAL = "transactional"  # event + tx: in partition order, many events per store transaction
    BATCH = "batch"  # list of events + tx: once per batch
    PLAIN = "plain"  # neither: concurrently across keys, in order per key


class Slot(Enum):
    """What a parameter of a handler is filled with."""

    EVENT = "event"
    TX = "tx"
    SESSION = "session"
    CONTEXT = "context"
    RESOURCE = "resource"


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter: its slot and, for a resource, the type or name it is found by."""

    name: str
    slot: Slot
    wants: Any = None


@dataclass(frozen=True, slots=True)
class Handler:
    """A declared handler; `name` is its identity in the store."""

    name: str
    kind: HandlerKind
    function: Callable[..., Any]
    is_async: bool
    event_types: tuple[EventType, ...]
    outputs: tuple[EventType, ...]
    parameters: tuple[Parameter, ...]
    start: Start
    retry: Retry
    fatal: tuple[type[BaseException], ...]
    concurrency: int
    alone: bool
    calls_per_s: float | None = None  # at most, in one process; None = as they come
    after_last: AfterLast = AfterLast.SKIP

    @property
    def blocks(self) -> bool:
        """Whether an event that it gives up holds up those of its key."""
        return self.after_last is AfterLast.BLOCK

    @property
    def topics(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(event.topic for event in self.event_types))

    @property
    def start_text(self) -> str:
        return self.start if isinstance(self.start, str) else self.start.isoformat()


@dataclass(frozen=True, slots=True)
class Options:
    """What `@app.on(…)` may say beside the events."""

    name: str | None = None
    start: Start = "earliest"
    retry: Retry = Retry()
    fatal: tuple[type[BaseException], ...] = ()
    concurrency: int = DEFAULT_CONCURRENCY
    alone: bool = False
    rate_limit: str | float | None = None
    after_last: str = AfterLast.SKIP


def read_handler(function: Callable[..., Any], events: Sequence[type], options: Options) -> Handler:
    """Turn a function into a Handler. Raises DeclarationError."""
    where = f"{function.__module__}.{function.__qualname__}"
    parameters, listed, annotated = _parameters(function, where)
    event_classes = tuple(events) or annotated
    if not event_classes:
        raise DeclarationError(
            f"{where} says for no event what it handles: write @app.on(SomeEvent), or annotate its first parameter."
        )
    found = tuple(_event_type(cls, where) for cls in event_classes)
    _check_annotation(where, event_classes, annotated)
    kind = _kind(where, parameters, listed)
    _check_options(where, options, kind)
    rate = _rate(where, options, kind)
    is_async = inspect.iscoroutinefunction(function)
    _check_transaction(where, function, parameters, is_async)
    return Handler(
        name=options.name or function.__name__,
        kind=kind,
        function=function,
        is_async=is_async,
        event_types=found,
        outputs=_outputs(function, where),
        parameters=parameters,
        start=options.start,
        retry=options.retry,
        fatal=tuple(options.fatal),
        concurrency=options.concurrency,
        alone=options.alone,
        calls_per_s=rate,
        after_last=_after_last(where, options, found),
    )


def check_filled(handler: Handler, given: Collection[Any]) -> None:
    """Raises DeclarationError for a parameter that asks for none of the types and names that resources give."""
    for parameter in handler.parameters:
        if parameter.slot is Slot.RESOURCE and parameter.wants not in given:
            known = ", ".join(sorted(getattr(key, "__name__", repr(key)) for key in given)) or "none"
            wanted = getattr(parameter.wants, "__name__", repr(parameter.wants))
            raise DeclarationError(
                f"Handler {handler.name!r} asks for {parameter.name!r} ({wanted}), which no resource of the App gives"
                f" (it has: {known}). Add an async generator that yields it, and says so by its return annotation such"
                f" as AsyncIterator[{wanted}], to App(resources=[…])."
            )


def _hints(function: Callable[..., Any], where: str) -> dict[str, Any]:
    try:
        return typing.get_type_hints(function, include_extras=True)
    except NameError as error:
        raise DeclarationError(
            f"{where} has an annotation that can't be resolved ({error}): import that name at the top of the module,"
            " not under TYPE_CHECKING."
        ) from error


def _parameters(function: Callable[..., Any], where: str) -> tuple[tuple[Parameter, ...], bool, tuple[type, ...]]:
    hints = _hints(function, where)
    found: list[Parameter] = []
    listed = False
    event_classes: tuple[type, ...] = ()
    for position, (name, parameter) in enumerate(inspect.signature(function).parameters.items()):
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            raise DeclarationError(f"{where} takes *args or **kwargs: name what it needs, each with its type.")
        hint = hints.get(name)
        if hint is Transaction or hint is SyncTransaction:
            found.append(Parameter(name, Slot.TX, hint))
        elif (session := session_kind(hint)) is not None:
            found.append(Parameter(name, Slot.SESSION, session))
        elif hint is Context:
            found.append(Parameter(name, Slot.CONTEXT))
        elif position == 0:
            listed, event_classes = _events_of(hint)
            found.append(Parameter(name, Slot.EVENT))
        elif hint is None:
            raise DeclarationError(
                f"{where}: parameter {name!r} has no type. Use Transaction, Context, or the type of a resource."
            )
        else:
            found.append(Parameter(name, Slot.RESOURCE, _resource_key(hint)))
    slots = [parameter.slot for parameter in found]
    if Slot.EVENT not in slots or slots[0] is not Slot.EVENT:
        raise DeclarationError(f"{where}: the first parameter is the event, for example `order: OrderPlaced`.")
    if max(slots.count(slot) for slot in (Slot.TX, Slot.SESSION, Slot.CONTEXT)) > 1:
        raise DeclarationError(f"{where} asks for the transaction, the session or the context twice: once is enough.")
    return tuple(found), listed, event_classes


def _resource_key(hint: Any) -> Any:
    if get_origin(hint) is Annotated:
        names = [extra for extra in get_args(hint)[1:] if isinstance(extra, str)]
        return names[0] if names else get_args(hint)[0]
    return hint


def _events_of(hint: Any) -> tuple[bool, tuple[type, ...]]:
    """Whether the annotation is a list, and the event classes it names (none for Any, object or nothing)."""
    if get_origin(hint) is list:
        return True, _events_of(get_args(hint)[0])[1]
    if get_origin(hint) in (typing.Union, types.UnionType):
        return False, tuple(member for member in get_args(hint) if isinstance(member, type))
    if hint in (None, Any, object) or not isinstance(hint, type):
        return False, ()
    return False, (hint,)


def _event_type(cls: type, where: str) -> EventType:
    try:
        return event_type(cls)
    except DeclarationError as error:
        raise DeclarationError(f"{where}: {error}") from error


def _check_annotation(where: str, declared: tuple[type, ...], annotated: tuple[type, ...]) -> None:
    for cls in declared:
        if annotated and not issubclass(cls, annotated):
            names = " | ".join(each.__name__ for each in annotated)
            raise DeclarationError(
                f"{where} is declared for {cls.__name__} but its first parameter says {names}: make them agree."
            )


def _kind(where: str, parameters: tuple[Parameter, ...], listed: bool) -> HandlerKind:
    has_tx = any(parameter.slot in (Slot.TX, Slot.SESSION) for parameter in parameters)
    if listed and not has_tx:
        raise DeclarationError(
            f"{where} takes a list of events: it also needs the transaction, `tx: Transaction`, or a session on it."
        )
    if listed:
        return HandlerKind.BATCH
    return HandlerKind.TRANSACTIONAL if has_tx else HandlerKind.PLAIN


def _check_options(where: str, options: Options, kind: HandlerKind) -> None:
    if not 1 <= options.concurrency <= MAX_CONCURRENCY:
        raise DeclarationError(f"{where}: concurrency is 1 to {MAX_CONCURRENCY}, not {options.concurrency}.")
    start = options.start
    if isinstance(start, datetime):
        if start.tzinfo is None:
            raise DeclarationError(f"{where}: start={start!r} has no time zone: add one, such as timezone.utc.")
    elif start not in ("now", "earliest"):
        raise DeclarationError(f"{where}: start is 'now', 'earliest' or an aware datetime, not {start!r}.")
    if kind is not HandlerKind.PLAIN and options.concurrency != DEFAULT_CONCURRENCY:
        raise DeclarationError(
            f"{where} runs in its transaction, one event after the other: concurrency is for handlers without tx."
        )
    if options.name is not None and not 1 <= len(options.name) <= 200:
        raise DeclarationError(f"{where}: a handler's name has 1 to 200 characters.")
    for kind_of_error in options.fatal:
        if not (isinstance(kind_of_error, type) and issubclass(kind_of_error, Exception)):
            raise DeclarationError(f"{where}: fatal= lists exception classes, not {kind_of_error!r}.")


def _after_last(where: str, options: Options, event_types: Sequence[EventType]) -> AfterLast:
    try:
        after_last = AfterLast(options.after_last)
    except ValueError:
        raise DeclarationError(f"{where}: after_last is 'block' or 'skip', not {options.after_last!r}.") from None
    if after_last is AfterLast.BLOCK and all(each.key is None for each in event_types):
        raise DeclarationError(
            f"{where}: after_last='block' holds up the events of a key, and no event that it handles has one. Give the"
            " event a key, or leave after_last away."
        )
    return after_last


def _rate(where: str, options: Options, kind: HandlerKind) -> float | None:
    if options.rate_limit is None:
        return None
    if kind is not HandlerKind.PLAIN:
        raise DeclarationError(
            f"{where} asks for the transaction, and would hold it open while it waits: rate_limit is for handlers"
            " without a transaction. Take tx away and save what came back in `async with ctx.transaction()`, or leave"
            " the limit away."
        )
    try:
        return calls_per_s(options.rate_limit)
    except ValueError as error:
        raise DeclarationError(f"{where}: {error}.") from error


def _check_transaction(
    where: str, function: Callable[..., Any], parameters: tuple[Parameter, ...], is_async: bool
) -> None:
    if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        raise DeclarationError(f"{where} yields: return an event, or a list of events, instead.")
    check_session(where, next((each.wants for each in parameters if each.slot is Slot.SESSION), None), is_async)
    asked = next((parameter.wants for parameter in parameters if parameter.slot is Slot.TX), None)
    if is_async and asked is SyncTransaction:
        raise DeclarationError(f"{where} is `async def`: ask for `tx: Transaction` and await its verbs.")
    if not is_async and asked is Transaction:
        raise DeclarationError(
            f"{where} is a plain `def`: ask for `tx: SyncTransaction` (no await), or make it `async def`."
        )


def _outputs(function: Callable[..., Any], where: str) -> tuple[EventType, ...]:
    hint = _hints(function, where).get("return")
    if get_origin(hint) is list:
        hint = get_args(hint)[0]
    members = get_args(hint) if get_origin(hint) in (typing.Union, types.UnionType) else (hint,)
    found: list[EventType] = []
    for member in members:
        if get_origin(member) is list:
            member = get_args(member)[0]
        if member in (None, type(None), Any, object) or not isinstance(member, type):
            continue
        try:
            found.append(event_type(member))
        except DeclarationError as error:
            raise DeclarationError(
                f"{where} returns {member.__name__}, which is no event: a handler returns events, a list of them,"
                " or None."
            ) from error
    return tuple(found)
