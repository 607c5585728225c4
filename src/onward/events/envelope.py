"""What travels beside an event: its identity and place, as CloudEvents 1.0 names them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from types import MappingProxyType

import msgspec

from onward.errors import EncodeError

MAX_EXTENSIONS = 32
MAX_EXTENSION_BYTES = 4096
MAX_HEADERS_READ = 128
MAX_ATTRIBUTE_BYTES = 1024
CONTENT_TYPE = b"application/json"
_PREFIX = "ce_"
_EXTENSION_NAME = re.compile(r"[a-z0-9]{1,20}")
_OWN = frozenset({"specversion", "id", "source", "type", "time", "dataversion", "data", "datacontenttype"})
_VERSION = re.compile(r"[0-9]{1,7}")
_NONE: Mapping[str, str] = MappingProxyType({})


class Envelope(msgspec.Struct, frozen=True, kw_only=True):
    """One event's identity and place. The event itself is not in it: the message is not the delivery."""

    id: str  # with source, unique among all events ever; a UUIDv7 if onward gave it
    source: str  # who produced it: for onward the name of the service
    type: str
    version: int
    topic: str
    partition: int
    offset: int | None  # None where the broker has none
    key: str | None
    time: datetime  # aware, UTC: when it was published
    extensions: Mapping[str, str] = _NONE  # such as traceparent


class Attributes(msgspec.Struct, frozen=True, kw_only=True):
    """What the headers of a message say, from whomever it came. None: not said, or not readable."""

    id: str | None = None
    source: str | None = None
    type: str | None = None
    version: int | None = 1  # 1 where nothing is said, None where what is said is no version
    time: datetime | None = None
    extensions: Mapping[str, str] = _NONE


def headers_of(
    event_type: str, version: int, *, id: bytes, source: bytes, time: bytes, extensions: Mapping[str, str] = _NONE
) -> list[tuple[str, bytes]]:
    """CloudEvents binary-mode headers, as on Kafka; EncodeError if an extension can't be one.

    Type and version stand first, so that who routes by them need not look at the others.
    """
    written = [
        (_PREFIX + "type", event_type.encode()),
        (_PREFIX + "dataversion", b"%d" % version),
        (_PREFIX + "specversion", b"1.0"),
        (_PREFIX + "id", id),
        (_PREFIX + "source", source),
        (_PREFIX + "time", time),
        ("content-type", CONTENT_TYPE),
    ]
    if extensions:
        check_extensions(extensions)
        written += [(_PREFIX + name, value.encode()) for name, value in extensions.items()]
    return written


def from_headers(headers: Iterable[tuple[str, bytes | None]]) -> Attributes:
    """Read CloudEvents binary-mode headers; never raises, whatever is in them.

    The first header of a name counts. Looked at are the first 128 headers, attributes to 1,024 bytes, and 32
    extensions to 4,096 bytes each; what is beyond that, or is not UTF-8, is as if it were absent.
    """
    said: dict[str, str | None] = {}
    extensions: dict[str, str] = {}
    for _, (header, value) in zip(range(MAX_HEADERS_READ), headers, strict=False):
        name = header.lower()
        if not name.startswith(_PREFIX) or value is None:
            continue
        name = name.removeprefix(_PREFIX)
        if name in _OWN:
            said.setdefault(name, _text(value, MAX_ATTRIBUTE_BYTES))
        elif _EXTENSION_NAME.fullmatch(name) and name not in extensions and len(extensions) < MAX_EXTENSIONS:
            text = _text(value, MAX_EXTENSION_BYTES)
            if text is not None:
                extensions[name] = text
    return Attributes(
        id=said.get("id") or None,
        source=said.get("source") or None,
        type=said.get("type") or None,
        version=_version(said["dataversion"]) if "dataversion" in said else 1,
        time=_time(said.get("time")),
        extensions=MappingProxyType(extensions) if extensions else _NONE,
    )


def check_extensions(extensions: Mapping[str, str]) -> None:
    """EncodeError unless these can travel as CloudEvents extension attributes, by name, count and size."""
    if len(extensions) > MAX_EXTENSIONS:
        raise EncodeError(
            f"An event has {len(extensions)} extension attributes; {MAX_EXTENSIONS} is the most. Nothing was "
            f"published. Put data into the event's fields."
        )
    for name, value in extensions.items():
        if not _EXTENSION_NAME.fullmatch(name) or name in _OWN:
            raise EncodeError(
                f"An event has an extension attribute named {name!r}. Nothing was published. Name it with 1 "
                f"to 20 of a-z and 0-9, and not as CloudEvents names an attribute of its own.",
                extension=name,
            )
        if not _fits(value):
            raise EncodeError(
                f"The extension attribute {name!r} is over {MAX_EXTENSION_BYTES} bytes, or has half a "
                f"surrogate pair in it. Nothing was published. Put data into the event's fields.",
                extension=name,
            )


def _fits(value: str) -> bool:
    try:
        return len(value.encode()) <= MAX_EXTENSION_BYTES
    except UnicodeEncodeError:
        return False


def _text(value: bytes, most_bytes: int) -> str | None:
    if len(value) > most_bytes:
        return None
    try:
        return bytes(value).decode()
    except UnicodeDecodeError:
        return None


def _version(text: str | None) -> int | None:
    if text is None or not _VERSION.fullmatch(text):
        return None
    return int(text) or None


def _time(text: str | None) -> datetime | None:
    try:
        found = datetime.fromisoformat(text or "")
        return found.astimezone(UTC) if found.tzinfo else None
    except (ValueError, OverflowError):
        return None
