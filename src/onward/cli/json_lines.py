"""JSON lines as events: what a line must be, and the sentence for one that is not."""

from __future__ import annotations

from dataclasses import dataclass

import msgspec

from onward.events.keys import MAX_KEY_BYTES
from onward.outgoing import MAX_EVENT_BYTES
from onward.ports import Outgoing


@dataclass(frozen=True, slots=True)
class LineForm:
    """How each line becomes an event: `type` "" names none, `key` is a field's name."""

    topic: str
    type: str
    version: int
    key: str | None


def outgoing(line: bytes, form: LineForm) -> Outgoing:
    """The event of one line, its bytes as they are. Raises ValueError with the reason."""
    value = line.strip()
    if len(value) > MAX_EVENT_BYTES:
        raise ValueError(f"it is {len(value):,} bytes long, and {MAX_EVENT_BYTES:,} is the most")
    try:
        found = msgspec.json.decode(value)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"it is not JSON: {error}") from error
    if not isinstance(found, dict):
        raise ValueError(f"it is a JSON {_kind(found)}, and an event is an object")
    key = None if form.key is None else _key(found, form.key)
    return Outgoing(form.topic, form.type, form.version, value, key)


def _key(found: dict[str, object], name: str) -> str | None:
    if name not in found:
        raise ValueError(f"it has no field {name!r} to take the key from")
    key = found[name]
    if key is None:
        return None
    if isinstance(key, bool) or not isinstance(key, (str, int)):
        raise ValueError(f"its key field {name!r} is a JSON {_kind(key)}, and a key is text or a whole number")
    text = str(key)
    if len(text.encode("utf-8", "surrogatepass")) > MAX_KEY_BYTES:
        raise ValueError(f"its key is over {MAX_KEY_BYTES} bytes long")
    return text


def _kind(value: object) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return "boolean"
        case int() | float():
            return "number"
        case str():
            return "string"
        case list():
            return "array"
    return "object"
