"""Events on their way out: encoded once, when they are published, so that a bad one fails where it was made."""

from __future__ import annotations

from collections.abc import Iterator

from onward.errors import EncodeError
from onward.events import EventType, encode_error, event_type
from onward.ports import Outgoing
from onward.telemetry import stamp

MAX_EVENT_BYTES = 1 << 20

_new = tuple.__new__
_types: dict[type, EventType] = {}


def encode(event: object, extra: bytes | None = None) -> Outgoing:
    """One event as it goes out. Raises DeclarationError for what is no event, EncodeError for what can't be written."""
    cls = type(event)
    kind = _types.get(cls)
    if kind is None:
        kind = _types[cls] = event_type(cls)
    try:
        value = kind.encode(event)
    except Exception as error:
        raise encode_error(kind, event, error) from error
    if len(value) > MAX_EVENT_BYTES:
        raise EncodeError(
            f"An event of type {kind.type!r} is {len(value):,} bytes as JSON and may be {MAX_EVENT_BYTES:,}: nothing"
            " was published. Keep large content elsewhere and publish where it is.",
            type=kind.type,
            size_bytes=len(value),
        )
    if extra is None and stamp.extensions is not None:
        extra = stamp.extensions()
    # What Outgoing(…) does, without the call of its Python __new__: a third of the time here.
    return _new(Outgoing, (kind.topic, kind.type, kind.version, value, kind.key_of(event), extra, None, None))


def flatten(returned: object) -> Iterator[object]:
    """The events in what a handler returned: one, or a list or tuple of them (None inside is nobody)."""
    if isinstance(returned, (list, tuple)):
        for item in returned:
            if item is not None:
                yield item
    else:
        yield returned
