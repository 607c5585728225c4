"""Events on their way out: encoded once, when they are published, so that a bad one fails where it was made."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence

from onward.errors import DeclarationError, EncodeError
from onward.events import EventType, encode_error, event_type
from onward.ports import Alike, Outgoing
from onward.telemetry import stamp

MAX_EVENT_BYTES = 1 << 20

_new = tuple.__new__
_writers: dict[type, Callable[[object, bytes | None], Outgoing]] = {}


def encode(event: object, extra: bytes | None = None) -> Outgoing:
    """One event as it goes out.

    Raises DeclarationError for what is no event, EncodeError for one that can't be written or not be read again.
    """
    cls = type(event)
    write = _writers.get(cls)
    if write is None:
        write = _writers[cls] = _writer(event_type(cls))
    return write(event, extra)


def encode_all(events: Sequence[object]) -> Sequence[Outgoing]:
    """`encode` of each, in their order, and none if one of them is refused; by columns where all are of one class."""
    if len(events) > 1 and len(set(map(type, events))) == 1:
        kind = event_type(type(events[0]))
        try:
            values = list(map(kind.encode, events))
            deque(map(kind.check, events, values), maxlen=0)
            if max(map(len, values)) <= MAX_EVENT_BYTES:
                extra = stamp.extensions() if stamp.extensions is not None else None
                return Alike(kind.topic, kind.type, kind.version, values, list(map(kind.key_of, events)), extra)
        except Exception:  # noqa: BLE001, S110 - whichever it is, one after the other finds it and names it
            pass
    return [encode(event) for event in events]


def _writer(kind: EventType) -> Callable[[object, bytes | None], Outgoing]:
    topic, name, version = kind.topic, kind.type, kind.version
    to_json, check, key_of = kind.encode, kind.check, kind.key_of

    def write(event: object, extra: bytes | None) -> Outgoing:
        try:
            value = to_json(event)
            check(event, value)
        except Exception as error:
            raise encode_error(kind, event, error) from error
        if len(value) > MAX_EVENT_BYTES:
            raise EncodeError(
                f"An event of type {name!r} is {len(value):,} bytes as JSON and may be {MAX_EVENT_BYTES:,}: nothing"
                " was published. Keep large content elsewhere and publish where it is.",
                type=name,
                size_bytes=len(value),
            )
        if extra is None and stamp.extensions is not None:
            extra = stamp.extensions()
        # What Outgoing(…) does, without the call of its Python __new__: a third of the time here.
        return _new(Outgoing, (topic, name, version, value, key_of(event), extra, None, None, None))

    return write


def put_off(events: Sequence[Outgoing], due: int | None) -> Sequence[Outgoing]:
    """The same events, due at that time; None is at once."""
    return events if due is None else [event._replace(due=due) for event in events]


def encode_returned(returned: object, outputs: list[Outgoing]) -> None:
    """Add what a handler returned: an event, several in a list or tuple (None inside is nobody), or None.

    Raises DeclarationError for what is no event, and EncodeError.
    """
    write = _writers.get(type(returned))
    if write is not None:
        outputs.append(write(returned, None))
        return
    try:
        if isinstance(returned, (list, tuple)):
            outputs.extend(encode(each) for each in returned if each is not None)
        elif returned is not None:
            outputs.append(encode(returned))
    except DeclarationError as error:
        raise DeclarationError(
            f"A handler returned what can't be published: {error} It may return an event, a list of events, or None."
        ) from error
