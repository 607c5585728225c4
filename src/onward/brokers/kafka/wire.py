"""Events as Kafka messages: plain JSON in the value, CloudEvents 1.0 attributes in the headers (binary mode).

A record is `(offset, tag, value, key, headers, number, timestamp, epoch)`. The tag is the bytes of the type where the
version is 1, so that where onward wrote the headers none but the first are looked at; the number is the header of a
relay, or None. It holds nothing that the garbage collector has to follow: thousands of records wait, and their
messages, with a list of pairs each, cost more to follow than to read. So `headers` are names and values by turns.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from itertools import chain
from operator import itemgetter
from typing import Any, NamedTuple

import msgspec
from confluent_kafka import TIMESTAMP_NOT_AVAILABLE, Message

from onward import ids
from onward.errors import DecodeError, MessageError
from onward.events import Envelope, from_headers, headers_of
from onward.ports import Alike, Outgoing, Record, Repeated, WireType
from onward.relay import Kind

NO_TYPE = b""
NUMBER = "onward-number"
NUMBER_AT = 2  # the place of that header, behind type and version
SOURCE_UNSAID = "kafka"
MOST_KINDS = 1_000
EPOCH = 7  # where a record has the epoch of the leader who wrote it

_TYPE = "ce_type"
_ID = "ce_id"
_ID_AT = 3  # behind type, version and the version of CloudEvents
_TIME = "ce_time"
_TIME_AT = 5  # behind the source
_SECOND = ("ce_dataversion", b"1")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

_kind_of = itemgetter(1, 2, 5, 6, 7)  # type, version, extra, id and source

Headers = list[tuple[str, str | bytes | None]]  # as the client library wants them: ours are all bytes


class Versioned(NamedTuple):
    """The tag of a record that says a version other than 1, or what is none."""

    type: bytes
    version: int | None


class TooLarge(NamedTuple):
    """The tag of a record whose value was cut to `limit` bytes."""

    tag: Hashable
    limit: int


def records(messages: Iterable[Message], limit: int) -> tuple[dict[int, list[Record]], list[Message]]:
    """Records by partition, in order, and the messages that are none but tell of something."""
    found: dict[int, list[Record]] = {}
    told: list[Message] = []
    current = -1
    add: Callable[[Any], None] = told.append
    for message in messages:
        if message.error() is not None:
            told.append(message)
            continue
        partition: Any = message.partition()
        if partition != current:
            current = partition
            add = found.setdefault(partition, []).append
        tag: Any = NO_TYPE
        number: Any = None
        flat: tuple[Any, ...] = ()
        try:
            headers: Any = message.headers()
            if headers:
                name, tag = headers[0]
                if name != _TYPE or not tag or len(headers) == 1 or headers[1] != _SECOND:
                    tag = _tag(headers)
                if len(headers) > NUMBER_AT and headers[NUMBER_AT][0] == NUMBER:
                    number = headers[NUMBER_AT][1]
                flat = tuple(chain.from_iterable(headers))
                message.set_headers(None)  # type: ignore[arg-type]  # or the batch's pairs are followed until its end
        except SystemError:  # a header's name that is not UTF-8: the library can't give any of them
            tag = NO_TYPE
        value = message.value()
        if value is not None and len(value) > limit:
            tag, value = TooLarge(tag, limit), value[:limit]
        key: Any = message.key()
        if key is not None:
            try:
                key = key.decode()
            except UnicodeDecodeError:
                key = key.decode(errors="backslashreplace")
        add((message.offset(), tag, value, key, flat, number, message.timestamp(), message.leader_epoch()))
    return found, told


def _tag(headers: list[tuple[str, bytes | None]]) -> Hashable:
    """Anybody's headers. A type that can't be read is as if it were not said."""
    said = from_headers(headers)
    if said.type is None:
        return NO_TYPE
    written = said.type.encode()
    return written if said.version == 1 else Versioned(written, said.version)


def wire_type(tag: Hashable) -> WireType:
    if isinstance(tag, Repeated):
        return wire_type(tag.tag)
    if isinstance(tag, TooLarge):
        return wire_type(tag.tag)._replace(fault=_too_large(tag.limit))
    if isinstance(tag, Versioned):
        return WireType(_text(tag.type), tag.version or 1, None if tag.version else _no_version())
    assert isinstance(tag, bytes)
    return WireType(_text(tag), 1)


def _text(written: bytes) -> str:
    """A type as `from_headers` would read it: "" where it can't be."""
    return from_headers([(_TYPE, written)]).type or ""


def envelope(topic: str, partition: int, record: Record, identity: str) -> Envelope:
    """What the headers say, and for what they don't: the place as id, the time that Kafka noted, no source."""
    offset, tag, _, key, flat, _, timestamp, _ = record
    said = from_headers(zip(flat[::2], flat[1::2], strict=True))
    wire = wire_type(tag)
    return Envelope(
        id=said.id or f"{identity}/{partition}/{offset}",
        source=said.source or SOURCE_UNSAID,
        type=wire.type,
        version=wire.version,
        topic=topic,
        partition=partition,
        offset=offset,
        key=key,
        time=said.time or _noted(*timestamp),
        extensions=said.extensions,
    )


