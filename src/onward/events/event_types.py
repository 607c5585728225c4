"""One event type: its wire name and version, where it travels, and the codec prepared for it."""

from __future__ import annotations

import builtins
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from onward.errors import DeclarationError
from onward.events.codec import codec_for
from onward.events.keys import check_key, key_reader
from onward.events.names import MOST_VERSIONS, TOPIC_RULE, TYPE_RULE, is_topic_name, is_type_name
from onward.events.written import check_for

_DECLARATION = "__onward_declaration__"
_EVENT_TYPE = "__onward_event_type__"


@dataclass(frozen=True, slots=True)
class Declaration:
    """What the user wrote about an event class, before its fields are looked at."""

    type: str
    version: int
    topic: str
    key: str | None
    cls: builtins.type


@dataclass(frozen=True, slots=True)
class EventType(Declaration):
    """A declared event with its codec, prepared once.

    `encode` and `decode` are the JSON library's own bound methods and raise its errors; `encode_error` and
    `decode_error` turn those into ours. Take any exception from `decode` as a failure to decode: a class may
    run code of its own in `__post_init__` or a validator.
    """

    encode: Callable[[Any], bytes]
    decode: Callable[[bytes], Any]
    check: Callable[[Any, bytes], object]  # an event and what was written for it: raises if that can't be read
    key_of: Callable[[Any], str | None]  # EncodeError: over 512 bytes, or neither text, integer nor UUID


def declare(declaration: Declaration) -> None:
    """Attach a checked declaration to its class.

    A field may name a class that is defined further down in the module (or the event itself). The fields are
    then looked at when `event_type` first asks, which is when a handler or publisher is declared with the
    class.
    """
    _check_names(declaration)
    cls = declaration.cls
    setattr(cls, _DECLARATION, declaration)
    try:
        setattr(cls, _EVENT_TYPE, _prepare(declaration))
    except NameError:
        setattr(cls, _EVENT_TYPE, None)


def declaration_of(cls: type) -> Declaration:
    """What was declared for `cls` itself, not for a base of it; DeclarationError if nothing was."""
    found = cls.__dict__.get(_DECLARATION) if isinstance(cls, type) else None
    if isinstance(found, Declaration):
        return found
    name = getattr(cls, "__qualname__", repr(cls))
    raise DeclarationError(
        f"{name} is not an event. Derive it from onward.Event with type= and topic=, "
        f'or put @onward.event(type="…", topic="…") above a dataclass or Pydantic model.'
    )


def event_type(cls: type) -> EventType:
    """The event type that `cls` declares; DeclarationError if it declares none or has unusable fields."""
    declaration = declaration_of(cls)
    found = cls.__dict__[_EVENT_TYPE]
    if isinstance(found, EventType):
        return found
    try:
        prepared = _prepare(declaration)
    except NameError as error:
        raise DeclarationError(
            f"{cls.__qualname__} has a field whose type names {error.name!r}, which is not to be found in "
            f"module {cls.__module__}. Define or import that name at the top level of the module."
        ) from error
    setattr(cls, _EVENT_TYPE, prepared)
    return prepared


def _prepare(declaration: Declaration) -> EventType:
    cls, key = declaration.cls, declaration.key
    codec = codec_for(cls)
    check_key(cls, key)
    return EventType(
        type=declaration.type,
        version=declaration.version,
        topic=declaration.topic,
        key=key,
        cls=cls,
        encode=codec.encode,
        decode=codec.decode,
        check=check_for(cls, codec.decode),
        key_of=key_reader(declaration.type, key),
    )


def _check_names(declaration: Declaration) -> None:
    name = declaration.cls.__qualname__
    if not isinstance(declaration.type, str) or not is_type_name(declaration.type):
        raise DeclarationError(f"{name} has type={declaration.type!r}. {TYPE_RULE}")
    if not isinstance(declaration.topic, str) or not is_topic_name(declaration.topic):
        raise DeclarationError(f"{name} has topic={declaration.topic!r}. {TOPIC_RULE}")
    version = declaration.version
    if type(version) is not int or not 1 <= version <= MOST_VERSIONS:
        raise DeclarationError(f"{name} has version={version!r}. Write a whole number from 1 on, such as version=2.")
