"""Events by columns, as a row of an outbox holds them and a relay passes them on: what they share is said once."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from itertools import chain, islice, repeat
from operator import attrgetter
from typing import NamedTuple, TypeVar, overload

import msgspec

from onward.ids import split, uuid7_joined
from onward.ports import Outgoing, fields_of

KINDS_KEPT = 256
ID_BYTES = 16


Item = TypeVar("Item")


class Kind(NamedTuple):
    """What many events have in common."""

    topic: str
    type: str
    version: int
    source: str


class Columns(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Events in order, each with an id and a source; when they are due is no part of them.

    A relay goes by the columns, without an object for each event; `events` is for what is rare.
    """

    encoded_kinds: bytes
    """Those that occur. Rows of the same kinds have the same bytes, which are decoded once."""
    which: tuple[int, ...]
    """The place among the kinds of each event's own; empty where there is one kind."""
    keys: tuple[bytes | None, ...]
    values: tuple[bytes | None, ...]
    extras: tuple[bytes | None, ...]
    """Empty where none has any."""
    ids: bytes | tuple[bytes, ...]
    """One behind the other where each has 16 bytes."""

    def __len__(self) -> int:
        return len(self.values)

    @property
    def kinds(self) -> tuple[Kind, ...]:
        return _kinds(self.encoded_kinds)

    @property
    def events(self) -> Sequence[Outgoing]:
        return _Events(self)

    def kind_of_each(self) -> Iterator[Kind]:
        kinds = self.kinds
        return map(kinds.__getitem__, self.which) if self.which else repeat(kinds[0], len(self))

    def topic_of_each(self) -> list[str]:
        topics = [kind.topic for kind in self.kinds]
        return [topics[place] for place in self.which] if self.which else topics * len(self)

    def id_of_each(self) -> Sequence[bytes]:
        return split(self.ids) if isinstance(self.ids, bytes) else self.ids

    def only(self, places: Sequence[int]) -> Columns:
        """The events at these places."""
        encoded = self.encoded_kinds
        which: tuple[int, ...] = ()
        if self.which and places:
            of_each, kinds = self.which, self.kinds
            encoded, which = _told_apart([kinds[of_each[place]] for place in places])
        return Columns(
            encoded,
            which,
            _at(self.keys, places),
            _at(self.values, places),
            _at(self.extras, places),
            _joined_if_all_fit(_at(self.id_of_each(), places)),
        )


class _Events(Sequence[Outgoing]):
    """Made when they are asked for."""

    def __init__(self, columns: Columns) -> None:
        self._columns = columns

    def __len__(self) -> int:
        return len(self._columns)

    @overload
    def __getitem__(self, place: int) -> Outgoing: ...
    @overload
    def __getitem__(self, place: slice) -> list[Outgoing]: ...
    def __getitem__(self, place: int | slice) -> Outgoing | list[Outgoing]:
        return list(self)[place]

    def __iter__(self) -> Iterator[Outgoing]:
        ours = self._columns
        rest = zip(ours.values, ours.keys, ours.extras or repeat(None), ours.id_of_each(), strict=False)
        for (topic, name, version, source), (value, key, extra, event_id) in zip(
            ours.kind_of_each(), rest, strict=True
        ):
            yield Outgoing(topic, name, version, value, None if key is None else key.decode(), extra, event_id, source)


def columns_of(events: Sequence[Outgoing], service: str) -> Columns:
    """Of one event or more. One without an id is given one; one without a source comes from this service."""
    topics, names, versions, values, keys, extras, own_ids, sources, _ = fields_of(events)
    sources = tuple([source or service for source in sources]) if any(sources) else (service,) * len(events)
    kinds = zip(topics, names, versions, sources, strict=True)
    alike = len(events) == 1 or max(map(len, map(set, (topics, names, versions, sources)))) == 1
    encoded, which = _told_apart(islice(kinds, 1) if alike else kinds)
    return Columns(
        encoded,
        which,
        tuple([None if key is None else key.encode() for key in keys]),
        values,
        extras if any(extras) else (),
        _ids(own_ids) if any(own_ids) else uuid7_joined(len(events)),
    )


def joined(parts: Sequence[Columns]) -> Columns:
    """One part or more, one after the other."""
    if len(parts) == 1:
        return parts[0]
    encoded, which = _joined_kinds(parts)
    extras: tuple[bytes | None, ...] = ()
    if any(map(_extras_of, parts)):
        extras = tuple(chain.from_iterable(part.extras or repeat(None, len(part)) for part in parts))
    ids = [part.ids for part in parts]
    return Columns(
        encoded,
        which,
        tuple(chain.from_iterable(map(_keys_of, parts))),
        tuple(chain.from_iterable(map(_values_of, parts))),
        extras,
        b"".join(ids)  # type: ignore[arg-type]
        if {*map(type, ids)} == {bytes}
        else tuple(chain.from_iterable(part.id_of_each() for part in parts)),
    )


def _joined_kinds(parts: Sequence[Columns]) -> tuple[bytes, tuple[int, ...]]:
    """Encoded, and of each event the place of its own, where there are several."""
    encoded = parts[0].encoded_kinds
    if len({*map(_encoded_of, parts)}) > 1:
        return _told_apart(chain.from_iterable(part.kind_of_each() for part in parts))
    return encoded, tuple(chain.from_iterable(map(_which_of, parts)))


def _told_apart(kinds: Iterable[tuple[str, str, int, str]]) -> tuple[bytes, tuple[int, ...]]:
    """Those that occur, encoded, and the place of each among them where there are several."""
    found: dict[tuple[str, str, int, str], int] = {}
    which = tuple([found.setdefault(kind, len(found)) for kind in kinds])
    return _encode(list(found)), which if len(found) > 1 else ()


def _ids(own: Sequence[bytes | None]) -> bytes | tuple[bytes, ...]:
    new = split(uuid7_joined(len(own)))
    return _joined_if_all_fit(tuple([mine or made for mine, made in zip(own, new, strict=True)]))


def _joined_if_all_fit(ids: tuple[bytes, ...]) -> bytes | tuple[bytes, ...]:
    return b"".join(ids) if {*map(len, ids)} <= {ID_BYTES} else ids


def _at(column: Sequence[Item], places: Sequence[int]) -> tuple[Item, ...]:
    return tuple([column[place] for place in places]) if column else ()


_encode = msgspec.msgpack.Encoder().encode
_kinds = lru_cache(KINDS_KEPT)(msgspec.msgpack.Decoder(tuple[Kind, ...]).decode)
_encoded_of = attrgetter("encoded_kinds")
_which_of = attrgetter("which")
_keys_of = attrgetter("keys")
_values_of = attrgetter("values")
_extras_of = attrgetter("extras")