def headers(event: Outgoing, new_id: bytes, source: str, time: bytes) -> Headers:
    """`new_id`, 16 bytes or text, is the id of an event that has none yet.

    One without a type says neither type nor version.
    """
    written: Headers = list(
        headers_of(
            event.type,
            event.version,
            id=_id(event.id or new_id),
            source=(event.source or source).encode(),
            time=time,
            extensions=msgspec.json.decode(event.extra, type=dict[str, str]) if event.extra else {},
        )
    )
    return written if event.type else written[2:]


class Headings:
    """Headers of events, MOST_KINDS kinds remembered: those of one kind differ in no more than their ids and times."""

    def __init__(self) -> None:
        self._kinds: dict[tuple[str, int, str], Headers] = {}

    def of(self, event: Outgoing, new_id: bytes, source: str, time: bytes) -> Headers:
        """As `headers`, a list of its own."""
        if event.extra or not event.type:
            return headers(event, new_id, source, time)
        kind = (event.type, event.version, event.source or source)
        found = self._kinds.get(kind)
        if found is None:
            if len(self._kinds) >= MOST_KINDS:
                self._kinds.clear()
            found = self._kinds[kind] = headers(event, new_id, source, time)
        written = found.copy()
        written[_ID_AT] = (_ID, _id(event.id or new_id))
        written[_TIME_AT] = (_TIME, time)
        return written

    def of_all(
        self, events: Sequence[Outgoing], new_ids: Iterable[bytes], source: str, time: bytes
    ) -> Iterator[Headers]:
        """`of` for each, `new_ids` in text. Quicker for many of one kind that have no ids yet."""
        if isinstance(events, Alike) or len(set(map(_kind_of, events))) == 1:
            event = events[0]
            if event.type and not event.extra and event.id is None:
                first, second, third, _, by, when, content = self.of(event, b"", source, time)
                return ([first, second, third, (_ID, new_id), by, when, content] for new_id in new_ids)
        return (self.of(event, new_id, source, time) for event, new_id in zip(events, new_ids, strict=True))


def numbered(
    kinds: Iterable[Kind],
    extras: Iterable[bytes | None],
    id_texts: Iterable[bytes],
    times: Iterable[bytes],
    numbers: Iterable[bytes],
) -> Iterator[Headers]:
    """As `headers`, with a relay's number, of events that come by columns. Each is made when it is asked for."""
    plain: dict[Kind, tuple[Headers, int, int, int]] = {}
    current: Kind | None = None
    template: Headers = []
    number_at = id_at = time_at = 0
    for kind, extra, id_text, time, number in zip(kinds, extras, id_texts, times, numbers, strict=False):
        if extra:
            yield _numbered(kind, extra, id_text, time, number)
            continue
        if kind is not current:
            if kind not in plain:
                plain[kind] = _template(kind)
            current, (template, number_at, id_at, time_at) = kind, plain[kind]
        written = template.copy()
        written[number_at] = (NUMBER, number)
        written[id_at] = (_ID, id_text)
        written[time_at] = (_TIME, time)
        yield written


def _numbered(kind: Kind, extra: bytes | None, id_text: bytes, time: bytes, number: bytes) -> Headers:
    event = Outgoing(kind.topic, kind.type, kind.version, None, None, extra)
    written = headers(event, id_text, kind.source, time)
    written.insert(NUMBER_AT, (NUMBER, number))
    return written


def _template(kind: Kind) -> tuple[Headers, int, int, int]:
    """Of what has no extensions; and the places of number, id and time, by which events of a kind differ."""
    written = _numbered(kind, None, b"", b"", b"")
    names = [name for name, _ in written]
    return written, names.index(NUMBER), names.index(_ID), names.index(_TIME)


def moment(micros: int) -> bytes:
    """A time since the epoch, as headers have it."""
    seconds, rest = divmod(micros, 1_000_000)
    return b"%s.%06dZ" % (_second(seconds), rest) if rest else _second(seconds) + b"Z"


@lru_cache(maxsize=16)
def _second(seconds: int) -> bytes:
    return datetime.fromtimestamp(seconds, UTC).replace(tzinfo=None).isoformat().encode()


def id_texts(written: bytes | Sequence[bytes]) -> list[bytes]:
    """Ids as headers have them: of 16 bytes each, one behind the other, or of any length."""
    return ids.texts(written) if isinstance(written, bytes) else list(map(_id, written))


def _id(written: bytes) -> bytes:
    return ids.text(written).encode() if len(written) == 16 else written


def _noted(kind: int, millis: int) -> datetime:
    return _EPOCH if kind == TIMESTAMP_NOT_AVAILABLE else _EPOCH + timedelta(milliseconds=millis)


def _too_large(limit: int) -> MessageError:
    return DecodeError(
        f"A message has more than {limit:,} bytes, the most that is taken; the dead letter keeps its first {limit:,}."
        " Have the producer keep large content elsewhere, or raise max_value_bytes in ONWARD_BROKER."
    )


def _no_version() -> MessageError:
    return DecodeError(
        "A message's header ce_dataversion is no whole number from 1 on, so it can't be told which version of its type"
        " it is. Have the producer send the number, or leave the header out for version 1."
    )
