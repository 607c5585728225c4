"""How a user declares an event: by deriving from `Event`, or with `@event` on a class of their own."""

from __future__ import annotations

import builtins
from collections.abc import Callable
from typing import Any, TypeVar, dataclass_transform

import msgspec

from onward.errors import DeclarationError
from onward.events.event_types import Declaration, declare
from onward.events.registry import registry

_T = TypeVar("_T")
_INHERITED = "__onward_inherited__"


class EventMeta(msgspec.StructMeta):
    """Takes the event's own class arguments off before the Struct is made, and declares the class."""

    def __new__(
        mcls,
        name: str,
        bases: tuple[builtins.type, ...],
        namespace: dict[str, Any],
        *,
        type: str | msgspec.UnsetType = msgspec.UNSET,
        topic: str | msgspec.UnsetType = msgspec.UNSET,
        key: str | msgspec.UnsetType | None = msgspec.UNSET,
        version: int = 1,
        abstract: bool = False,
        **options: Any,
    ) -> Any:
        _check_options(name, options)
        try:
            cls = super().__new__(mcls, name, bases, namespace, **options)
        except TypeError as error:
            raise DeclarationError(f"{name} can't be an event: {error}.") from error
        said: dict[str, Any] = {"topic": topic, "key": key}
        inherited = getattr(cls, _INHERITED, {})
        settled = {**inherited, **{what: value for what, value in said.items() if value is not msgspec.UNSET}}
        if abstract:
            if type is not msgspec.UNSET:
                raise DeclarationError(f"{name} is abstract and has a type. Leave out either abstract=True or type=.")
            setattr(cls, _INHERITED, settled)
            return cls
        if type is msgspec.UNSET:
            raise DeclarationError(
                f'{name} has no type. Write class {name}(Event, type="shop.order_placed", topic="orders"): '
                f"the type is its name on the wire; or abstract=True if it is only a base for other events."
            )
        if "topic" not in settled:
            raise DeclarationError(
                f'{name} has no topic. Write class {name}(Event, type={type!r}, topic="orders"), or give '
                f"topic= to an abstract base of it."
            )
        _declare(cls, type, settled["topic"], settled.get("key"), version)
        return cls


def _declare(cls: builtins.type, type: str, topic: str, key: str | None, version: int) -> None:
    declaration = Declaration(type=type, version=version, topic=topic, key=key, cls=cls)
    declare(declaration)
    registry().add(declaration)


def _check_options(name: str, options: dict[str, Any]) -> None:
    if options.get("frozen") is False:
        raise DeclarationError(f"{name} has frozen=False. Leave it out: an event is a fact and does not change.")
    if options.get("array_like"):
        raise DeclarationError(
            f"{name} has array_like=True. Leave it out: fields known by place can't be added or removed later."
        )


@dataclass_transform(frozen_default=True, field_specifiers=(msgspec.field,))
class Event(msgspec.Struct, metaclass=EventMeta, abstract=True, frozen=True):
    """Something that happened, as immutable data.

    Derive from it with `type=` (its name on the wire, for good), `topic=`, and if its events need an order
    `key=`, the name of a field: events of one key are handled one after another. `version=` counts changes
    that old readers can't read. An abstract base (`abstract=True`) may carry `topic=`, `key=` and fields.
    Unknown fields in a received event are passed over, so a producer may add some first.
    """


def event(
    *, type: str, topic: str, key: str | None = None, version: int = 1
) -> Callable[[builtins.type[_T]], builtins.type[_T]]:
    """Make an event of a Pydantic model or a dataclass; the class itself is given back as it was."""

    def declared(cls: builtins.type[_T]) -> builtins.type[_T]:
        _declare(cls, type, topic, key, version)
        return cls

    return declared
