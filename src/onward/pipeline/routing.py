"""Which handlers an event goes to, as data: built once at start, looked up by the record's type tag."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import Any

from onward.errors import DecodeError, MessageError, UnknownTypeError
from onward.events import EventType, decode_error, decoder_for, registry
from onward.pipeline.handlers import HandlerKind
from onward.pipeline.invocation import Bound
from onward.ports import Log, Record, Repeated, WireType

MOST_TAGS = 10_000

_tag_of = itemgetter(1)
_value_of = itemgetter(2)


@dataclass(frozen=True, slots=True)
class Route:
    """Where one wire type and version goes. No handlers means: skipped and counted."""

    event_type: EventType | None
    decode: Callable[[bytes], Any]
    singles: tuple[Bound, ...]
    lists: tuple[Bound, ...]
    others: tuple[str, ...] = ()  # handlers of the subscription that it does not go to
    error: MessageError | None = None  # every event of this type is refused with it

    @property
    def handlers(self) -> tuple[Bound, ...]:
        return self.singles + self.lists

    def open(self, value: bytes | None) -> Any:
        """The event in these bytes. Raises MessageError."""
        if self.error is not None:
            raise self.error.with_traceback(None)  # else it would keep the frames of every event before
        assert self.event_type is not None
        if value is None:
            raise DecodeError(f"A record of type {self.event_type.type!r} has no value: an event needs one.")
        try:
            return self.decode(value)
        except MessageError:
            raise
        except Exception as error:
            raise decode_error(self.event_type, value, error) from error


SKIP = Route(None, bytes, (), ())


class Routes:
    """The routing table of one subscription."""

    def __init__(self, topic: str, handlers: Sequence[Bound], log: Log) -> None:
        self._topic = topic
        self._log = log
        self._by_tag: dict[Hashable, Route] = {}
        self._handlers: dict[tuple[str, int], list[Bound]] = {}
        self._types: dict[str, EventType] = {}
        self.handlers = tuple(bound.handler.name for bound in handlers)
        for bound in handlers:
            for event_type in bound.handler.event_types:
                if event_type.topic != topic:
                    continue
                self._handlers.setdefault((event_type.type, event_type.version), []).append(bound)
                newest = self._types.get(event_type.type)
                if newest is None or newest.version < event_type.version:
                    self._types[event_type.type] = event_type

    def route(self, tag: Hashable) -> Route:
        found = self._by_tag.get(tag)
        if found is None:
            if len(self._by_tag) == MOST_TAGS:  # anybody may write types without end to a topic
                self._by_tag.clear()
            repeated = isinstance(tag, Repeated)
            found = self._by_tag[tag] = SKIP if repeated else self.named(self._log.wire_type(tag))
        return found

    def uniform(self, records: Sequence[Record]) -> tuple[Route, list[Any]] | None:
        """The batch decoded at once, if all records have one type; raises what its decoder raises."""
        tags = set(map(_tag_of, records))
        if len(tags) != 1:
            return None
        route = self.route(tags.pop())
        if route.event_type is None or route.error is not None:
            return None
        return route, list(map(route.decode, map(_value_of, records)))

    def named(self, wire_type: WireType) -> Route:
        """Where events of this type and version go, whatever the broker's tag for it."""
        name, version, fault = wire_type
        if not name:
            if len(self._types) != 1:
                kinds = ", ".join(sorted(self._types)) or "none"
                error = UnknownTypeError(
                    f"A record on topic {self._topic!r} names no event type (header ce_type), and this subscription"
                    f" handles several ({kinds}), so it can't be told which it is. Send the header."
                )
                return self._route(None, bytes, self._any_handlers(), error)
            name, version = next(iter(self._types)), next(iter(self._types.values())).version
        newest = self._types.get(name)
        if newest is None:
            return SKIP
        exact = self._handlers.get((name, version))
        if fault is not None:
            return self._route(newest, bytes, exact or self._handlers[name, newest.version], fault)
        if exact is not None:
            event_type = next(
                each
                for bound in exact
                for each in bound.handler.event_types
                if (each.type, each.version) == (name, version)
            )
            return self._route(event_type, event_type.decode, exact)
        handlers = self._handlers[name, newest.version]
        try:
            decode = decoder_for(registry(), name, version, newest.cls)
        except MessageError as error:
            return self._route(newest, bytes, handlers, error)
        return self._route(newest, decode, handlers)

    def _any_handlers(self) -> list[Bound]:
        return list(dict.fromkeys(bound for bounds in self._handlers.values() for bound in bounds))

    def _route(
        self,
        event_type: EventType | None,
        decode: Callable[[bytes], Any],
        handlers: Sequence[Bound],
        error: MessageError | None = None,
    ) -> Route:
        lists = tuple(bound for bound in handlers if bound.handler.kind is HandlerKind.BATCH)
        singles = tuple(bound for bound in handlers if bound not in lists)
        names = {bound.handler.name for bound in handlers}
        return Route(event_type, decode, singles, lists, tuple(n for n in self.handlers if n not in names), error)
