"""The event types this process knows, by wire type and version, and the steps between versions."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from onward.errors import DeclarationError
from onward.events.event_types import Declaration, EventType, declaration_of, event_type

if TYPE_CHECKING:
    from onward.events.evolution import Upcaster


class EventRegistry:
    """What is declared. The process has one, filled as modules are imported; a test may have its own."""

    def __init__(self) -> None:
        self._classes: dict[tuple[str, int], type] = {}
        self._upcasters: dict[tuple[str, int], Upcaster] = {}

    def add(self, declaration: Declaration) -> None:
        """Make a declaration known. The same class imported again takes its former place."""
        place = (declaration.type, declaration.version)
        former = self._classes.get(place)
        if former is not None and _origin(former) != _origin(declaration.cls):
            raise DeclarationError(
                f"{_origin(declaration.cls)} and {_origin(former)} both declare type={declaration.type!r}, "
                f"version={declaration.version}. Give one of them another type, or another version= if its "
                f"fields changed; if they are one class, import its module by one name only."
            )
        self._classes[place] = declaration.cls

    def add_upcaster(self, upcaster: Upcaster) -> None:
        """Make a step between versions known. The same function imported again takes its former place."""
        place = (upcaster.type, upcaster.from_version)
        former = self._upcasters.get(place)
        if former is not None and former.name != upcaster.name:
            raise DeclarationError(
                f"{upcaster.name} and {former.name} both upcast {upcaster.type!r} from version "
                f"{upcaster.from_version}. Keep one: each version has one way up."
            )
        self._upcasters[place] = upcaster

    def get(self, type: str, version: int) -> EventType | None:
        """The event type of that name and version, or None if this process does not know it."""
        cls = self._classes.get((type, version))
        return None if cls is None else event_type(cls)

    def known(self, type: str) -> tuple[int, ...]:
        """The versions of `type` that have a class here, ascending; empty for an unknown type."""
        return tuple(sorted(version for name, version in self._classes if name == type))

    def event_types(self, topic: str | None = None) -> list[EventType]:
        """All event types, or those of one topic, by type and version."""
        declared = (self._classes[place] for place in sorted(self._classes))
        return [event_type(cls) for cls in declared if topic is None or declaration_of(cls).topic == topic]

    def upcaster(self, type: str, from_version: int) -> Upcaster | None:
        """The step that leads up from that version, or None."""
        return self._upcasters.get((type, from_version))

    def copy(self) -> EventRegistry:
        """A registry of its own with the same content."""
        twin = EventRegistry()
        twin._classes.update(self._classes)
        twin._upcasters.update(self._upcasters)
        return twin


_registry = EventRegistry()


def registry() -> EventRegistry:
    """The registry of this process, which declarations fill."""
    return _registry


@contextmanager
def isolated_registry() -> Iterator[EventRegistry]:
    """Declarations made inside go to a copy that is forgotten at the end. For tests, in one thread."""
    global _registry
    outer = _registry
    _registry = outer.copy()
    try:
        yield _registry
    finally:
        _registry = outer


def _origin(cls: type) -> str:
    return f"{cls.__module__}.{cls.__qualname__}"
