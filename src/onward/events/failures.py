"""A codec's failure as our error: which event type, which field, and the beginning of the bytes."""

from __future__ import annotations

import re
from typing import Any

from onward.errors import DecodeError, EncodeError
from onward.events.event_types import EventType

EXCERPT_BYTES = 200
_MSGSPEC_PATH = re.compile(r" - at `(?P<path>[^`]*)`$")


def decode_error(event_type: EventType, value: bytes, error: Exception) -> DecodeError:
    """The DecodeError to raise `from error` when `event_type.decode(value)` raised it."""
    reason, path = _reason_and_path(error)
    failure = DecodeError(
        f"A message is not the {event_type.type} version {event_type.version} that it claims to be: "
        f"{reason} at {path}. It becomes a dead letter with its bytes kept. Correct the producer, or the "
        f"field's type in {event_type.cls.__qualname__}, then retry it. It begins: {_excerpt(value)}",
        type=event_type.type,
        version=event_type.version,
        path=path,
        value_bytes=len(value),
    )
    failure.__cause__ = error
    return failure


def encode_error(event_type: EventType, event: object, error: Exception) -> EncodeError:
    """The EncodeError to raise `from error` when `event_type.encode(event)` or `check` raised it."""
    shown = repr(event)
    if len(shown) > EXCERPT_BYTES:
        shown = shown[:EXCERPT_BYTES] + "…"
    reason, path = _reason_and_path(error)
    failure = EncodeError(
        f"A {event_type.type} can't be written as JSON that reads back as one: {reason} at {path}. Nothing was "
        f"published. Give each field a value of its declared type: {shown}",
        type=event_type.type,
        version=event_type.version,
        path=path,
    )
    failure.__cause__ = error
    return failure


def _reason_and_path(error: Any) -> tuple[str, str]:
    """Pydantic keeps the place of the first error apart; msgspec ends its sentence with it."""
    if hasattr(error, "errors") and hasattr(error, "error_count"):
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        return str(first["msg"]), ".".join(["$", *map(str, first["loc"])])
    text = str(error)
    found = _MSGSPEC_PATH.search(text)
    if found is None:
        return text or type(error).__name__, "$"
    return text[: found.start()], found["path"]


def _excerpt(value: bytes) -> str:
    shown = repr(value[:EXCERPT_BYTES].decode("utf-8", "replace"))
    return shown if len(value) <= EXCERPT_BYTES else f"{shown}… ({len(value)} bytes)"
